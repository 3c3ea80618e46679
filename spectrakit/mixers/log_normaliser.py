"""Softmax attention with the logarithm of its normaliser, without the T x T matrix of weights.

    past_t = log(exp(sink) + sum_{j<t} exp(s_tj))   natural logarithm; -inf where t reads nothing
    o_t    = s_tt - past_t                          before itself and there is no sink
    LSE_t  = log(exp(past_t) + exp(s_tt))
    y_t    = sum_j exp(s_tj - LSE_t) v_j

Kernels that return the log-sum-exp beside the output do both in one pass: the CPU's flash
attention, and the memory-efficient attention of CUDA. They are given the keys before each token;
its own is added afterwards, so that o_t, the log-odds of the token's weight on itself, keeps its
digits where that weight is near 1 (LSE_t - s_tt would lose them). Under a mask they run over blocks
of tokens, each on the keys its tokens can reach. Where there is no such kernel (another device) or
it cannot do it (soft cap), the scores of one block at a time are written out.

B batch, T tokens, H heads, G groups (H / G consecutive heads share key and value), K key width,
P value width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

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


class Attended(NamedTuple):
    """The outputs y (B, H, T, P), and LSE and o (B, H, T) of each token.

    log_normaliser: LSE, float32 or wider. log_odds: o in float64, within a few roundings of the
    scores' dtype; inf where the token reads nothing but itself, -inf where it does not read itself.
    """

    output: Tensor
    log_normaliser: Tensor
    log_odds: Tensor


def attend(scores: Scores, value: Tensor) -> Attended:
    """Attention to the values (B, G, T, P). Not differentiable.

    Raises UnsupportedError where the mask lets a token read a later one.
    """
    own = scores.own()
    kernel = _kernel(scores)
    if kernel is not None and scores.mask is None:
        output, past = _causal(kernel, scores, value)
    else:
        blocks = [
            _block(scores, value, first, min(first + _ROWS, scores.tokens))
            for first in range(0, scores.tokens, _ROWS)
        ]
        output, past, bias = (
            torch.cat([block[part] for block in blocks], dim=2) for part in range(3)
        )
        own = own + bias
    if scores.sinks is not None:
        with_sink = torch.logaddexp(past, scores.sinks.to(past.dtype)[:, None])
        output = output * (past - with_sink).exp().unsqueeze(-1)
        past = with_sink
    # A token that reads nothing at all has no weight on itself either.
    odds = (own - past).masked_fill(own.isneginf(), -torch.inf)
    share = torch.sigmoid(odds).unsqueeze(-1).to(past.dtype)
    values = value.repeat_interleave(output.shape[1] // value.shape[1], dim=1)
    # The rest's share is not 1 - share, which has no digits left where that is near 1.
    mixed = output * torch.sigmoid(-odds).unsqueeze(-1).to(past.dtype) + share * values
    normaliser = torch.logaddexp(past.double(), own).to(past.dtype)
    return Attended(mixed.to(value.dtype), normaliser, odds)


def _causal(kernel: _Kernel, scores: Scores, value: Tensor) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of the tokens before each: those up to the one before it."""
    batch, heads, tokens, _ = scores.query.shape
    query, key = scores.query[:, :, 1:], scores.key[:, :, :-1]
    output = value.new_zeros(batch, heads, tokens, value.shape[-1])
    exact = torch.promote_types(value.dtype, torch.float32)
    past = torch.full((batch, heads, tokens), -torch.inf, dtype=exact, device=value.device)
    if tokens > 1:
        found = kernel(query, key, value[:, :, :-1], scores.scale, None)
        output[:, :, 1:], past[:, :, 1:] = found
    return output, past


def _block(scores: Scores, value: Tensor, first: int, last: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same for the tokens from `first` up to `last`; and what the mask adds to their own."""
    mask = scores.mask_rows(first, last)
    reads = (mask > -torch.inf).flatten(0, 1).any(0)
    if bool(reads.triu(first + 1).any()):
        message = "tokens attend to later ones, so this attention is no causal recurrence"
        raise UnsupportedError(message, hint="a model with causal attention")
    own = mask.diagonal(first, -2, -1).expand(*scores.query.shape[:2], -1).double()
    rows = torch.arange(first, last, device=mask.device)
    itself = rows.unsqueeze(-1) == torch.arange(scores.tokens, device=mask.device)
    mask = mask.masked_fill(itself, -torch.inf)
    columns = (reads & ~itself).any(0).nonzero()
    # A block in which nothing is read still has a row each, of which nothing comes.
    low, high = (int(columns[0]), int(columns[-1]) + 1) if len(columns) else (first, last)
    mask, value = mask[..., low:high], value[:, :, low:high]
    kernel = _kernel(scores)
    if kernel is None:
        return *_written_out(scores.masked(mask, first, low), value), own
    query, key = scores.query[:, :, first:last], scores.key[:, :, low:high]
    output, normaliser = kernel(query, key, value, scores.scale, mask.to(query.dtype))
    silent = (mask == -torch.inf).all(-1)  # where the kernels say anything but -inf
    normaliser = normaliser.masked_fill(silent, -torch.inf)
    return output.masked_fill(silent.unsqueeze(-1), 0), normaliser, own


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
