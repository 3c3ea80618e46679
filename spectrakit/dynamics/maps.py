"""How a recurrence is driven by its input and read out: B_t and C_t without materialising them.

Shapes: batch B, tokens T, heads H, groups G (H / G consecutive heads share a key and a query),
state size N, head width P.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


class InputMap(Protocol):
    """B_t, by what it does to an input."""

    def at(self, t: int, u: Tensor) -> Tensor:
        """What token `t` adds to the state: (B, H, N, P) for the token's input u."""

    def matrix(self, heads: int) -> Tensor:
        """B_t per head, multiplied out: (B, T, H, N), or (1, 1, H, N) where it does not vary."""

    def reached_by(self, tokens: slice, rows: Tensor) -> Tensor:
        """r B_s, what an input of one at each of S tokens adds to R read-outs: (B, R, H, S).

        rows: (B, R, H, N).
        """


class OutputMap(Protocol):
    """C_t, by what it does to a state."""

    def at(self, t: int, state: Tensor) -> Tensor:
        """The output of token `t`: (B, H, P) for a state (B, H, N, P)."""

    def matrix(self, heads: int) -> Tensor:
        """C_t per head: (B, T, H, N), or (1, 1, H, N) where it does not vary."""

    def row(self, t: int, heads: int) -> Tensor:
        """C_t of token `t` per head: (B, H, N)."""


def _per_head(grouped: Tensor, heads: int) -> Tensor:
    """(..., G, N) -> (..., H, N): head h belongs to group h // (H / G)."""
    groups = grouped.shape[-2]
    if groups == 1:
        return grouped.expand(*grouped.shape[:-2], heads, -1)
    return grouped.repeat_interleave(heads // groups, dim=-2)


@dataclass(frozen=True)
class OuterProduct:
    """B_t u_t = gain_t k_t u_t^T: the input written along a key.

    key: (B, T, G, N). gain: (B, T, H), the step of an Euler-discretised input; None for one.
    """

    key: Tensor
    gain: Tensor | None = None

    def at(self, t: int, u: Tensor) -> Tensor:
        """What token `t` adds to the state: (B, H, N, P) for the token's input u (B, H, P)."""
        if self.gain is not None:
            u = u * self.gain[:, t].unsqueeze(-1)
        return _per_head(self.key[:, t], u.shape[1]).unsqueeze(-1) * u.unsqueeze(-2)

    def matrix(self, heads: int) -> Tensor:
        """B_t per head, multiplied out: (B, T, H, N)."""
        key = _per_head(self.key, heads)
        return key if self.gain is None else key * self.gain.unsqueeze(-1)

    def reached_by(self, tokens: slice, rows: Tensor) -> Tensor:
        """r B_s for rows (B, R, H, N): (B, R, H, S)."""
        key = _per_head(self.key[:, tokens], rows.shape[2])
        reached = torch.einsum("brhn,bshn->brhs", rows, key.to(rows.dtype))
        return reached if self.gain is None else reached * self.gain[:, tokens].mT.unsqueeze(1)


@dataclass(frozen=True)
class OuterProducts:
    """B_t u_t = sum_j k_tj u_tj^T: n inputs a token, each written along a key of its own.

    key: (B, T, H, n, N), gains multiplied in. The inputs u are (B, T, H, n P): those of a token
    side by side, while the state and the outputs have width P.
    """

    key: Tensor

    def at(self, t: int, u: Tensor) -> Tensor:
        """What token `t` adds to the state: (B, H, N, P) for the token's inputs u (B, H, n P)."""
        inputs: Tensor = u.unflatten(-1, (self.key.shape[-2], -1))
        # Not a matrix product, which would not take keys and inputs of two dtypes.
        return (self.key[:, t].unsqueeze(-1) * inputs.unsqueeze(-2)).sum(-3)

    def matrix(self, heads: int) -> Tensor:  # noqa: ARG002  (every head has keys of its own)
        """B_t per head, a row for every input of the token: (B, T, H, n, N)."""
        return self.key

    def reached_by(self, tokens: slice, rows: Tensor) -> Tensor:
        """|r B_s| over the n inputs of each token, for rows (B, R, H, N): (B, R, H, S)."""
        reached = torch.einsum("brhn,bshjn->brhsj", rows, self.key[:, tokens].to(rows.dtype))
        length: Tensor = torch.linalg.vector_norm(reached, dim=-1)
        return length


@dataclass(frozen=True)
class Contraction:
    """y_t = h_t^T q_t: the state read along a query.

    query: (B, T, G, N).
    """

    query: Tensor

    def at(self, t: int, state: Tensor) -> Tensor:
        """The output of token `t`: (B, H, P) for a state (B, H, N, P)."""
        query = _per_head(self.query[:, t], state.shape[1])
        dtype = torch.promote_types(query.dtype, state.dtype)
        return (query.unsqueeze(-2).to(dtype) @ state.to(dtype)).squeeze(-2)

    def matrix(self, heads: int) -> Tensor:
        """C_t per head: (B, T, H, N)."""
        return _per_head(self.query, heads)

    def row(self, t: int, heads: int) -> Tensor:
        """C_t of token `t` per head: (B, H, N)."""
        return _per_head(self.query[:, t], heads)


@dataclass(frozen=True)
class ConstantInput:
    """B u_t with a B that does not depend on the input (S4, S5, LRU).

    weight: (H, N, Q), real or complex, for inputs u (B, T, H, Q) and a state of width one: Q is 1
    for a layer of channels (S4, S4D), the model width for one head that mixes them (S5, LRU).
    """

    weight: Tensor

    def at(self, _t: int, u: Tensor) -> Tensor:
        """What any token adds to the state: (B, H, N, 1) for its input u (B, H, Q)."""
        return self.weight @ u.to(self.weight.dtype).unsqueeze(-1)

    def matrix(self, heads: int) -> Tensor:
        """B of a layer of channels: (1, 1, H, N)."""
        return self.weight.squeeze(-1).expand(heads, -1)[None, None]

    def reached_by(self, tokens: slice, rows: Tensor) -> Tensor:
        """r B for rows (B, R, H, N) of a layer of channels: (B, R, H, S)."""
        reached = (rows * self.weight.squeeze(-1)).sum(-1, keepdim=True)
        return reached.expand(*rows.shape[:-1], tokens.stop - tokens.start)


@dataclass(frozen=True)
class ConstantOutput:
    """Re(C h_t) with a C that does not depend on the input (S4, S5, LRU).

    weight: (H, Q, N), real or complex; see `ConstantInput`.
    """

    weight: Tensor

    def at(self, _t: int, state: Tensor) -> Tensor:
        """The output of any token: (B, H, Q) for a state (B, H, N, 1)."""
        return (self.weight @ state).squeeze(-1).real

    def matrix(self, heads: int) -> Tensor:
        """C of a layer of channels: (1, 1, H, N)."""
        return self.weight.squeeze(-2).expand(heads, -1)[None, None]

    def row(self, _t: int, heads: int) -> Tensor:
        """C of any token, for a layer of channels: (1, H, N)."""
        return self.weight.squeeze(-2).expand(heads, -1)[None]


@dataclass(frozen=True)
class ScaledInput:
    """exp(log_scale_t) B_t, log_scale: (B, T, H)."""

    inner: InputMap
    log_scale: Tensor

    def at(self, t: int, u: Tensor) -> Tensor:
        """What token `t` adds to the state: (B, H, N, P)."""
        return self.log_scale[:, t].exp()[..., None, None] * self.inner.at(t, u)

    def matrix(self, heads: int) -> Tensor:
        """(B, T, H, N)."""
        return self.log_scale.exp().unsqueeze(-1) * self.inner.matrix(heads)

    def reached_by(self, tokens: slice, rows: Tensor) -> Tensor:
        """r B_s for rows (B, R, H, N): (B, R, H, S)."""
        gain = self.log_scale[:, tokens].mT.unsqueeze(1).exp()
        return gain * self.inner.reached_by(tokens, rows)


@dataclass(frozen=True)
class ScaledOutput:
    """exp(log_scale_t) C_t, log_scale: (B, T, H)."""

    inner: OutputMap
    log_scale: Tensor

    def at(self, t: int, state: Tensor) -> Tensor:
        """The output of token `t`: (B, H, P)."""
        return self.log_scale[:, t].exp().unsqueeze(-1) * self.inner.at(t, state)

    def matrix(self, heads: int) -> Tensor:
        """(B, T, H, N)."""
        return self.log_scale.exp().unsqueeze(-1) * self.inner.matrix(heads)

    def row(self, t: int, heads: int) -> Tensor:
        """C_t of token `t` per head: (B, H, N)."""
        return self.log_scale[:, t].exp().unsqueeze(-1) * self.inner.row(t, heads)


def unscaled(read: OutputMap | None) -> OutputMap | None:
    """C_t without the scale that a change of gauge puts on it."""
    while isinstance(read, ScaledOutput):
        read = read.inner
    return read
