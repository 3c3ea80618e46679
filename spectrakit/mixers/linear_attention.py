"""Linear attention: a kernel of features in the place of the exponential.

    q_t, k_t, u_t = W_q hidden_t, W_k hidden_t, W_v hidden_t          (B, T, H, .) each
    nu_t          = phi(q_t)^T sum_{s <= t} phi(k_s)                  (B, T, H)
    h_t           = (nu_{t-1} / nu_t) h_{t-1} + phi(k_t) u_t^T / nu_t        h: (B, H, N, P)
    y_t           = h_t^T phi(q_t)                                    (B, T, H, P)
    output_t      = W_o y_t

B batch, T tokens, H heads, N features, P value width. Katharopoulos et al. 2020 (arXiv
2006.16236), equation 9, in the dsf gauge: Sieber et al. 2024 (arXiv 2405.15731), section 3. Without
the normaliser nu is 1, A is the identity and its one eigenvalue is 1, whatever the input.

In the retained gauge lambda_t = 1 - p_tt, with p_tt = phi(q_t)^T phi(k_t) / nu_t: the share of
what token t reads that comes from before it. The scale of phi(q_t), which changes nu_t, does not
change it.

Features that are rectified can all be zero on each other. Where nu_t = 0 nothing is read and y_t is
0; the state then stays as it is scaled, with the nu of the last token that read anything (before
the first such token, with that token's), and in the retained gauge lambda_t is 1. Where only
phi(k_t) meets phi(q_t), p_tt = 1: lambda_t is 0 in the retained gauge, whose state begins anew, so
that what later tokens read of before is lost to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import Contraction, HeadAxis, Mode, OuterProduct, Recurrence, ScalarDecay
from spectrakit.errors import UnsupportedError, UsageError
from spectrakit.mixers.base import Observation
from spectrakit.mixers.layers import token_before
from spectrakit.wording import given

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

#: elu is elu(x) + 1; softmax is over the features of a head.
FeatureMap: TypeAlias = Literal["elu", "relu", "softmax", "identity"]


@dataclass(frozen=True)
class LinearAttention:
    """Linear attention of H `heads`: keys of width `state_size` N, values of `head_width` P.

    normalised: whether the read-out is divided by nu; the features must be non-negative then.
    """

    name: ClassVar[str] = "linear_attention"
    operator: ClassVar[str] = ScalarDecay.structure
    weights_mode: ClassVar[Mode | None] = None
    weights_roles: ClassVar[tuple[str, ...]] = ()
    head_axis: ClassVar[HeadAxis] = "head"

    model_width: int
    heads: int
    state_size: int
    head_width: int
    feature_map: FeatureMap = "elu"
    normalised: bool = True

    def __post_init__(self) -> None:
        if self.normalised and self.feature_map == "identity":
            message = "the normaliser of linear attention without a feature map may be negative"
            raise UsageError(message, hint="feature_map='elu', or normalised=False")

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        return attention_shapes(self.model_width, self.heads, self.state_size, self.head_width)

    def from_weights(self, p: Parameters) -> Recurrence:  # noqa: ARG002  (the protocol's)
        """Raises UnsupportedError: without tokens there is no normaliser."""
        message = "linear attention has no spectrum without tokens"
        raise UnsupportedError(message, hint=given(mode="data"))

    def features(self, x: Tensor) -> Tensor:
        """Phi(x), x: (B, T, H, N)."""
        if self.feature_map == "elu":
            return functional.elu(x) + 1
        if self.feature_map == "relu":
            return functional.relu(x)
        return x.softmax(-1) if self.feature_map == "softmax" else x

    def observed(self, key: Tensor, query: Tensor) -> Recurrence:
        """From phi(k) and phi(q), (B, T, H, N)."""
        if self.normalised:
            keys = key.cumsum(1)
            normaliser = (query * keys).sum(-1)
            recurrence = dsf_recurrence(key, query, _held(normaliser.log()), self.head_width)
            # Not the rest of nu_t, which has no digits left where p_tt is near 1.
            past, own = (query * token_before(keys)).sum(-1), (query * key).sum(-1)
            log_odds = (own.log() - past.log()).masked_fill(own == 0, -math.inf)
            return replace(recurrence, log_odds=log_odds.double())
        return Recurrence(
            ScalarDecay(key.new_zeros(self.heads), self.state_size),
            mode="static",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=self.head_width,
            input_map=OuterProduct(key),
            output_map=Contraction(query),
        )

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), in its dtype."""
        query, key, value = projections(hidden, p, self.heads)
        recurrence = self.observed(self.features(key), self.features(query))
        return Observation(
            recurrence,
            value,
            lambda y: functional.linear(y.flatten(-2), p["output_projection"]),
        )


def attention_shapes(
    model_width: int, heads: int, key_width: int, head_width: int
) -> dict[str, tuple[int, ...]]:
    """Shapes of the four projections of an attention, by role."""
    return {
        "query_projection": (heads * key_width, model_width),
        "key_projection": (heads * key_width, model_width),
        "value_projection": (heads * head_width, model_width),
        "output_projection": (model_width, heads * head_width),
    }


def projections(hidden: Tensor, p: Parameters, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys (B, T, H, N) and values (B, T, H, P) of `hidden` (B, T, model width)."""
    query, key, value = (
        functional.linear(hidden, p[f"{role}_projection"]).unflatten(-1, (heads, -1))
        for role in ("query", "key", "value")
    )
    return query, key, value


def dsf_recurrence(key: Tensor, query: Tensor, log_normaliser: Tensor, width: int) -> Recurrence:
    """y_t = sum_s (q_t^T k_s) u_s / nu_t, with nu in A: lambda_t = nu_{t-1} / nu_t.

    key, query: (B, T, H, N). log_normaliser: log nu (B, T, H), finite. width: P. nu is zero before
    the first token, whose A_t acts on nothing.
    """
    before = torch.full_like(log_normaliser[:, :1], -math.inf)
    log_decay = torch.cat([before, log_normaliser[:, :-1]], dim=1) - log_normaliser
    starts = torch.zeros(key.shape[:2], dtype=torch.bool, device=key.device)
    starts[:, 0] = True
    return Recurrence(
        ScalarDecay(log_decay, key.shape[-1]),
        mode="data",
        gauge="dsf",
        head_axis="head",
        width=width,
        input_map=OuterProduct(key, gain=torch.exp(-log_normaliser)),
        output_map=Contraction(query),
        log_normaliser=log_normaliser,
        starts=starts,
    )


def _held(log_normaliser: Tensor) -> Tensor:
    """Over each -inf the value of the token before, or of the first token that has one; else 0."""
    tokens = log_normaliser.shape[1]
    reads = log_normaliser > -math.inf
    index = torch.arange(tokens, device=reads.device).view(1, -1, 1).expand_as(log_normaliser)
    last = torch.where(reads, index, -1).cummax(1).values
    first = torch.where(reads, index, tokens - 1).amin(1, keepdim=True)
    held = log_normaliser.gather(1, torch.where(last < 0, first, last))
    return held.masked_fill(held.isneginf(), 0)
