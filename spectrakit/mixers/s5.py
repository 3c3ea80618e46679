"""S5: one diagonal state space model of many inputs and outputs, shared by all channels.

    Lambda = Lambda_re + i Lambda_im, Re at most -1e-4 where clipped           (P,)
    h_t    = Lambda_bar h_{t-1} + B_bar u_t        h: (B, N) complex
    y_t    = 2 Re(C h_t) + D u_t                   (B, T, Q); without the 2 unless conjugate

B batch, T tokens, Q model width, P stored states. N is 2 P where they stand for themselves and
their complex conjugates (`conjugate_symmetry`), P otherwise. Every state has its own step
exp(log_step); Lambda_bar and B_bar come by zero-order hold or the bilinear rule
(`spectrakit.dynamics.discretize`).

Smith et al. 2023 (arXiv 2208.04933). Two directions share Lambda and B and have a C each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import (
    ConstantInput,
    ConstantOutput,
    DiagonalDecay,
    HeadAxis,
    Mode,
    Recurrence,
)
from spectrakit.dynamics.discretize import bilinear, with_conjugates, zero_order_hold
from spectrakit.mixers.layers import in_float64

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")

_LARGEST_REAL = -1e-4


@dataclass(frozen=True)
class S5:
    """An S5 layer of P `stored_states` between vectors of `model_width`.

    conjugate_symmetry: whether the stored states have conjugates besides. clipped: whether
    eigenvalues are kept in the left half plane. bidirectional: C is not read, only the spectrum.
    """

    name: ClassVar[str] = "s5"
    operator: ClassVar[str] = DiagonalDecay.structure
    weights_mode: ClassVar[Mode | None] = "static"
    head_axis: ClassVar[HeadAxis] = "head"

    model_width: int
    stored_states: int
    discretisation: Literal["zoh", "bilinear"]
    conjugate_symmetry: bool
    clipped: bool
    bidirectional: bool = False

    @property
    def heads(self) -> int:
        """One: all channels share the state."""
        return 1

    @property
    def state_size(self) -> int:
        """N, conjugates included."""
        return self.stored_states * (2 if self.conjugate_symmetry else 1)

    @property
    def weights_roles(self) -> tuple[str, ...]:
        """All of them: the recurrence that they make can be run."""
        return tuple(self.shapes())

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        states, width = self.stored_states, self.model_width
        spectrum = {"Lambda_re": (states,), "Lambda_im": (states,), "log_step": (states, 1)}
        if self.bidirectional:
            return spectrum
        return {**spectrum, "B": (states, width, 2), "C": (width, states, 2), "D": (width,)}

    def from_weights(self, p: Parameters) -> Recurrence:
        """The layer's recurrence, in float64; without input and output maps in two directions."""
        return self.recurrence(in_float64(p))

    def generator(self, p: Parameters) -> Tensor:
        """Lambda: (P,), complex."""
        real = p["Lambda_re"]
        if self.clipped:
            real = real.clamp(max=_LARGEST_REAL)
        return torch.complex(real, p["Lambda_im"])

    def recurrence(self, p: Parameters, *, conjugates: bool = True) -> Recurrence:
        """The layer's recurrence, in the dtype of `p`.

        conjugates: whether the states that are not stored are there as well; without them the
        stored ones are read twice, which gives the same output for half the work.
        """
        doubled = self.conjugate_symmetry and conjugates
        whole = with_conjugates if doubled else _as_it_is
        generator = self.generator(p).unsqueeze(0)
        step = p["log_step"].exp().reshape(1, -1)
        discretised = zero_order_hold if self.discretisation == "zoh" else bilinear
        system = discretised(generator, step)
        key = query = None
        if not self.bidirectional:
            # The sum over a state and its conjugate is twice its real part.
            times = 2 if self.conjugate_symmetry and not conjugates else 1
            b, c = (torch.view_as_complex(p[role].contiguous()) for role in "BC")
            key = whole(system.gain * b.T).mT
            query = times * whole(c)
        return Recurrence(
            (system.with_conjugates() if doubled else system).operator,
            mode="static",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=1,
            step=whole(step),
            generator=whole(generator),
            input_map=None if key is None else ConstantInput(key.unsqueeze(0)),
            output_map=None if query is None else ConstantOutput(query.unsqueeze(0)),
            feedthrough=None if self.bidirectional else p["D"].unsqueeze(0),
        )


def _as_it_is(stored: Tensor) -> Tensor:
    return stored
