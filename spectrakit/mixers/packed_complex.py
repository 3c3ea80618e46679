"""S5 and LRU as the PyPI packages s5-pytorch and lru-pytorch keep them: in complex parameters.

    s5-pytorch    Lambda (P,) complex, B (P, Q, 2), C (Q, P) complex, D (Q,), log_step (P,)
    lru-pytorch   nu_log, theta_log, gamma_log (N,), B (N, Q) complex, C (Q, N) complex, D (Q, Q)

P, N states, Q model width. The equations are those of `S5` and `LRU`; s5-pytorch stores every state
itself, without conjugates, steps are one for each of them (or (P, 1)), and eigenvalues are not
clipped. In two directions its C has twice the states. D of the LRU is a matrix, which no recurrence
has: it is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.mixers.lru import LRU
from spectrakit.mixers.s5 import S5

if TYPE_CHECKING:
    import torch

    from spectrakit.dynamics import Recurrence
    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")


@dataclass(frozen=True)
class PackedS5(S5):
    """An S5 layer of s5-pytorch.

    step_shape: of log_step. complex_roles: of its parameters, those that are stored in complex
    numbers.
    """

    complex_roles: ClassVar[frozenset[str]] = frozenset({"Lambda", "C"})

    step_shape: tuple[int, ...] = ()

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        states, width = self.stored_states, self.model_width
        spectrum = {"Lambda": (states,), "log_step": self.step_shape or (states,)}
        if self.bidirectional:
            return spectrum
        return {**spectrum, "B": (states, width, 2), "C": (width, states), "D": (width,)}

    def from_weights(self, p: Parameters) -> Recurrence:
        """The layer's recurrence, in float64; without input and output maps in two directions."""
        parts = {"Lambda_re": p["Lambda"].real, "Lambda_im": p["Lambda"].imag}
        parts |= {role: p[role] for role in ("log_step", "B", "D") if role in p}
        if "C" in p:
            parts["C"] = torch.view_as_real(p["C"].resolve_conj())
        return super().from_weights(parts)


@dataclass(frozen=True)
class PackedLRU(LRU):
    """A linear recurrent unit of lru-pytorch, to vectors of `output_width`.

    complex_roles: of its parameters, those that are stored in complex numbers.
    """

    weights_roles: ClassVar[tuple[str, ...]] = ("nu_log", "theta_log", "gamma_log", "B", "C")

    complex_roles: ClassVar[frozenset[str]] = frozenset({"B", "C"})

    output_width: int = 0

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        states = self.state_size
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(
            ("nu_log", "theta_log", "gamma_log"), (states,)
        )
        return shapes | {"B": (states, self.model_width), "C": (self.output_width, states)}

    def from_weights(self, p: Parameters) -> Recurrence:
        """The layer's recurrence, in float64, without what D adds."""
        parts = {role: p[role] for role in ("nu_log", "theta_log", "gamma_log")}
        for role in "BC":
            parts |= {f"{role}_re": p[role].real, f"{role}_im": p[role].imag}
        parts["D"] = torch.zeros(self.output_width)
        return replace(super().from_weights(parts), feedthrough=None)
