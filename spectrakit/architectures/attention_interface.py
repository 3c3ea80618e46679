"""Our attention in transformers' registries: the function, and the mask that goes with it.

transformers asks the mask's function once per kind of layer, and hands what it returns through the
model to the attention's function unseen. Ours returns a description, of which `attend` takes a few
rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectrakit._lazy import lazy_import
from spectrakit.architectures.taps import Call
from spectrakit.errors import UnsupportedError
from spectrakit.mixers.attention_scores import CausalMask, GivenMask, Scores, additive
from spectrakit.mixers.log_normaliser import attend

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from spectrakit.architectures.taps import Record
    from spectrakit.mixers.attention_scores import Mask
else:
    torch = lazy_import("torch")

#: The name of our attention in transformers' registries.
NAME = "spectrakit"

#: Where the attention that is running records its calls.
RECORD: ContextVar[Record] = ContextVar("record")


def register() -> None:
    """Put our attention and its mask into the registries; nobody uses them but by `NAME`."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, _mask)


def recorded_attention(scores: Scores, value: Tensor, record: Record) -> Tensor:
    """The outputs (B, H, T, P) for the values (B, G, T, P), recorded with LSE and log-odds."""
    found = attend(scores, value)
    seen = {
        "scores": scores,
        "value": value,
        "log_normaliser": found.log_normaliser,
        "log_odds": found.log_odds,
    }
    record(Call(seen, found.output))
    return found.output


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Mask | Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    **_: Any,  # noqa: ANN401  (what other implementations need)
) -> tuple[Tensor, None]:
    """For `AttentionInterface`: query (B, H, T, K), key (B, G, T, K), value (B, G, T, P).

    Raises UnsupportedError where the attention is not causal, or has a bias beside its mask.
    """
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if position_bias is not None or (attention_mask is None and not causal):
        what = "is not causal" if position_bias is None else "has a position bias"
        message = f"{type(module).__name__} {what}: its recurrence is not read here"
        raise UnsupportedError(message)
    mask = GivenMask(attention_mask) if isinstance(attention_mask, torch.Tensor) else attention_mask
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = Scores(query, key, scale, mask, softcap, s_aux)
    output = recorded_attention(scores, value, RECORD.get())
    return output.transpose(1, 2).contiguous(), None


def _mask(
    batch_size: int,
    kv_length: int,
    mask_function: Callable[..., Any],
    attention_mask: Tensor | None = None,
    device: torch.device | str = "cpu",
    **_: Any,  # noqa: ANN401  (what the masks of other implementations need)
) -> Mask | None:
    """For `AttentionMaskInterface`: a description of the mask, None for a plain causal one.

    attention_mask: (B, T), zero on padding.
    """
    from transformers.masking_utils import causal_mask_function

    valid = None if attention_mask is None or bool(attention_mask.all()) else attention_mask.bool()
    device = torch.device(device)
    if mask_function is causal_mask_function:
        return None if valid is None else CausalMask(kv_length, device, valid=valid)
    return MaskFunction(mask_function, batch_size, kv_length, device, valid)


@dataclass(frozen=True)
class MaskFunction:
    """A mask as transformers describes it, evaluated for a few tokens at a time.

    function: of batch, head, query and key index (tensors that broadcast), True where the query
    reads the key. valid: (B, T), False on padding; None where there is none.
    """

    function: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    batch: int
    tokens: int
    device: torch.device
    valid: Tensor | None = None

    def rows(self, first: int, last: int) -> Tensor:
        """(B or 1, 1, last - first, T)."""
        batch = torch.arange(self.batch, device=self.device)[:, None, None, None]
        head = torch.zeros_like(batch[:1])
        query = torch.arange(first, last, device=self.device)[None, None, :, None]
        key = torch.arange(self.tokens, device=self.device)[None, None, None]
        reads = self.function(batch, head, query, key)
        return additive(reads if self.valid is None else reads & self.valid[:, None, None])
