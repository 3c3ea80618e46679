"""Eigenvalues that layers are initialised with, and those a comparison sets beside them, by name.

N counts real state dimensions: N real states, or N/2 complex ones and their conjugates. In
continuous time, discretised by zero-order hold with a step dt, lambda = exp(dt a), n = 0, 1, ...:

    s4d-lin   a = -1/2 + i pi n                       Gu et al. 2022 (arXiv 2206.11893), section 4
    s4d-inv   a = -1/2 + i N/pi (N / (2 n + 1) - 1)
    s4d-quad  a = -1/2 + i/pi (2 n + 1)^2             the reference code of S4
    s4d-real  a = -(n + 1)                            real: N of them
    legs      a = -(n + 1)                            the eigenvalues of S4's HiPPO-LegS (2020)

In discrete time, where a step means nothing:

    lru       |lambda|^2 uniform in (r_min^2, r_max^2), any phase (Orvieto et al. 2023, 2303.06349)
    random    real, uniform in (0, 1)
    lin       real, evenly spaced in (0, 1)
    step      real, half of them close to one level and half to another

The last three are named after those of arXiv 2510.00563, whose formulas we do not have: they are
approximate, and say so. The sets called S4D take their first real eigenvalue once: with N = 32,
s4d-lin remembers 31 inputs. s4d-real and legs share their eigenvalues, and so their memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.discretize import wrapped
from spectrakit.dynamics.eigenvalues import DiscreteEigenvalues
from spectrakit.dynamics.legs import legs

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

#: The moduli of LRU's ring lie between these.
LRU_RING = (0.9, 0.999)
#: The two levels of `step`, and how far its states are spread below each to be different.
STEP_LEVELS, STEP_SPREAD = (0.99, 0.5), 0.01

_APPROXIMATE = "approximate: arXiv 2510.00563 names this set, its formula is our own"

#: From N and a source of random numbers: a, or log lambda, of the stored states.
_Make: TypeAlias = "Callable[[int, torch.Generator], Tensor]"


@dataclass(frozen=True)
class EigenvalueSet:
    """A named set. discrete: whether no step applies. note: how it differs from its source."""

    name: str
    make: _Make
    discrete: bool = False
    note: str | None = None

    def eigenvalues(self, size: int, step: float | None, seed: int = 0) -> DiscreteEigenvalues:
        """Of the stored states of `size` real dimensions, discretised with `step`: (1, n).

        Raises ValueError unless `size` is even and positive and `step` is > 0, or None for a set in
        discrete time.
        """
        if size < 2 or size % 2:
            message = f"{size} is not an even number of state dimensions"
            raise ValueError(message)
        if self.discrete != (step is None) or (step is not None and not 0 < step < math.inf):
            message = f"{self.name} takes no step" if self.discrete else f"{self.name} takes a step"
            raise ValueError(message)
        logarithm = self.make(size, torch.Generator().manual_seed(seed)) * (step or 1.0)
        if not logarithm.is_complex():
            return DiscreteEigenvalues(logarithm.unsqueeze(0))
        return DiscreteEigenvalues(
            logarithm.real.unsqueeze(0), wrapped(logarithm.imag).unsqueeze(0)
        )


def _numbers(count: int) -> Tensor:
    return torch.arange(count, dtype=torch.float64)


def _half_plane(frequency: Callable[[int, Tensor], Tensor]) -> _Make:
    """-1/2 + i frequency(N, n), of which conjugates are understood."""

    def make(size: int, _: torch.Generator) -> Tensor:
        imaginary = frequency(size, _numbers(size // 2))
        return torch.complex(torch.full_like(imaginary, -0.5), imaginary)

    return make


def _natural(size: int, _: torch.Generator) -> Tensor:
    return -(_numbers(size) + 1)


def _ring(size: int, generator: torch.Generator) -> Tensor:
    low, high = (radius**2 for radius in LRU_RING)
    square, phase = torch.rand(2, size // 2, generator=generator, dtype=torch.float64)
    return torch.complex((low + (high - low) * square).log() / 2, math.pi * phase)


def _uniform(size: int, generator: torch.Generator) -> Tensor:
    return torch.rand(size, generator=generator, dtype=torch.float64).log()


def _even(size: int, _: torch.Generator) -> Tensor:
    return ((_numbers(size) + 1) / (size + 1)).log()


def _two_levels(size: int, _: torch.Generator) -> Tensor:
    below = STEP_SPREAD * _numbers(size // 2) / (size // 2)
    return torch.cat([(level - below).log() for level in STEP_LEVELS])


_SETS = (
    EigenvalueSet("s4d-lin", _half_plane(lambda _, n: math.pi * n)),
    EigenvalueSet("s4d-inv", _half_plane(lambda N, n: N / math.pi * (N / (2 * n + 1) - 1))),
    EigenvalueSet("s4d-quad", _half_plane(lambda _, n: (2 * n + 1) ** 2 / math.pi)),
    EigenvalueSet("s4d-real", _natural),
    EigenvalueSet("legs", _natural),
    EigenvalueSet("lru", _ring, discrete=True),
    EigenvalueSet("random", _uniform, discrete=True, note=_APPROXIMATE),
    EigenvalueSet("lin", _even, discrete=True, note=_APPROXIMATE),
    EigenvalueSet("step", _two_levels, discrete=True, note=_APPROXIMATE),
)

#: Every set by its name.
EIGENVALUE_SETS = {one.name: one for one in _SETS}
#: The five that arXiv 2510.00563 compares in its first figure.
COMPARED_SETS = ("s4d-inv", "s4d-lin", "random", "lin", "step")


def legs_system(size: int, step: float) -> tuple[Tensor, Tensor]:
    """HiPPO-LegS itself, discretised by zero-order hold: A (N, N) and B (N, 1) of S4.

    For the matrices see `spectrakit.dynamics.legs`. Its memory is that of any system with the
    eigenvalues of `legs`.
    """
    generator, root = legs(size)
    state = torch.linalg.matrix_exp(step * generator)
    identity = torch.eye(size, dtype=torch.float64)
    return state, torch.linalg.solve(generator, (state - identity) @ root.unsqueeze(-1))
