"""A dense linear recurrence, whose matrix is free: the linear RNN that others are measured against.

    h_t = A h_{t-1} + B u_t                 h: (B, N) real
    y_t = C h_t + D u_t                     (B, T, Q)

B batch, T tokens, Q model width, N states, shared by all channels. A is a parameter as it stands:
nothing keeps its eigenvalues inside the unit circle, and they are those of discrete time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit.dynamics import ConstantInput, ConstantOutput, Dense, HeadAxis, Mode, Recurrence
from spectrakit.mixers.layers import in_float64

if TYPE_CHECKING:
    from spectrakit.mixers.base import Parameters


@dataclass(frozen=True)
class DenseRecurrence:
    """A dense recurrence of `state_size` N between vectors of `model_width` Q."""

    name: ClassVar[str] = "dense"
    operator: ClassVar[str] = Dense.structure
    weights_mode: ClassVar[Mode | None] = "static"
    weights_roles: ClassVar[tuple[str, ...]] = ("A", "B", "C", "D")
    head_axis: ClassVar[HeadAxis] = "head"

    model_width: int
    state_size: int

    @property
    def heads(self) -> int:
        """One: all channels share the state."""
        return 1

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        states, width = self.state_size, self.model_width
        return {"A": (states, states), "B": (states, width), "C": (width, states), "D": (width,)}

    def from_weights(self, p: Parameters) -> Recurrence:
        """The layer's recurrence, in float64."""
        return self.recurrence(in_float64(p))

    def recurrence(self, p: Parameters) -> Recurrence:
        """The layer's recurrence, in the dtype of `p`."""
        return Recurrence(
            Dense(p["A"].unsqueeze(0)),
            mode="static",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=1,
            input_map=ConstantInput(p["B"].unsqueeze(0)),
            output_map=ConstantOutput(p["C"].unsqueeze(0)),
            feedthrough=p["D"].unsqueeze(0),
        )
