"""RG-LRU: one gated real decay per channel (Griffin, RecurrentGemma).

    r_t     = sigmoid(W_r x_t + b_r)                                  (B, T, D)
    i_t     = sigmoid(W_i x_t + b_i)                                  (B, T, D)
    log a_t = -8 softplus(Lambda) r_t                                 (B, T, D)
    h_t     = a_t h_{t-1} + sqrt(1 - a_t^2) i_t x_t                   h: (B, D)
    y_t     = h_t

B batch, T tokens, D channels. W_r and W_i are block-diagonal: `blocks` of them, each D / blocks
square. A token at position 0 starts a document: there a_t = 0, and the input comes in unscaled.
De et al. 2024 (arXiv 2402.19427), equations 1 to 4.

Nominal: a_t where W_r x_t is zero, so that the gate is at its bias.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import (
    ConstantOutput,
    HeadAxis,
    Mode,
    OuterProduct,
    Recurrence,
    ScalarDecay,
)
from spectrakit.mixers.base import Observation

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

#: c of the paper: how far the gate can raise a_t = sigmoid(-Lambda)^(c r_t) to a power.
_POWER = 8


@dataclass(frozen=True)
class RGLRU:
    """A real-gated linear recurrent unit of D `channels`, its gates in `blocks`."""

    name: ClassVar[str] = "rg_lru"
    operator: ClassVar[str] = ScalarDecay.structure
    weights_mode: ClassVar[Mode | None] = "nominal"
    weights_roles: ClassVar[tuple[str, ...]] = ("Lambda", "recurrence_bias")
    head_axis: ClassVar[HeadAxis] = "channel"

    channels: int
    blocks: int

    @property
    def heads(self) -> int:
        """D: channels do not interact, each is a head of width one."""
        return self.channels

    @property
    def state_size(self) -> int:
        """One number per channel."""
        return 1

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        width = self.channels // self.blocks
        return {
            "Lambda": (self.channels,),
            "recurrence_projection": (self.blocks, width, width),
            "recurrence_bias": (self.blocks, width),
            "input_projection": (self.blocks, width, width),
            "input_bias": (self.blocks, width),
        }

    def from_weights(self, p: Parameters) -> Recurrence:
        """Nominal: the recurrence gate at its bias. The input's scale needs tokens."""
        # Widened before softplus and sigmoid: near a = 1 half precision would lose the decay.
        gate = torch.sigmoid(p["recurrence_bias"].double()).flatten()
        return Recurrence(
            ScalarDecay(_log_decay(p["Lambda"].double(), gate), self.state_size),
            mode="nominal",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=1,
        )

    def observed(self, x: Tensor, p: Parameters, starts: Tensor) -> Recurrence:
        """From the input x (B, T, D); starts: (B, T) of bool, True at position 0."""
        log_decay = _log_decay(p["Lambda"], self._gate(x, p, "recurrence"))
        fresh = starts.unsqueeze(-1)
        scale = (-torch.expm1(2 * log_decay)).sqrt().masked_fill(fresh, 1)
        gain = self._gate(x, p, "input") * scale
        return Recurrence(
            ScalarDecay(log_decay.masked_fill(fresh, -math.inf), self.state_size),
            mode="data",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=1,
            input_map=OuterProduct(x.new_ones(*x.shape[:2], 1, 1), gain),
            output_map=ConstantOutput(x.new_ones(self.channels, 1, 1)),
            starts=starts,
        )

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The unit's equations on `hidden` (B, T, D), one document from its start, in its dtype."""
        starts = torch.zeros(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
        starts[:, 0] = True
        recurrence = self.observed(hidden, p, starts)
        return Observation(recurrence, hidden.unsqueeze(-1), lambda y: y.squeeze(-1))

    def _gate(self, x: Tensor, p: Parameters, which: str) -> Tensor:
        blocked = x.unflatten(-1, (self.blocks, -1))
        raw = torch.einsum("btgi,gio->btgo", blocked, p[f"{which}_projection"]) + p[f"{which}_bias"]
        return torch.sigmoid(raw).flatten(-2)


def _log_decay(Lambda: Tensor, gate: Tensor) -> Tensor:
    return -_POWER * functional.softplus(Lambda) * gate
