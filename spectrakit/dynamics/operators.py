"""Transition operators A_t by structure; the structure chooses the eigenvalue algorithm.

Every operator acts on the key index of a state of shape (..., H, N, P):

    ... leading axes: none for an operator that does not depend on the input, otherwise
        (batch, tokens)
    H   heads (for a layer whose channels do not interact, its channels)
    N   state size of a head: the index A_t acts on
    P   width of a head: the P columns evolve alike, so each eigenvalue occurs P times

and is kept in log-decay, in the precision its parameters came in.

What is asked of an operator beyond the protocol is a `singledispatch` function. Its default is
right for every operator, by `at`, `apply`, `apply_left`, `dense` and `eigenvalues` alone:
`steps_of`, `adjoint_applied`, `growth_of`, `sequence_of`, `mean_log_modulus`. Or none would be, and
it raises `UnknownOperatorError` where no implementation is registered: `heads_of`, `poles_of`,
`products_to_last`, and `in_double` but for plain dataclasses of tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.eigenvalues import DiscreteEigenvalues
from spectrakit.errors import UnsupportedError

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


class TransitionOperator(Protocol):
    """A_t, or a batch of them; see the module's shape legend."""

    #: Name of the structure, as the `layers` table shows it.
    structure: ClassVar[str]

    @property
    def heads(self) -> int:
        """H."""

    @property
    def state_size(self) -> int:
        """N."""

    def eigenvalues(self) -> DiscreteEigenvalues:
        """Eigenvalues of A_t on the key index: (..., H, K) with K * multiplicity = N."""

    def dense(self) -> Tensor:
        """A_t as matrices: (..., H, N, N). For tests and small systems."""

    def at(self, t: int) -> TransitionOperator:
        """The operators of token `t`: leading axes (batch,)."""

    def apply(self, state: Tensor) -> Tensor:
        """A_t h for a state (..., H, N, P)."""

    def apply_left(self, row: Tensor) -> Tensor:
        """r A_t for rows (..., R, H, N): R read-outs pulled back by one step."""

    def scaled(self, log_factor: Tensor) -> TransitionOperator:
        """exp(log_factor_t) A_t, log_factor (..., H)."""


class UnknownOperatorError(UnsupportedError):
    """A function of operators has no implementation for this one, and no default is right.

    function: the `singledispatch` function to register one with. unknown: what it would need to
    know of the operator.
    """

    def __init__(self, operator: object, function: Callable[..., Any], unknown: str) -> None:
        kind = type(operator)
        structure = getattr(operator, "structure", kind.__name__)
        super().__init__(
            f"{function.__name__} has no implementation for the operator {structure!r} "
            f"({kind.__module__}.{kind.__qualname__}): {unknown}",
            hint=f"in its plugin, @{function.__module__}.{function.__name__}.register("
            f"{kind.__name__}); docs/plugins.md, 'An operator of your own'",
        )


@dataclass(frozen=True)
class ScalarDecay:
    """A_t = exp(log_decay_t) I: one real decay per head (Mamba-2, RetNet, attention).

    log_decay: (..., H), log of the eigenvalue.
    """

    structure: ClassVar[str] = "scalar_decay"
    log_decay: Tensor
    state_size: int

    @property
    def heads(self) -> int:
        """H."""
        return self.log_decay.shape[-1]

    def eigenvalues(self) -> DiscreteEigenvalues:
        """One eigenvalue per head, of multiplicity N: (..., H, 1)."""
        return DiscreteEigenvalues(self.log_decay.unsqueeze(-1), multiplicity=self.state_size)

    def dense(self) -> Tensor:
        """(..., H, N, N)."""
        identity = torch.eye(self.state_size, dtype=self.log_decay.dtype)
        return self.log_decay.exp()[..., None, None] * identity.to(self.log_decay.device)

    def at(self, t: int) -> ScalarDecay:
        """The decays of token `t`."""
        return ScalarDecay(self.log_decay[:, t], self.state_size)

    def apply(self, state: Tensor) -> Tensor:
        """A_t h for a state (..., H, N, P)."""
        return self.log_decay.exp()[..., None, None] * state

    def apply_left(self, row: Tensor) -> Tensor:
        """r A_t for rows (..., R, H, N)."""
        return row * self.log_decay.exp()[..., None, :, None]

    def scaled(self, log_factor: Tensor) -> ScalarDecay:
        """exp(log_factor_t) A_t, log_factor (..., H)."""
        return ScalarDecay(self.log_decay + log_factor, self.state_size)


@dataclass(frozen=True)
class DiagonalDecay:
    """A_t = diag(exp(log_decay_t + i phase_t)): S4D, LRU, GLA and other diagonal layers.

    log_decay: (..., H, N), log|lambda|. phase: (..., H, N) in radians, None where real.
    """

    structure: ClassVar[str] = "diagonal_decay"
    log_decay: Tensor
    phase: Tensor | None = None

    @property
    def heads(self) -> int:
        """H."""
        return self.log_decay.shape[-2]

    @property
    def state_size(self) -> int:
        """N."""
        return self.log_decay.shape[-1]

    def eigenvalues(self) -> DiscreteEigenvalues:
        """The diagonal: (..., H, N)."""
        return DiscreteEigenvalues(self.log_decay, self.phase)

    def _diagonal(self) -> Tensor:
        modulus = self.log_decay.exp()
        return modulus if self.phase is None else torch.polar(modulus, self.phase)

    def dense(self) -> Tensor:
        """(..., H, N, N)."""
        return torch.diag_embed(self._diagonal())

    def at(self, t: int) -> DiagonalDecay:
        """The decays of token `t`."""
        return DiagonalDecay(self.log_decay[:, t], None if self.phase is None else self.phase[:, t])

    def apply(self, state: Tensor) -> Tensor:
        """A_t h for a state (..., H, N, P)."""
        return self._diagonal().unsqueeze(-1) * state

    def apply_left(self, row: Tensor) -> Tensor:
        """r A_t for rows (..., R, H, N)."""
        return row * self._diagonal().unsqueeze(-3)

    def scaled(self, log_factor: Tensor) -> DiagonalDecay:
        """exp(log_factor_t) A_t, log_factor (..., H)."""
        return DiagonalDecay(self.log_decay + log_factor.unsqueeze(-1), self.phase)


@dataclass(frozen=True)
class SeparableDecay:
    """A_t = diag(exp(-step_t rate)): a step that varies, times rates that do not (Mamba).

    step: (..., H), the discretisation step Delta_t of each channel, >= 0.
    rate: (H, N), minus the continuous-time eigenvalues.

    The product over tokens, channels and states is what everybody else materialises; it is
    multiplied out here only where somebody asks for it.
    """

    structure: ClassVar[str] = "separable_decay"
    step: Tensor
    rate: Tensor

    @property
    def heads(self) -> int:
        """H."""
        return self.rate.shape[0]

    @property
    def state_size(self) -> int:
        """N."""
        return self.rate.shape[1]

    def eigenvalues(self) -> DiscreteEigenvalues:
        """exp(-step_t rate), multiplied out: (..., H, N)."""
        return DiscreteEigenvalues(-self.step.unsqueeze(-1) * self.rate)

    def dense(self) -> Tensor:
        """(..., H, N, N)."""
        return torch.diag_embed(self.eigenvalues().modulus)

    def at(self, t: int) -> SeparableDecay:
        """The steps of token `t`, with the same rates."""
        return SeparableDecay(self.step[:, t], self.rate)

    def apply(self, state: Tensor) -> Tensor:
        """A_t h for a state (..., H, N, P)."""
        return self.eigenvalues().modulus.unsqueeze(-1) * state

    def apply_left(self, row: Tensor) -> Tensor:
        """r A_t for rows (..., R, H, N)."""
        return row * self.eigenvalues().modulus.unsqueeze(-3)

    def scaled(self, log_factor: Tensor) -> DiagonalDecay:
        """exp(log_factor_t) A_t, multiplied out: log_factor (..., H)."""
        return DiagonalDecay(self.eigenvalues().log_modulus + log_factor.unsqueeze(-1))


@dataclass(frozen=True)
class Dense:
    """A_t as explicit matrices (..., H, N, N), with no structure to exploit."""

    structure: ClassVar[str] = "dense"
    matrix: Tensor

    @property
    def heads(self) -> int:
        """H."""
        return self.matrix.shape[-3]

    @property
    def state_size(self) -> int:
        """N."""
        return self.matrix.shape[-1]

    def eigenvalues(self) -> DiscreteEigenvalues:
        """By a general eigensolver: (..., H, N)."""
        return DiscreteEigenvalues.from_values(torch.linalg.eigvals(self.matrix))

    def dense(self) -> Tensor:
        """The matrices themselves."""
        return self.matrix

    def at(self, t: int) -> Dense:
        """The matrices of token `t`."""
        return Dense(self.matrix[:, t])

    def apply(self, state: Tensor) -> Tensor:
        """A_t h for a state (..., H, N, P)."""
        return self.matrix.to(state.dtype) @ state

    def apply_left(self, row: Tensor) -> Tensor:
        """r A_t for rows (..., R, H, N)."""
        return (row.unsqueeze(-2) @ self.matrix.to(row.dtype).unsqueeze(-4)).squeeze(-2)

    def scaled(self, log_factor: Tensor) -> Dense:
        """exp(log_factor_t) A_t, log_factor (..., H)."""
        return Dense(self.matrix * log_factor.exp()[..., None, None])
