"""Pseudo-LTI Mamba-2: a decay of each head that does not depend on the token.

    lambda_h = exp(-softplus(A_h))                                                 (H,)
    h_t      = lambda h_{t-1} + Delta_t b_t u_t^T       h: (B, H, N, P)

All else is as in `mamba2`: the step Delta_t scales what is written, and nothing else. Rickenbach et
al. 2025 (arXiv 2510.09379), section 5, as their released code has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import Mode, Recurrence, ScalarDecay
from spectrakit.mixers.mamba2 import Mamba2

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers.base import Observation, Parameters
else:
    functional = lazy_import("torch.nn.functional")


@dataclass(frozen=True)
class PseudoLTIMamba2(Mamba2):
    """A Mamba-2 layer with fixed decays; sizes and options are those of `Mamba2`."""

    name: ClassVar[str] = "mamba2_pseudo_lti"
    weights_mode: ClassVar[Mode | None] = "static"
    weights_roles: ClassVar[tuple[str, ...]] = ("A",)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        shapes = dict(super().shapes())
        shapes["A"] = shapes.pop("A_log")
        return shapes

    @staticmethod
    def log_decay(stored: Tensor) -> Tensor:
        """Log lambda from A (H,)."""
        return -functional.softplus(stored)

    def from_weights(self, p: Parameters) -> Recurrence:
        """Static: the decays alone; B and C need tokens."""
        return Recurrence(
            ScalarDecay(self.log_decay(p["A"].double()), self.state_size),
            mode="static",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=self.head_width,
            feedthrough=p.get("D"),
        )

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), in its dtype."""
        decay = self.log_decay(p["A"])
        # Mamba-2's own equations with any A: its decay is replaced.
        seen = super().from_input(hidden, {**p, "A_log": p["A"]})
        recurrence = replace(
            seen.recurrence,
            operator=ScalarDecay(decay, self.state_size),
            mode="static",
            step=None,
            generator=None,
        )
        return replace(seen, recurrence=recurrence)
