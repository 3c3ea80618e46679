"""The channel mixing of RWKV, the part of a block that is no sequence layer but for the last token.

    output_t = sigmoid(W_r x_t^r) W_v relu(W_k x_t^k)^2

x_t^i is the token mixed with the one before. RWKV-7 leaves out the receptance, the first factor.
(B, T, E) with matrices (E, E), (E, F) and (F, E), F inner width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.mixers.layers import token_before

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")


@dataclass(frozen=True)
class ChannelMixing:
    """What it is called inside `blocks.N.ffn.`, and which of two tokens its weights are of.

    key_mix, receptance_mix: names of the weights; None for no receptance. of_present: whether they
    are those of the token itself, or of the one before.
    """

    key_mix: str
    receptance_mix: str | None
    of_present: bool

    def shapes(self, width: int, inner: int) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by its name."""
        shapes: dict[str, tuple[int, ...]] = {
            "key.weight": (inner, width),
            "value.weight": (width, inner),
            self.key_mix: (1, 1, width),
        }
        if self.receptance_mix is not None:
            shapes |= {"receptance.weight": (width, width), self.receptance_mix: (1, 1, width)}
        return shapes

    def output(self, hidden: Tensor, p: Mapping[str, Tensor]) -> Tensor:
        """From `hidden` (B, T, E) and the parameters by name: (B, T, E)."""
        before = token_before(hidden)
        start, end = (before, hidden) if self.of_present else (hidden, before)
        key = functional.linear(torch.lerp(start, end, p[self.key_mix]), p["key.weight"])
        value = functional.linear(functional.relu(key).square(), p["value.weight"])
        if self.receptance_mix is None:
            return value
        mixed = torch.lerp(start, end, p[self.receptance_mix])
        return functional.linear(mixed, p["receptance.weight"]).sigmoid() * value


#: By the kind of the block's time mixing.
CHANNEL_MIXINGS: Mapping[str, ChannelMixing] = {
    "rwkv4": ChannelMixing("time_mix_k", "time_mix_r", of_present=True),
    "rwkv5": ChannelMixing("time_mix_k", "time_mix_r", of_present=True),
    "rwkv6": ChannelMixing("time_maa_k", "time_maa_r", of_present=False),
    "rwkv7": ChannelMixing("x_k", None, of_present=False),
}
