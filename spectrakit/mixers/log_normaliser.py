"""Softmax attention with the logarithm of its normaliser, without the T x T matrix of weights.

    LSE_t = log(exp(sink) + sum_j exp(s_tj))        natural logarithm; -inf where t reads nothing
    y_t   = sum_j exp(s_tj - LSE_t) v_j

Kernels that return the log-sum-exp beside the output do both in one pass: the CPU's flash
attention, and the memory-efficient attention of CUDA. Under a mask they run over blocks of tokens,
each on the keys its tokens can reach. Where there is no such kernel (another device) or it cannot
do it (soft cap), the scores of one block at a time are written out.

B batch, T tokens, H heads, G groups (H / G consecutive heads share key and value), K key width,
P value width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit.errors import UnsupportedError

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers.attention_scores import Scores
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

#: Tokens of a block under a mask.
_ROWS = 128


def attend(scores: Scores, value: Tensor) -> tuple[Tensor, Tensor]:
    """The outputs y (B, H, T, P) and the log-normaliser LSE (B, H, T), float32 or wider.

    value: (B, G, T, P). Not differentiable.

    Raises UnsupportedError where the mask lets a token read a later one.
    """
    kernel = _kernel(scores)
    if kernel is not None and scores.mask is None:
        output, normaliser = kernel(scores.query, scores.key, value, scores.scale, None)
    else:
        blocks = [
            _block(scores, value, first, min(first + _ROWS, scores.tokens))
            for first in range(0, scores.tokens, _ROWS)
        ]
        output = torch.cat([block[0] for block in blocks], dim=2)
        normaliser = torch.cat([block[1] for block in blocks], dim=2)
    if scores.sinks is None:
        return output, normaliser
    with_sink = torch.logaddexp(normaliser, scores.sinks.to(normaliser.dtype)[:, None])
    share = (normaliser - with_sink).exp().unsqueeze(-1)
    return (output * share).to(output.dtype), with_sink


def _block(scores: Scores, value: Tensor, first: int, last: int) -> tuple[Tensor, Tensor]:
    """The same for the tokens from `first` up to `last`."""
    mask = scores.mask_rows(first, last)
    reads = (mask > -torch.inf).flatten(0, 1).any(0)
    if bool(reads.triu(first + 1).any()):
        message = "tokens attend to later ones, so this attention is no causal recurrence"
        raise UnsupportedError(message, hint="a model with causal attention")
    columns = reads.any(0).nonzero()
    # A block in which nothing is read still has a row each, of which nothing comes.
    low, high = (int(columns[0]), int(columns[-1]) + 1) if len(columns) else (first, last)
    mask, value = mask[..., low:high], value[:, :, low:high]
    kernel = _kernel(scores)
    if kernel is None:
        return _written_out(scores.masked(mask, first, low), value)
    query, key = scores.query[:, :, first:last], scores.key[:, :, low:high]
    output, normaliser = kernel(query, key, value, scores.scale, mask.to(query.dtype))
    silent = (mask == -torch.inf).all(-1)  # where the kernels say anything but -inf
    normaliser = normaliser.masked_fill(silent, -torch.inf)
    return output.masked_fill(silent.unsqueeze(-1), 0), normaliser


def _written_out(scores: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """From the scores (B, H, rows, columns) of the values (B, G, columns, P)."""
    normaliser = scores.logsumexp(-1)
    # -inf less -inf is no number: a row of nothing has no weights.
    silent = normaliser.isneginf()
    weights = (scores - normaliser.masked_fill(silent, 0).unsqueeze(-1)).exp()
    grouped = weights.unflatten(1, (value.shape[1], -1)).flatten(2, 3)
    output = grouped @ value.to(grouped.dtype)
    return output.reshape(*weights.shape[:3], -1).to(value.dtype), normaliser


def _flash_on_cpu(
    query: Tensor, key: Tensor, value: Tensor, scale: float, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    # It wants values as wide as keys; zeros add nothing to products or outputs.
    width = max(key.shape[-1], value.shape[-1])
    padded = (functional.pad(x, (0, width - x.shape[-1])) if x.shape[-1] < width else x
              for x in (query, key, value))  # fmt: skip
    output, normaliser = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        *padded, 0.0, mask is None, attn_mask=mask, scale=scale
    )
    return output[..., : value.shape[-1]], normaliser


def _efficient_on_cuda(
    query: Tensor, key: Tensor, value: Tensor, scale: float, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    heads, rows = query.shape[1:3]
    key, value = (x.repeat_interleave(heads // x.shape[1], dim=1) for x in (key, value))
    if mask is not None:
        columns = mask.shape[-1]
        # Its rows must begin at multiples of 16 bytes; it reads no further than `columns`.
        mask = functional.pad(mask, (0, -columns % 16))[..., :columns]
        mask = mask.expand(query.shape[0], heads, -1, -1)
    output, normaliser, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, mask, True, 0.0, mask is None, scale=scale
    )
    return output, normaliser[..., :rows]  # it rounds the number of rows up


#: Output and log-sum-exp under an additive mask of the query's dtype; causal where it is None.
_Kernel: TypeAlias = (
    "Callable[[Tensor, Tensor, Tensor, float, Tensor | None], tuple[Tensor, Tensor]]"
)
_KERNELS: dict[str, _Kernel] = {"cpu": _flash_on_cpu, "cuda": _efficient_on_cuda}


def _kernel(scores: Scores) -> _Kernel | None:
    """What can do these scores in one pass, if anything can."""
    return None if scores.soft_cap is not None else _KERNELS.get(scores.query.device.type)
