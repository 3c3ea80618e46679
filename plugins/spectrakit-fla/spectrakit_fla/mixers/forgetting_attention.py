"""Forgetting attention (FoX): softmax attention whose scores sink by a gate at every token.

    q_t, k_t, u_t = W_q hidden_t, W_k hidden_t, W_v hidden_t                   (B, T, H, K) each
    f_t           = sigmoid(W_f hidden_t + b_f)                                (B, T, H)
    s_tj          = q_t . k_j / sqrt(K)
    nu_t          = sum_{j<=t} f_{j+1} ... f_t exp(s_tj)                       (B, T, H)
    y_t           = sum_{j<=t} f_{j+1} ... f_t exp(s_tj) u_j / nu_t            (B, T, H, K)
    output_t      = W_o (y_t sigmoid(W_g hidden_t))

As a recurrence, in the dsf gauge, with the state in the basis of the tokens (h_t: (B, H, T, K)):

    h_t      = lambda_t h_{t-1} + e_t u_t^T / nu_t,    lambda_t = f_t nu_{t-1} / nu_t
    y_t      = sum_{j<=t} exp(s_tj) h_t[j]

In the unnormalised gauge lambda_t is f_t, in the retained one 1 - exp(s_tt) / nu_t. B batch, T
tokens, H heads, K head width; keys and values may be those of fewer heads. Queries and keys may be
normed, and the output gate W_g left out; no position is encoded but by f. Lin et al. 2025 (arXiv
2503.02130), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.errors import UnsupportedError
from spectrakit.mixers.attention_scores import CausalMask, Scores
from spectrakit.mixers.base import Observation
from spectrakit.mixers.log_normaliser import attend
from spectrakit.mixers.softmax_attention import SoftmaxAttention
from spectrakit.wording import given
from spectrakit_fla.mixers.pieces import weighted_norm, widened
from spectrakit_fla.mixers.rotary_attention import attention_shapes, queries_keys_values

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.dynamics import Recurrence
    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

#: Of the norms of queries and keys; fla's layer leaves it at its norm's default.
_NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class ForgetMask:
    """What the gates add to the scores: log f_{j+1} + ... + log f_t, for j <= t.

    kept: the sums log f_1 + ... + log f_t, (B, H, T), in float64: their differences are small
    beside them after many tokens. dtype: of the scores.
    """

    kept: Tensor
    dtype: torch.dtype

    def rows(self, first: int, last: int) -> Tensor:
        """(B, H, last - first, T), -inf where a token comes later."""
        bias = self.kept[:, :, first:last, None] - self.kept[:, :, None]
        causal = CausalMask(self.kept.shape[-1], self.kept.device).rows(first, last)
        return bias.to(self.dtype) + causal


@dataclass(frozen=True)
class ForgettingAttention(SoftmaxAttention):
    """Forgetting attention of H `heads` of width K, on keys and values in G `groups`.

    bias: whether queries, keys and values have one. normed: whether each head of queries and keys
    goes through a root mean square norm. gated: whether there is an output gate.
    """

    name: ClassVar[str] = "forgetting_attention"

    model_width: int
    groups: int
    head_width: int
    bias: bool = False
    normed: bool = False
    gated: bool = False

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        shapes = attention_shapes(
            self.model_width, self.heads, self.groups, self.head_width, bias=self.bias
        )
        shapes["forget_projection"] = (self.heads, self.model_width)
        shapes["forget_bias"] = (self.heads,)
        if self.normed:
            shapes["query_norm"] = (self.heads * self.head_width,)
            shapes["key_norm"] = (self.groups * self.head_width,)
        if self.gated:
            shapes["gate_projection"] = (self.heads * self.head_width, self.model_width)
        return shapes

    def from_weights(self, p: Parameters) -> Recurrence:  # noqa: ARG002  (the protocol's)
        """Raises UnsupportedError: without tokens there is no normaliser."""
        message = "forgetting attention has no spectrum without tokens"
        raise UnsupportedError(message, hint=given(mode="data"))

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width); its softmax is in float32."""
        query, key, value = queries_keys_values(hidden, p, self.head_width)
        if self.normed:
            query = _normed(query, p["query_norm"])
            key = _normed(key, p["key_norm"])
        query, key, value = widened(query), widened(key), widened(value)
        raw = functional.linear(hidden, p["forget_projection"], p["forget_bias"])
        log_forget = functional.logsigmoid(widened(raw))

        scores = Scores(query.transpose(1, 2), key.transpose(1, 2), self.head_width**-0.5)
        kept = log_forget.double().cumsum(1).transpose(1, 2)
        sinking = replace(scores, mask=ForgetMask(kept, query.dtype))
        y, log_normaliser, log_odds = attend(sinking, value.transpose(1, 2))

        def finish(y: Tensor) -> Tensor:
            output = y.flatten(-2).to(hidden.dtype)
            if self.gated:
                output = output * torch.sigmoid(functional.linear(hidden, p["gate_projection"]))
            return functional.linear(output, p["output_projection"])

        return Observation(
            self.forgetting(scores, log_normaliser, log_odds, log_forget),
            value.repeat_interleave(self.heads // self.groups, dim=2),
            finish,
            finish(y.transpose(1, 2)),
        )

    def forgetting(
        self, scores: Scores, log_normaliser: Tensor, log_odds: Tensor, log_forget: Tensor
    ) -> Recurrence:
        """From the scores s_tj, log nu and the log-odds (B, H, T), and log f (B, T, H)."""
        remembering = self.observed(scores, log_normaliser, log_odds)
        operator = remembering.operator.scaled(log_forget.double())
        return replace(remembering, operator=operator)


def _normed(x: Tensor, weight: Tensor) -> Tensor:
    """Every head of x (B, T, H, K) normed, with a weight (H K,) of its own."""
    return weighted_norm(x, weight.view(x.shape[2:]), _NORM_EPSILON)
