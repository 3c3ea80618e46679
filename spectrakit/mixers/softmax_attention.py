"""Softmax attention: one real decay per head, the ratio of successive normalisers.

    s_tj     = cap(scale q_t . k_j) + mask_tj              scores; -inf where t does not read j
    nu_t     = exp(sink) + sum_j exp(s_tj) = exp(LSE_t)    the normaliser, (B, T, H)
    y_t      = sum_j exp(s_tj) u_j / nu_t                  u: the values, (B, T, H, P)

As a recurrence, in the dsf gauge, with the state in the basis of the tokens (h_t: (B, H, T, P)):

    h_t      = (nu_{t-1} / nu_t) h_{t-1} + e_t u_t^T / nu_t
    y_t      = sum_j exp(s_tj) h_t[j]
    lambda_t = exp(LSE_{t-1} - LSE_t)

B batch, T tokens, H heads, P value width. Sieber et al. 2024 (arXiv 2405.15731), section 3; the
scores are those of the model, after rotary embeddings, norms of q and k, scale, soft cap, bias and
mask. The exponential kernel has a feature map of infinitely many dimensions, so the state has no
finite size: each eigenvalue is counted once. A key that has left a sliding window is no longer read
(C_t has no weight on it), and nu_t counts only those that are.

Before the first token nu is exp(sink); without a sink it is zero, and the first token that reads
anything starts from an empty state.

In the retained gauge, with p_tt the weight of token t on itself:

    lambda_t = 1 - p_tt = exp(-softplus(o_t))
    o_t      = s_tt - log(exp(sink) + sum_{j<t} exp(s_tj))

the share of what token t reads that comes from before it. A bias on the keys, which moves all s_tj
of a token alike, leaves it as it is; ALiBi has the same written as slope j or slope (j - t); keys
that no token reads do not enter. lambda_t of the dsf gauge is that times the query factor,

    nu_{t-1} / (exp(sink) + sum_{j<t} exp(s_tj))

which tells how loud the scores of t - 1 and of t are beside each other. Rules: a sink is among what
comes from before, at the first token too. Keys that have left a window are not: they count in the
query factor alone, in nu_{t-1}. s_tt is the score that the softmax sees, with scale, soft cap and
bias. A token that reads nothing but itself has p_tt = 1: lambda_t is 0, and the state begins anew
(what later tokens read of before, under a mask that lets them, is lost to this gauge). A token that
reads nothing at all, or all but itself, has lambda_t = 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import HeadAxis, Mode, Recurrence, ScalarDecay
from spectrakit.errors import UnsupportedError
from spectrakit.wording import given

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")


class TokenScores(Protocol):
    """The scores s_tj that are read out with, a few tokens at a time."""

    def rows(self, first: int, last: int) -> Tensor:
        """(B, H, last - first, T), -inf where a token does not read another."""


@dataclass(frozen=True)
class TokenInput:
    """B_t u_t = e_t u_t^T / nu_t: every token's value in a row of its own.

    log_normaliser: LSE (B, T, H).
    """

    log_normaliser: Tensor

    def at(self, t: int, u: Tensor) -> Tensor:
        """What token `t` adds to the state: (B, H, T, P) for the token's input u (B, H, P)."""
        gain = self._gain()[:, t].unsqueeze(-1)
        batch, heads, width = u.shape
        state = gain.new_zeros(batch, heads, self.log_normaliser.shape[1], width)
        state[:, :, t] = gain * u
        return state

    def matrix(self, heads: int) -> Tensor:  # noqa: ARG002  (every head has its own)
        """B_t per head, multiplied out: (B, T, H, T), T x T for each head."""
        return torch.diag_embed(self._gain().transpose(1, 2)).transpose(1, 2)

    def reached_by(self, tokens: slice, rows: Tensor) -> Tensor:
        """r B_s for rows (B, R, H, T): (B, R, H, S)."""
        return rows[..., tokens] * self._gain()[:, tokens].mT.unsqueeze(1)

    def _gain(self) -> Tensor:
        """1 / nu_t; zero for a token that reads nothing, not even itself, and so is padding."""
        return torch.exp(-self.log_normaliser).masked_fill(self.log_normaliser.isneginf(), 0)


@dataclass(frozen=True)
class ScoreOutput:
    """C_t = (exp(s_t1), ..., exp(s_tT)): every token's value by its score."""

    scores: TokenScores

    def at(self, t: int, state: Tensor) -> Tensor:
        """The output of token `t`: (B, H, P) for a state (B, H, T, P)."""
        weights = self.scores.rows(t, t + 1).to(state.dtype).exp()
        return (weights @ state).squeeze(-2)

    def matrix(self, heads: int) -> Tensor:  # noqa: ARG002  (every head has its own)
        """C_t per head, multiplied out: (B, T, H, T), T x T for each head."""
        tokens = self.scores.rows(0, 1).shape[-1]
        return self.scores.rows(0, tokens).exp().transpose(1, 2)

    def row(self, t: int, heads: int) -> Tensor:  # noqa: ARG002  (every head has its own)
        """C_t of token `t` per head: (B, H, T)."""
        return self.scores.rows(t, t + 1).exp().squeeze(2)


@dataclass(frozen=True)
class SoftmaxAttention:
    """Softmax attention of H `heads`. Its spectrum needs tokens."""

    name: ClassVar[str] = "softmax_attention"
    operator: ClassVar[str] = ScalarDecay.structure
    weights_mode: ClassVar[Mode | None] = None
    weights_roles: ClassVar[tuple[str, ...]] = ()
    head_axis: ClassVar[HeadAxis] = "head"

    heads: int

    @property
    def state_size(self) -> None:
        """The feature map of the exponential kernel has infinitely many dimensions."""
        return None

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """No parameter enters but through the queries and keys of a forward pass."""
        return {}

    def from_weights(self, p: Parameters) -> Recurrence:  # noqa: ARG002  (the protocol's)
        """Raises UnsupportedError: without tokens there is no normaliser."""
        message = "softmax attention has no spectrum without tokens"
        raise UnsupportedError(message, hint=given(mode="data"))

    def observed(
        self,
        scores: TokenScores,
        log_normaliser: Tensor,
        log_odds: Tensor | None = None,
        sinks: Tensor | None = None,
    ) -> Recurrence:
        """From the scores, LSE and o (B, H, T) with any sink in them, and the sinks (H,).

        log_odds: None leaves the layer without the retained gauge.
        """
        # In float64: the state carries 1 / nu_t, and nu_t leaves float32 at LSE = 88.
        normaliser = log_normaliser.double().transpose(1, 2)
        before = torch.full_like(normaliser[:, :1], -torch.inf)
        if sinks is not None:
            before = sinks.to(before).expand_as(before)
        previous = torch.cat([before, normaliser[:, :-1]], dim=1)
        log_decay = previous - normaliser
        nothing = previous.isneginf() | normaliser.isneginf()
        return Recurrence(
            ScalarDecay(log_decay.masked_fill(nothing, -torch.inf), 1),
            mode="data",
            gauge="dsf",
            head_axis=self.head_axis,
            width=1,
            input_map=TokenInput(normaliser),
            output_map=ScoreOutput(scores),
            log_normaliser=normaliser,
            log_odds=None if log_odds is None else log_odds.double().transpose(1, 2),
            starts=nothing.all(-1) if sinks is None else None,
        )
