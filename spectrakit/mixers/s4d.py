"""S4D: a diagonal state space model on every channel.

    h_t = A_bar h_{t-1} + B_bar u_t         h: (B, H, N) complex
    y_t = Re(C h_t) + D u_t                 (B, T, H)

B batch, T tokens, H channels, N states: the M that are stored and their complex conjugates, so that
the sum over all N is twice the real part over the M. A_bar and B_bar come from A, B and the step
Delta by zero-order hold, bilinear or DSS's softmax rule (`spectrakit.dynamics.discretize`); the
last takes the real part once, not twice. How A, B, C, D and Delta are stored:
`spectrakit.mixers.s4_parameters`.

Gu et al. 2022 (arXiv 2206.11893).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import (
    ConstantInput,
    ConstantOutput,
    DiagonalDecay,
    HeadAxis,
    Mode,
    Recurrence,
)
from spectrakit.dynamics.discretize import (
    DiscretisedDiagonal,
    bilinear,
    dss_softmax,
    with_conjugates,
    zero_order_hold,
)
from spectrakit.mixers.layers import in_float64

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.mixers.base import Parameters
    from spectrakit.mixers.s4_parameters import S4Parameters
else:
    torch = lazy_import("torch")

#: dss: the softmax rule, whose B_bar depends on the length of the convolution kernel.
Discretisation: TypeAlias = Literal["zoh", "bilinear", "dss"]


@dataclass(frozen=True)
class S4D:
    """An S4D layer.

    kernel_length: L of the dss rule; its recurrence can be run only where it is known.
    """

    name: ClassVar[str] = "s4d"
    operator: ClassVar[str] = DiagonalDecay.structure
    weights_mode: ClassVar[Mode | None] = "static"
    head_axis: ClassVar[HeadAxis] = "channel"

    parameters: S4Parameters
    discretisation: Discretisation
    kernel_length: int | None = None

    @property
    def heads(self) -> int:
        """H: channels do not interact, each is a head of width one."""
        return self.parameters.channels

    @property
    def state_size(self) -> int:
        """N, conjugates included."""
        return self.parameters.state_size

    @property
    def weights_roles(self) -> tuple[str, ...]:
        """All of them: the recurrence that they make can be run."""
        return tuple(self.shapes())

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        return self.parameters.stored_shapes

    def from_weights(self, p: Parameters) -> Recurrence:
        """The layer's recurrence, in float64.

        Without input and output maps where C has several outputs (they may be directions), or where
        B_bar depends on a kernel length that is not known.
        """
        p = in_float64(p)
        stored = self.parameters
        generator, step = stored.generator(p), stored.step(p)
        system = self._discretised(generator, step)
        known = stored.outputs == 1 and (self.discretisation != "dss" or self.kernel_length)
        # The sum over a state and its conjugate is twice its real part already.
        factor = self._times / (1 if stored.is_real else 2)
        key = self._whole(system.gain * stored.input(p)).unsqueeze(-1)
        query = factor * self._whole(stored.output(p)[0]).unsqueeze(-2)
        return Recurrence(
            (system if stored.is_real else system.with_conjugates()).operator,
            mode="static",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=1,
            step=step.squeeze(-1) if step.shape[-1] == 1 else self._whole(step),
            generator=self._whole(generator),
            input_map=ConstantInput(key) if known else None,
            output_map=ConstantOutput(query) if known else None,
            feedthrough=stored.feedthrough(p) if known else None,
        )

    def stored_half(self, p: Parameters) -> tuple[Tensor, Tensor]:
        """log A_bar and the weights w of the stored states, (H, M), complex, in the dtype of `p`.

        The kernel is K_t = Re sum w exp(t log A_bar): of the same equations as `from_weights`,
        without conjugates and in the precision that is trained in.
        """
        stored = self.parameters
        system = self._discretised(stored.generator(p), stored.step(p))
        log_decay = torch.complex(system.log_decay, system.phase)
        return log_decay, self._times * system.gain * stored.input(p) * stored.output(p)[0]

    @property
    def _times(self) -> float:
        """How often the real part of a stored state's contribution is taken."""
        return 1.0 if self.discretisation == "dss" else 2.0

    def _discretised(self, generator: Tensor, step: Tensor) -> DiscretisedDiagonal:
        if self.discretisation == "zoh":
            return zero_order_hold(generator, step)
        if self.discretisation == "bilinear":
            return bilinear(generator, step)
        # The eigenvalues do not depend on the length: without one, any will do.
        return dss_softmax(generator, step * generator, self.kernel_length or 1)

    def _whole(self, stored: Tensor) -> Tensor:
        """(..., M) -> (..., N)."""
        return stored if self.parameters.is_real else with_conjugates(stored)
