"""mamba_ssm's attention, written out: queries, keys and values after one short convolution.

    q_t, k_t, v_t = conv(W_in hidden)_t               (B, T, H K), (B, T, G K), (B, T, G K)
    q_t, k_t      = rotated by t theta_i in the i-th pair of their first R channels
    y_t           = sum_{j<=t} exp(scale q_t . k_j) v_j / nu_t          (B, T, H, K)
    output_t      = W_out y_t

B batch, T tokens, H heads, G groups (H / G consecutive heads share key and value), K head width,
theta_i = base^(-2 i / R). The convolution has no activation, and may be left out, as may the
rotation (Su et al. 2021, arXiv 2104.09864). With ALiBi (Press et al. 2021, arXiv 2108.12409)
slope_h (j - t) is added to the scores, slope_h = 2^(-8 h / H), h = 1, ..., H. For the recurrence
see `softmax_attention`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.mixers.attention_scores import DistanceMask, Scores
from spectrakit.mixers.base import Observation
from spectrakit.mixers.layers import causal_convolution
from spectrakit.mixers.log_normaliser import attend
from spectrakit.mixers.softmax_attention import SoftmaxAttention

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")


@dataclass(frozen=True)
class Rotary:
    """Rotation of the first `width` channels by an angle that grows with the position.

    interleaved: whether a pair is two neighbours; otherwise it is the i-th of either half.
    """

    width: int
    base: float = 10_000.0
    interleaved: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """X (B, T, H, K), rotated."""
        rotated, rest = x[..., : self.width], x[..., self.width :]
        # Angles in float32 or wider: a long text's exceed the digits of half precision.
        exact = torch.promote_types(x.dtype, torch.float32)
        exponents = torch.arange(0, self.width, 2, device=x.device, dtype=exact) / self.width
        positions = torch.arange(x.shape[1], device=x.device, dtype=exact)
        angles = torch.outer(positions, self.base**-exponents).unsqueeze(1)  # (T, 1, R / 2)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        axis = -1 if self.interleaved else -2
        pairs = (-1, 2) if self.interleaved else (2, -1)
        one, other = rotated.unflatten(-1, pairs).unbind(axis)
        turned = torch.stack([one * cos - other * sin, other * cos + one * sin], axis)
        return torch.cat([turned.flatten(-2), rest], -1)


@dataclass(frozen=True)
class ConvolvedAttention(SoftmaxAttention):
    """Softmax attention of H `heads` of width K, on keys and values in G `groups`.

    convolution_width: None without a convolution. rotary: None without rotation. scale: of q . k;
    None for 1 / sqrt(K). alibi: whether scores fall off with the distance.
    """

    model_width: int
    groups: int
    head_width: int
    convolution_width: int | None = None
    rotary: Rotary | None = None
    scale: float | None = None
    projection_bias: bool = True
    output_bias: bool = True
    alibi: bool = False

    @property
    def _projected(self) -> tuple[int, int, int]:
        """Channels of q, k and v."""
        query, key = self.heads * self.head_width, self.groups * self.head_width
        return query, key, key

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        channels = sum(self._projected)
        shapes: dict[str, tuple[int, ...]] = {
            "input_projection": (channels, self.model_width),
            "output_projection": (self.model_width, self.heads * self.head_width),
        }
        if self.projection_bias:
            shapes["input_projection_bias"] = (channels,)
        if self.output_bias:
            shapes["output_projection_bias"] = (self.model_width,)
        if self.convolution_width is not None:
            shapes["convolution"] = (channels, 1, self.convolution_width)
            shapes["convolution_bias"] = (channels,)
        return shapes

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), in its dtype."""
        q, k, v = self.queries_keys_values(hidden, p)
        scale = self.head_width**-0.5 if self.scale is None else self.scale
        mask = self.distances(q) if self.alibi else None
        scores = Scores(q.transpose(1, 2), k.transpose(1, 2), scale, mask)
        y, *told = attend(scores, v.transpose(1, 2))

        def finish(y: Tensor) -> Tensor:
            bias = p.get("output_projection_bias")
            return functional.linear(y.flatten(-2), p["output_projection"], bias)

        recurrence = self.observed(scores, *told)
        values = v.repeat_interleave(self.heads // self.groups, dim=2)
        return Observation(recurrence, values, finish, finish(y.transpose(1, 2)))

    def distances(self, like: Tensor) -> DistanceMask:
        """What ALiBi adds to the scores of `like` (B, T, ...), in float32 at least."""
        dtype = torch.promote_types(like.dtype, torch.float32)  # positions beyond 256 need more
        return DistanceMask(like.shape[1], self.heads, like.device, dtype)

    def queries_keys_values(self, hidden: Tensor, p: Parameters) -> tuple[Tensor, Tensor, Tensor]:
        """Q (B, T, H, K), k and v (B, T, G, K)."""
        projected = functional.linear(hidden, p["input_projection"], p.get("input_projection_bias"))
        if self.convolution_width is not None:
            projected = causal_convolution(projected, p["convolution"], p["convolution_bias"])
            projected = projected.contiguous()  # attention's kernels want whole rows
        parts = projected.split(self._projected, dim=-1)
        q, k, v = (part.unflatten(-1, (-1, self.head_width)) for part in parts)
        return (q, k, v) if self.rotary is None else (self.rotary(q), self.rotary(k), v)
