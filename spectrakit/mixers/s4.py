"""S4: a diagonal-plus-low-rank state space model on every channel.

    A     = diag(Lambda) - P P^*
    A_bar = (I - Delta/2 A)^-1 (I + Delta/2 A)         B_bar = Delta (I - Delta/2 A)^-1 B
    h_t   = A_bar h_{t-1} + B_bar u_t                  h: (B, H, N) complex
    y_t   = Re(C h_t) + D u_t                          (B, T, H)

B batch, T tokens, H channels, N states: the M that are stored and their complex conjugates, in
Lambda, P, B and C alike. What is stored as C is C~ = C (I - A_bar^L) once the layer has computed a
kernel of length L, and C itself before (L = 0). How the rest is stored:
`spectrakit.mixers.s4_parameters`.

Gu et al. 2022 (arXiv 2111.00396), section 3 and appendix C.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import (
    ConstantInput,
    ConstantOutput,
    HeadAxis,
    Mode,
    Recurrence,
)
from spectrakit.dynamics.diagonal_plus_low_rank import DiagonalPlusLowRank
from spectrakit.dynamics.discretize import with_conjugates
from spectrakit.mixers.layers import in_float64

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.mixers.base import Parameters
    from spectrakit.mixers.s4_parameters import S4Parameters
else:
    torch = lazy_import("torch")


@dataclass(frozen=True)
class S4:
    """An S4 layer; one step per channel.

    kernel_length: L, where it is not among the weights (version 2); None where it is.
    """

    name: ClassVar[str] = "s4"
    operator: ClassVar[str] = DiagonalPlusLowRank.structure
    weights_mode: ClassVar[Mode | None] = "static"
    head_axis: ClassVar[HeadAxis] = "channel"

    parameters: S4Parameters
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
        stored_length = ("kernel_length",) if self.kernel_length is None else ()
        return (*self.shapes(), *stored_length)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every floating-point parameter, by role."""
        return self.parameters.stored_shapes

    def from_weights(self, p: Parameters) -> Recurrence:
        """The layer's recurrence, in float64.

        Without input and output maps where C has several outputs: they may be directions.
        """
        p = in_float64(p)
        stored = self.parameters
        step = stored.step(p).squeeze(-1)
        operator = DiagonalPlusLowRank.from_conjugate_halves(
            stored.generator(p), stored.low_rank(p), step
        )
        key = output = None
        if stored.outputs == 1:
            b = with_conjugates(stored.input(p)).unsqueeze(-1)
            # (I - Delta/2 A)^-1 = (A_bar + I) / 2.
            key = step[:, None, None] / 2 * (operator.apply(b) + b)
            length = self.kernel_length
            length = int(p["kernel_length"]) if length is None else length
            query = with_conjugates(stored.output(p)[0])
            output = _LazyOutput(lambda: _untruncated(query, operator.dense(), length))
        return Recurrence(
            operator,
            mode="static",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=1,
            step=step,
            generator=operator.generator_eigenvalues,
            generator_error=operator.generator_error,
            input_map=None if key is None else ConstantInput(key),
            output_map=output,
            feedthrough=None if output is None else stored.feedthrough(p),
        )


class _LazyOutput(ConstantOutput):
    """One whose C is computed when it is asked for: spectra can do without."""

    _compute: Callable[[], Tensor]

    def __init__(self, compute: Callable[[], Tensor]) -> None:
        vars(self)["_compute"] = compute  # not assigned: the class is frozen

    @cached_property
    def weight(self) -> Tensor:
        """C: (H, 1, N)."""
        return self._compute()


def _untruncated(truncated: Tensor, transition: Tensor, length: int) -> Tensor:
    """C, (H, 1, N), from C~ = C (I - A_bar^L), (H, N)."""
    truncated = truncated.unsqueeze(-2)
    if length == 0:
        return truncated
    identity = torch.eye(transition.shape[-1], dtype=transition.dtype)
    carried = identity - torch.linalg.matrix_power(transition, length)
    whole: Tensor = torch.linalg.solve(carried, truncated, left=False)
    return whole
