"""Initial values of parameters, drawn by torch's own generator."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from spectrakit.dynamics.eigenvalue_sets import EIGENVALUE_SETS
from spectrakit.errors import UsageError
from spectrakit.wording import did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.dynamics import DiscreteEigenvalues
    from spectrakit.dynamics.eigenvalue_sets import EigenvalueSet
    from spectrakit.training.models.options import SteppedOptions


def log_steps(shape: tuple[int, ...], options: SteppedOptions) -> Tensor:
    """log Delta, with Delta log-uniform in [dt_min, dt_max]."""
    low, high = math.log(options.dt_min), math.log(options.dt_max)
    return low + (high - low) * torch.rand(shape)


def inverse_softplus(x: Tensor) -> Tensor:
    """What softplus makes `x` > 0 of."""
    return x + torch.log(-torch.expm1(-x))


def projection(shape: tuple[int, ...]) -> Tensor:
    """A matrix (outputs, inputs), uniform within 1 / sqrt(inputs), as torch's linear layers."""
    bound = shape[-1] ** -0.5
    return torch.empty(shape).uniform_(-bound, bound)


def generator_of(name: str, size: int, step: Tensor) -> Tensor:
    """Continuous-time eigenvalues (..., n), complex, of the named set of `size` real dimensions.

    step: Delta (..., 1), which a set in discrete time is divided by: lambda = exp(Delta a).
    Raises UsageError for an unknown set.
    """
    chosen = _set(name, size, anyhow=True)  # real ones can be made of any size
    made = chosen.make(size, torch.Generator().manual_seed(_seed())).to(torch.complex128)
    return made / step if chosen.discrete else made.expand(*step.shape[:-1], -1)


def eigenvalues_of(name: str, size: int, step: float) -> DiscreteEigenvalues:
    """Discrete-time eigenvalues (1, n) of the named set; sets in continuous time take `step`.

    Raises UsageError for an unknown set.
    """
    chosen = _set(name, size)
    return chosen.eigenvalues(size, None if chosen.discrete else step, seed=_seed())


def real_eigenvalues_of(name: str, size: int, step: float, mixer: str) -> Tensor:
    """Log-eigenvalues (n,) of a set of real ones, as `eigenvalues_of`.

    Raises UsageError for a set of complex ones, which `mixer` cannot have.
    """
    found = eigenvalues_of(name, size, step)
    if found.phase is not None and bool((found.phase != 0).any()):
        real = ", ".join(each for each in EIGENVALUE_SETS if _is_real(each))
        message = f"{mixer} has real eigenvalues, and those of {name!r} are complex"
        raise UsageError(message, hint=f"initial_eigenvalues is one of: {real}")
    return found.log_modulus[0]


def _is_real(name: str) -> bool:
    return eigenvalues_of(name, 4, 0.1).phase is None


def _set(name: str, size: int, *, anyhow: bool = False) -> EigenvalueSet:
    if name not in EIGENVALUE_SETS:
        message = f"unknown set of eigenvalues {name!r}; one of: {', '.join(EIGENVALUE_SETS)}"
        raise UsageError(message, hint=did_you_mean(name, EIGENVALUE_SETS))
    if size % 2 and not (anyhow and _is_real(name)):
        message = f"{name!r} has an even number of eigenvalues, and {size} are to be set"
        raise UsageError(message, hint=f"{size + 1} of them, or no initial_eigenvalues")
    return EIGENVALUE_SETS[name]


def _seed() -> int:
    return int(torch.randint(1 << 31, ()).item())
