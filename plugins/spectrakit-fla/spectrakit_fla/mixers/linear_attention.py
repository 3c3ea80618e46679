"""Linear attention of fla, from its input to its output.

    q_t, k_t = phi(W_q hidden_t), phi(W_k hidden_t)              (B, T, H, N), (B, T, G, N)
    q_t, k_t = q_t / (sum q_t + 1e-4), k_t / (sum k_t + 1e-4)    where they are normed
    u_t      = W_v hidden_t                                      (B, T, G, P)
    h_t      = h_{t-1} + k_t u_t^T                               h: (B, H, N, P)
    y_t      = h_t^T q_t / sqrt(N)                               (B, T, H, P)
    nu_t     = q_t^T sum_{s <= t} k_s / sqrt(N)                  (B, T, H)
    y_t      = y_t / (nu_t + 1e-10)                              where it is normalised
    output_t = W_o norm(y_t)

B batch, T tokens, H heads, G groups (H / G consecutive heads share key and value), N features, P
value width; phi: see `feature_maps`. The norm is a root mean square over a head's P channels.
Without the normaliser A is the identity; with it lambda_t = nu_{t-1} / nu_t in the dsf gauge, as in
the host's `linear_attention`. Features that can be negative have sums without a logarithm: nu_t is
then left in C_t, and A is the identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from spectrakit.dynamics import Contraction, HeadAxis, Mode, Recurrence
from spectrakit.mixers import LinearAttention
from spectrakit.mixers.base import Observation
from spectrakit_fla.mixers.feature_maps import (
    SIGNED,
    FeatureMap,
    feature_count,
    feature_shapes,
    features,
)
from spectrakit_fla.mixers.pieces import ReadOut, projected, projection_shapes, widened

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.mixers.base import Parameters

_NORM_EPSILON, _NORMALISER_EPSILON = 1e-4, 1e-10


@dataclass(frozen=True)
class FeatureAttention:
    """Linear attention of H `heads`: keys of `key_width` K, values of `head_width` P, G `groups`.

    normed_query, normed_key: whether features are divided by their sum. normalised: whether the
    read-out is divided by nu_t.
    """

    name: ClassVar[str] = LinearAttention.name
    operator: ClassVar[str] = LinearAttention.operator
    weights_mode: ClassVar[Mode | None] = None
    weights_roles: ClassVar[tuple[str, ...]] = ()
    head_axis: ClassVar[HeadAxis] = "head"

    model_width: int
    heads: int
    groups: int
    key_width: int
    head_width: int
    feature_map: FeatureMap = "elementwise_product"
    normed_query: bool = False
    normed_key: bool = False
    normalised: bool = False
    norm_epsilon: float = 1e-6
    affine: bool = True

    @property
    def state_size(self) -> int:
        """N, the number of features."""
        return feature_count(self.feature_map, self.key_width)

    @property
    def _read_out(self) -> ReadOut:
        return ReadOut(self.norm_epsilon, gate=None, affine=self.affine)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        channels = {
            "query": self.heads * self.key_width,
            "key": self.groups * self.key_width,
            "value": self.groups * self.head_width,
        }
        return (
            projection_shapes(self.model_width, channels, None)
            | feature_shapes(self.feature_map, self.key_width)
            | self._read_out.shapes(self.model_width, self.heads, self.head_width)
        )

    def from_weights(self, p: Parameters) -> Recurrence:
        """Raises UnsupportedError: without tokens there is no normaliser, and nothing to decay."""
        return self._sums.from_weights(p)

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), its state in float32 or wider."""
        query = self._features(hidden, p, "query", normed=self.normed_query)
        key = self._features(hidden, p, "key", normed=self.normed_key)
        value = widened(projected(hidden, p, "value")).unflatten(-1, (self.groups, -1))
        key, value = (x.repeat_interleave(self.heads // self.groups, dim=2) for x in (key, value))
        recurrence = self.observed(key, query * self.state_size**-0.5)
        return Observation(recurrence, value, lambda y: self._read_out(y, hidden, p))

    def observed(self, key: Tensor, query: Tensor) -> Recurrence:
        """From k and q / sqrt(N), (B, T, H, N)."""
        if not self.normalised:
            return self._sums.observed(key, query)
        normaliser = (query * key.cumsum(1)).sum(-1, keepdim=True)
        if self.feature_map in SIGNED:
            read = Contraction(query / (normaliser + _NORMALISER_EPSILON))
            return replace(self._sums.observed(key, query), output_map=read)
        read = Contraction(query * normaliser / (normaliser + _NORMALISER_EPSILON))
        return replace(self._averages.observed(key, query), output_map=read)

    @property
    def _sums(self) -> LinearAttention:
        """The recurrence without a normaliser."""
        sizes = self.model_width, self.heads, self.state_size, self.head_width
        return LinearAttention(*sizes, feature_map="identity", normalised=False)

    @property
    def _averages(self) -> LinearAttention:
        """The recurrence with one, of features that have been mapped already."""
        sizes = self.model_width, self.heads, self.state_size, self.head_width
        return LinearAttention(*sizes, normalised=True)

    def _features(self, hidden: Tensor, p: Parameters, of: str, *, normed: bool) -> Tensor:
        x = projected(hidden, p, of).unflatten(-1, (-1, self.key_width))
        x = widened(features(self.feature_map, x, p, of))
        return x / (x.sum(-1, keepdim=True) + _NORM_EPSILON) if normed else x
