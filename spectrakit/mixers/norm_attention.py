"""Norm attention: linear attention whose normaliser is a function of the present token alone.

    q_t, k_t, u_t = W_q hidden_t, W_k hidden_t, W_v hidden_t          (B, T, H, .) each
    n_t           = exp(-f(W_n hidden_t + offset))                    (B, T, H)
    h_t           = (n_t / n_{t-1}) h_{t-1} + n_t k_t u_t^T           h: (B, H, N, P)
    y_t           = h_t^T q_t / sqrt(N)                               (B, T, H, P)
    output_t      = W_o y_t

B batch, T tokens, H heads, N key width, P value width; f is exp, elu, softplus or sigmoid. In the
dsf gauge, with nu_t = 1 / n_t: Sieber et al. 2024 (arXiv 2405.15731), section 3; as Rickenbach et
al. 2025 (arXiv 2510.09379) train it. nu_t is no sum of the tokens' weights: there are
no shares of a read-out, and so no retained gauge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import HeadAxis, Mode, Recurrence, ScalarDecay
from spectrakit.errors import UnsupportedError
from spectrakit.mixers.base import Observation
from spectrakit.mixers.linear_attention import attention_shapes, dsf_recurrence, projections
from spectrakit.wording import given

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers.base import Parameters
else:
    functional = lazy_import("torch.nn.functional")

NormFunction: TypeAlias = Literal["exp", "elu", "softplus", "sigmoid"]


@dataclass(frozen=True)
class NormAttention:
    """Norm attention of H `heads`: keys of width `state_size` N, values of `head_width` P."""

    name: ClassVar[str] = "norm_attention"
    operator: ClassVar[str] = ScalarDecay.structure
    weights_mode: ClassVar[Mode | None] = None
    weights_roles: ClassVar[tuple[str, ...]] = ()
    head_axis: ClassVar[HeadAxis] = "head"

    model_width: int
    heads: int
    state_size: int
    head_width: int
    norm_function: NormFunction = "softplus"

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        shapes = attention_shapes(self.model_width, self.heads, self.state_size, self.head_width)
        return shapes | {"norm_projection": (self.heads, self.model_width), "offset": (self.heads,)}

    def from_weights(self, p: Parameters) -> Recurrence:  # noqa: ARG002  (the protocol's)
        """Raises UnsupportedError: lambda_t is a ratio of two tokens' norms."""
        message = "norm attention has no spectrum without tokens"
        raise UnsupportedError(message, hint=given(mode="data"))

    def log_normaliser(self, raw: Tensor) -> Tensor:
        """f(z) = log nu, from z = W_n hidden + offset (B, T, H)."""
        if self.norm_function == "exp":
            return raw.exp()
        if self.norm_function == "elu":
            return functional.elu(raw)
        return raw.sigmoid() if self.norm_function == "sigmoid" else functional.softplus(raw)

    def observed(self, key: Tensor, query: Tensor, raw: Tensor) -> Recurrence:
        """From k and q (B, T, H, N) and z (B, T, H)."""
        query = query * self.state_size**-0.5
        return dsf_recurrence(key, query, self.log_normaliser(raw), self.head_width)

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), in its dtype."""
        query, key, value = projections(hidden, p, self.heads)
        raw = functional.linear(hidden, p["norm_projection"], p["offset"])
        return Observation(
            self.observed(key, query, raw),
            value,
            lambda y: functional.linear(y.flatten(-2), p["output_projection"]),
        )
