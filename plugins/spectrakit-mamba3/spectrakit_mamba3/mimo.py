"""Mamba-3 with several inputs and outputs (MIMO): R keys and queries per head and token.

    h_t      = e^{Delta_t A_t} R_t^T (h_{t-1} + (1 - lambda_t) Delta_t v_{t-1})
               + lambda_t Delta_t v_t                               h: (B, H, N, P)
    v_t      = sum_r k_tr (m_r * x_t)^T                             (B, T, H, N, P)
    y_tr     = h_t^T q_tr + D m_r * x_t                             (B, T, H, R, P)
    output_t = W_out sum_r o_r * y_tr * silu(n_r * z_t)             (B, T, H P)

R ranks, m = `input_ranks`, n = `gate_ranks` and o = `output_ranks` (H, R, P), * entrywise; all else
as in `mixer`. A_t and so the eigenvalues are those of one rank.

Every column p of a head is driven by one number, x_tp, and gives one number, so that it has one key
and one query of its own:

    B_tp = sum_r m_rp k_tr        C_tp = sum_r o_rp silu(n_rp z_tp) q_tr        (B, T, H, N, P)

The gate is in C_t, and y_t is what W_out reads. With a norm over the columns of each y_tr, C_t
would depend on the state: such a layer (`output_norm`) is no linear recurrence of this form, and
only its A_t is read.

The library pairs entry j of the state with entry j + N / 2; keys and queries are put into the order
of `RotatedDecay` first, which changes neither A_t's eigenvalues nor y_t.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NoReturn

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import Recurrence
from spectrakit.errors import UnsupportedError
from spectrakit.mixers import Observation
from spectrakit.wording import given
from spectrakit_mamba3.mixer import Mamba3

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")


@dataclass(frozen=True)
class RankedInput:
    """B_tp = gain_t sum_r spread_rp k_tr: every column p of a head with a key of its own.

    key: (B, T, H, R, N). gain: (B, T, H). spread: (H, R, P).
    """

    key: Tensor
    gain: Tensor
    spread: Tensor

    def at(self, t: int, u: Tensor) -> Tensor:
        """What token `t` adds to the state: (B, H, N, P) for the token's input u (B, H, P)."""
        u = u * self.gain[:, t].unsqueeze(-1)
        return self.key[:, t].transpose(-1, -2) @ (self.spread * u.unsqueeze(-2))

    def matrix(self, heads: int) -> NoReturn:  # noqa: ARG002
        """Raises UnsupportedError: a head has P of them."""
        raise _one_per_column("B")

    def reached_by(self, tokens: slice, rows: Tensor) -> NoReturn:  # noqa: ARG002
        """Raises UnsupportedError: a head has P of them."""
        raise _one_per_column("B")


@dataclass(frozen=True)
class RankedOutput:
    """C_tp = sum_r weight_trp q_tr: every column p of a head with a query of its own.

    query: (B, T, H, R, N). weight: (B, T, H, R, P).
    """

    query: Tensor
    weight: Tensor

    def at(self, t: int, state: Tensor) -> Tensor:
        """The output of token `t`: (B, H, P) for a state (B, H, N, P)."""
        return (self.weight[:, t] * (self.query[:, t] @ state)).sum(-2)

    def matrix(self, heads: int) -> NoReturn:  # noqa: ARG002
        """Raises UnsupportedError: a head has P of them."""
        raise _one_per_column("C")

    def row(self, t: int, heads: int) -> NoReturn:  # noqa: ARG002
        """Raises UnsupportedError: a head has P of them."""
        raise _one_per_column("C")


def _one_per_column(what: str) -> UnsupportedError:
    message = f"every column of a head of Mamba-3 MIMO has a {what} of its own, no head has one"
    hint = f"{given(analyses=['spectrum', 'lyapunov'])}, which read A alone"
    return UnsupportedError(message, hint=hint)


@dataclass(frozen=True)
class Mamba3MIMO(Mamba3):
    """A Mamba-3 layer of `rank` R; the other sizes are those of `Mamba3`."""

    name: ClassVar[str] = "mamba3_mimo"

    rank: int = 4

    @property
    def ranks(self) -> int:
        """R."""
        return self.rank

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        ranks = (self.heads, self.rank, self.head_width)
        roles = ("input_ranks", "gate_ranks", "output_ranks")
        return {**super().shapes(), **dict.fromkeys(roles, ranks)}

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), in its dtype or float32.

        Raises UnsupportedError for a layer with a norm over the columns of its outputs.
        """
        if self.output_norm:
            message = "Mamba-3 with several ranks and a norm of each is no linear recurrence"
            raise UnsupportedError(message, hint=given(mode="weights"))
        raw = self.project(hidden, p)
        step = functional.softplus(raw.step + p["step_bias"])
        key = self._paired(self.per_head(raw.key, p["key_norm"], p["key_bias"]))
        query = self._paired(self.per_head(raw.query, p["query_norm"], p["query_bias"]))
        x, gate = (part.unflatten(-1, (self.heads, -1)) for part in (raw.x, raw.gate))
        spread = p["input_ranks"].to(step.dtype)
        weight = p["output_ranks"] * functional.silu(p["gate_ranks"] * gate.unsqueeze(-2))
        taps = self.taps(raw, step)
        scores = taps.ahead[..., None, None] * (query @ key.transpose(-1, -2))
        through = p["D"][:, None, None] * spread - scores @ spread
        recurrence = Recurrence(
            self.transition(raw, step),
            mode="data",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=self.head_width,
            step=step,
            input_map=RankedInput(key, taps.gain, spread),
            output_map=RankedOutput(query, weight),
            feedthrough=(weight * through).sum(-2),
        )
        return Observation(recurrence, x, lambda y: self.leave(y.flatten(-2), p))

    def _paired(self, x: Tensor) -> Tensor:
        """(..., N) with entries j and j + N / 2 side by side."""
        paired: Tensor = x.unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2)
        return paired
