"""Softmax attention of fla's hybrids: rotated queries and keys, and a window where there is one.

    q_t, k_t, v_t = W_q hidden_t, W_k hidden_t, W_v hidden_t, with biases where the layer has them
    q_t, k_t      = rotated by t theta_i in the i-th pair of their channels
    y_t           = sum_{t-w<j<=t} exp(q_t . k_j / sqrt(K)) v_j / nu_t          (B, T, H, K)
    output_t      = W_o y_t

B batch, T tokens, H heads, G groups (H / G consecutive heads share key and value), K head width,
w window, theta_i = base^(-2 i / K). For the recurrence see the host's `softmax_attention`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.mixers.attention_scores import CausalMask, Scores
from spectrakit.mixers.base import Observation
from spectrakit.mixers.convolved_attention import Rotary
from spectrakit.mixers.log_normaliser import attend
from spectrakit.mixers.softmax_attention import SoftmaxAttention

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers.base import Parameters
else:
    functional = lazy_import("torch.nn.functional")


@dataclass(frozen=True)
class RotaryAttention(SoftmaxAttention):
    """Softmax attention of H `heads` of width K, on keys and values in G `groups`.

    window: tokens that a token reads, itself included; None for all before it. bias: whether
    queries, keys and values have one.
    """

    model_width: int
    groups: int
    head_width: int
    window: int | None = None
    rotary_base: float = 10_000.0
    bias: bool = False

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        return attention_shapes(
            self.model_width, self.heads, self.groups, self.head_width, bias=self.bias
        )

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), in its dtype."""
        query, key, value = queries_keys_values(hidden, p, self.head_width)
        rotary = Rotary(self.head_width, self.rotary_base)
        mask = None
        if self.window is not None:
            mask = CausalMask(hidden.shape[1], hidden.device, self.window)
        scores = Scores(
            rotary(query).transpose(1, 2),
            rotary(key).transpose(1, 2),
            self.head_width**-0.5,
            mask,
        )
        y, *told = attend(scores, value.transpose(1, 2))

        def finish(y: Tensor) -> Tensor:
            return functional.linear(y.flatten(-2).to(hidden.dtype), p["output_projection"])

        return Observation(
            self.observed(scores, *told),
            value.repeat_interleave(self.heads // self.groups, dim=2),
            finish,
            finish(y.transpose(1, 2)),
        )


def attention_shapes(
    model_width: int, heads: int, groups: int, head_width: int, *, bias: bool
) -> dict[str, tuple[int, ...]]:
    """Shapes of an attention's projections, by role."""
    channels = {"query": heads * head_width, "key": groups * head_width}
    channels["value"] = channels["key"]
    shapes: dict[str, tuple[int, ...]] = {
        f"{role}_projection": (width, model_width) for role, width in channels.items()
    }
    if bias:
        shapes |= {f"{role}_bias": (width,) for role, width in channels.items()}
    return shapes | {"output_projection": (model_width, heads * head_width)}


def queries_keys_values(
    hidden: Tensor, p: Parameters, head_width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """q (B, T, H, K), k and v (B, T, G, K) of `hidden` (B, T, model width)."""
    query, key, value = (
        functional.linear(hidden, p[f"{role}_projection"], p.get(f"{role}_bias")).unflatten(
            -1, (-1, head_width)
        )
        for role in ("query", "key", "value")
    )
    return query, key, value
