"""Operators as a plugin may bring them: heads are not where those of built-in operators are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from spectrakit.dynamics import Dense, DiscreteEigenvalues, Poles, heads_of, poles_of

# As many heads as states and tokens: a wrong axis is not noticed by its size.
BATCH, TOKENS, HEADS, STATES = 2, 5, 5, 5


@dataclass(frozen=True)
class Circulant:
    """(A_t)_ij = taps_t[(i - j) mod N]: taps (..., N, H), heads last."""

    structure: ClassVar[str] = "circulant"
    taps: torch.Tensor

    @property
    def heads(self):
        return self.taps.shape[-1]

    @property
    def state_size(self):
        return self.taps.shape[-2]

    def eigenvalues(self):
        values = torch.fft.fft(self.taps, dim=-2).transpose(-1, -2)
        return DiscreteEigenvalues.from_values(values)

    def dense(self):
        place = torch.arange(self.state_size)
        lag = (place[:, None] - place) % self.state_size
        return self.taps[..., lag, :].movedim(-1, -3)

    def at(self, t):
        return type(self)(self.taps[:, t])

    def apply(self, state):
        taps = self.taps.transpose(-1, -2)[..., None, None]  # (..., H, N, 1, 1)
        return sum(taps[..., lag, :, :] * state.roll(lag, -2) for lag in range(self.state_size))

    def apply_left(self, row):
        taps = self.taps[..., None, :, :, None]  # (..., 1, N, H, 1)
        return sum(taps[..., lag, :, :] * row.roll(-lag, -1) for lag in range(self.state_size))

    def scaled(self, log_factor):
        return type(self)(self.taps * log_factor.exp().unsqueeze(-2))


@dataclass(frozen=True)
class Reflections:
    """(I - 2 k_2 k_2^T) (I - b k_1 k_1^T): keys (2, ..., H, N), strength b (..., H)."""

    structure: ClassVar[str] = "reflections"
    keys: torch.Tensor
    strength: torch.Tensor

    @property
    def heads(self):
        return self.keys.shape[-2]

    @property
    def state_size(self):
        return self.keys.shape[-1]

    def eigenvalues(self):
        return DiscreteEigenvalues.from_values(torch.linalg.eigvals(self.dense()))

    def dense(self):
        return self.apply(torch.eye(self.state_size, dtype=self.keys.dtype))

    def at(self, t):
        return type(self)(self.keys[:, :, t], self.strength[:, t])

    def apply(self, state):
        for key, beta in self._factors():
            stored = key.unsqueeze(-2).to(state.dtype) @ state
            state = state - beta[..., None, None] * key.unsqueeze(-1) * stored
        return state

    def apply_left(self, row):
        for key, beta in reversed(self._factors()):
            key = key.unsqueeze(-3)
            along = (row * key).sum(-1, keepdim=True)
            row = row - beta[..., None, :, None] * along * key
        return row

    def scaled(self, log_factor):
        return Dense(self.dense() * log_factor.exp()[..., None, None])

    def _factors(self):
        return (self.keys[0], self.strength), (self.keys[1], torch.full_like(self.strength, 2))


class Listed:
    """Matrices (..., N, N), one for every head, in a list; no dataclass."""

    structure: ClassVar[str] = "listed"

    def __init__(self, matrices):
        self.matrices = matrices

    heads = property(lambda self: len(self.matrices))
    state_size = property(lambda self: self.matrices[0].shape[-1])

    def dense(self):
        return torch.stack(self.matrices, -3)

    def eigenvalues(self):
        return Dense(self.dense()).eigenvalues()

    def at(self, t):
        return type(self)([matrix[:, t] for matrix in self.matrices])

    def apply(self, state):
        return Dense(self.dense()).apply(state)

    def apply_left(self, row):
        return Dense(self.dense()).apply_left(row)

    def scaled(self, log_factor):
        return Dense(self.dense()).scaled(log_factor)


def fresh(kind):
    """The class again, as one that nothing is registered for: registering cannot be undone."""
    return type(kind.__name__, (kind,), {"__module__": __name__})


def circulant(lead=(BATCH, TOKENS), dtype=torch.float64):
    torch.manual_seed(0)
    return fresh(Circulant)(torch.randn(*lead, STATES, HEADS, dtype=dtype) / STATES)


def reflections(lead=(BATCH, TOKENS), dtype=torch.float64):
    torch.manual_seed(0)
    keys = torch.nn.functional.normalize(torch.randn(2, *lead, HEADS, STATES, dtype=dtype), dim=-1)
    return fresh(Reflections)(keys, torch.rand(*lead, HEADS, dtype=dtype))


def register(operator):
    """What a plugin would register for one of the two; the operator."""
    heads_of.register(type(operator), _heads[operator.structure])
    poles_of.register(type(operator), lambda one: Poles.distinct(one.eigenvalues()))
    return operator


def _heads_of_circulant(operator, heads, *, by_token):
    return type(operator)(operator.taps[..., list(heads)])


def _heads_of_reflections(operator, heads, *, by_token):
    here = list(heads)
    return type(operator)(operator.keys[..., here, :], operator.strength[..., here])


_heads = {"circulant": _heads_of_circulant, "reflections": _heads_of_reflections}
