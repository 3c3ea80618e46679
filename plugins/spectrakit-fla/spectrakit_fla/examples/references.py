"""The layers written a second way: over all pairs of tokens, without a state.

B batch, t and s tokens, h heads, n key channels, p value channels; every matrix over tokens is T x
T. All of it is in the dtype of `hidden`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from spectrakit.mixers import Parameters
    from spectrakit_fla.mixers.forgetting_attention import ForgettingAttention
    from spectrakit_fla.mixers.gla import GLA
    from spectrakit_fla.mixers.hgrn import HGRN
    from spectrakit_fla.mixers.hgrn2 import HGRN2
    from spectrakit_fla.mixers.linear_attention import FeatureAttention
    from spectrakit_fla.mixers.retention import MultiScaleRetention
    from spectrakit_fla.mixers.rotary_attention import RotaryAttention


def retention(mixer: MultiScaleRetention, hidden: Tensor, p: Parameters) -> Tensor:
    """sum_s gamma^(t-s) (q_t . k_s turned by t - s) u_s."""
    query, key, value = _by_head(hidden, p, mixer.heads, mixer.groups)
    weights = _turned_products(query, key, 10_000.0) * mixer.state_size**-0.5
    lag = _lags(hidden).clamp(min=0)
    gamma = 1 - 2.0 ** (-5 - torch.arange(mixer.heads, dtype=hidden.dtype))
    weights = (weights * gamma[:, None, None] ** lag).tril()
    return _read_out(_weighted(weights, value), hidden, p, mixer.read_out.epsilon)


def linear_attention(mixer: FeatureAttention, hidden: Tensor, p: Parameters) -> Tensor:
    """sum_s (q_t . k_s) u_s, divided by the sum of these products where that is asked for."""
    query, key, value = _by_head(hidden, p, mixer.heads, mixer.groups)
    query, key = _mapped(mixer, query, p, "query"), _mapped(mixer, key, p, "key")
    if mixer.normed_query:
        query = query / (query.sum(-1, keepdim=True) + 1e-4)
    if mixer.normed_key:
        key = key / (key.sum(-1, keepdim=True) + 1e-4)
    weights = torch.einsum("bthn,bshn->bhts", query, key).tril() * query.shape[-1] ** -0.5
    if mixer.normalised:
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-10)
    return _read_out(_weighted(weights, value), hidden, p, mixer.norm_epsilon)


def gla(mixer: GLA, hidden: Tensor, p: Parameters) -> Tensor:
    """sum_s sum_n q_tn k_sn (product of a_rn over s < r <= t) u_s."""
    query, key, value = _by_head(hidden, p, mixer.heads, mixer.groups)
    raw = hidden @ p["decay_down"].T @ p["decay_up"].T + p["decay_bias"]
    decay = _grouped(raw.sigmoid() ** (1 / 16), mixer.groups, mixer.heads)
    if mixer.clamp is not None:
        decay = decay.clamp(min=math.exp(mixer.clamp))
    y = _decayed(query * mixer.state_size**-0.5, key, value, decay)
    return _read_out(y, hidden, p, mixer.read_out.epsilon)


def hgrn(mixer: HGRN, hidden: Tensor, p: Parameters) -> Tensor:
    """sum_s (product of f_r over s < r <= t) (1 - f_s) u_s."""
    forget = _forget(_convolved(hidden, p, "forget"), p, mixer.layer)
    u = functional.silu(_convolved(hidden, p, "input"))
    one = torch.ones_like(u).unsqueeze(-1)
    y = _decayed(one, (1 - forget).unsqueeze(-1), u.unsqueeze(-1), forget.unsqueeze(-1))
    normed = _norm(y.squeeze(-1), p.get("output_norm"), mixer.norm_epsilon)
    gate: Tensor = functional.silu(hidden @ p["gate_projection"].T)
    return (normed * gate) @ p["output_projection"].T


def hgrn2(mixer: HGRN2, hidden: Tensor, p: Parameters) -> Tensor:
    """sum_s sum_n q_tn (1 - f_sn) (product of f_rn over s < r <= t) u_s."""
    forget = _forget(_convolved(hidden, p, "forget"), p, mixer.layer)
    forget = forget.unflatten(-1, (mixer.heads, -1))
    query = functional.silu(_convolved(hidden, p, "query")).unflatten(-1, (mixer.heads, -1))
    u = _convolved(hidden, p, "input").unflatten(-1, (mixer.heads, -1))
    y = _decayed(query * mixer.state_size**-0.5, 1 - forget, u, forget)
    return _norm(y.flatten(-2), p.get("output_norm"), 1e-5) @ p["output_projection"].T


def forgetting_attention(mixer: ForgettingAttention, hidden: Tensor, p: Parameters) -> Tensor:
    """Softmax over s of q_t . k_s plus the sum of log f_r over s < r <= t."""
    query, key, value = _by_head(hidden, p, mixer.heads, mixer.groups)
    if mixer.normed:
        query = _norm(query, p["query_norm"].view(mixer.heads, -1), 1e-5)
        norm = p["key_norm"].view(mixer.groups, -1)
        key = _norm(key, norm.repeat_interleave(mixer.heads // mixer.groups, 0), 1e-5)
    scores = torch.einsum("bthn,bshn->bhts", query, key) * mixer.head_width**-0.5
    forget = (hidden @ p["forget_projection"].T + p["forget_bias"]).sigmoid()
    y = _weighted(
        _causal_softmax(scores + _products(forget.unsqueeze(-1)).squeeze(-1).log()), value
    )
    y = y.flatten(-2)
    if mixer.gated:
        y = y * (hidden @ p["gate_projection"].T).sigmoid()
    return y @ p["output_projection"].T


def rotary_attention(mixer: RotaryAttention, hidden: Tensor, p: Parameters) -> Tensor:
    """Softmax over s of (q_t . k_s turned by t - s)."""
    query, key, value = _by_head(hidden, p, mixer.heads, mixer.groups)
    scores = _turned_products(query, key, mixer.rotary_base) * mixer.head_width**-0.5
    if mixer.window is not None:
        scores = scores.masked_fill(_lags(hidden) >= mixer.window, -torch.inf)
    return _weighted(_causal_softmax(scores), value).flatten(-2) @ p["output_projection"].T


def _by_head(hidden: Tensor, p: Parameters, heads: int, groups: int) -> tuple[Tensor, ...]:
    """Queries, keys and values (B, T, H, .), those of a group repeated."""
    return tuple(
        _grouped(_convolved(hidden, p, role), heads if role == "query" else groups, heads)
        for role in ("query", "key", "value")
    )


def _grouped(x: Tensor, groups: int, heads: int) -> Tensor:
    by_group: Tensor = x.unflatten(-1, (groups, -1))
    return by_group.repeat_interleave(heads // groups, dim=2)


def _convolved(hidden: Tensor, p: Parameters, role: str) -> Tensor:
    """The projection, its bias, and its convolution as a sum over lags; GLA's has an activation."""
    x = hidden @ p[f"{role}_projection"].T + p.get(f"{role}_bias", 0)
    if f"{role}_convolution" not in p:
        return x
    kernel = p[f"{role}_convolution"][:, 0].flip(-1)
    y = sum(
        kernel[:, lag] * functional.pad(x, (0, 0, lag, 0))[:, : x.shape[1]]
        for lag in range(kernel.shape[1])
    )
    assert isinstance(y, Tensor)  # noqa: S101  (a kernel has a tap)
    return functional.silu(y) if "decay_bias" in p else y


def _turned_products(query: Tensor, key: Tensor, base: float) -> Tensor:
    """q_t . k_s with the pairs of channels turned by (t - s) theta_i: (B, H, T, T)."""
    half = query.shape[-1] // 2
    pairs = [torch.complex(x[..., :half], x[..., half:]) for x in (query, key)]
    theta = base ** -(torch.arange(half, dtype=query.dtype) / half)
    turn = torch.polar(torch.ones(()).to(theta), _lags(query)[..., None] * theta)
    return torch.einsum("bthn,bshn,tsn->bhts", pairs[0], pairs[1].conj(), turn).real


def _lags(x: Tensor) -> Tensor:
    """t - s: (T, T)."""
    times = torch.arange(x.shape[1], dtype=x.dtype)
    return times[:, None] - times


def _products(decay: Tensor) -> Tensor:
    """Of decay (B, T, H, N) over s < r <= t, zero for s > t: (B, H, T, T, N)."""
    kept = decay.log().cumsum(1).transpose(1, 2)
    between = kept[:, :, :, None] - kept[:, :, None]
    past = torch.ones(decay.shape[1], decay.shape[1]).tril().bool()
    return between.masked_fill(~past[:, :, None], -torch.inf).exp()


def _decayed(query: Tensor, key: Tensor, value: Tensor, decay: Tensor) -> Tensor:
    """Values weighted by decayed products of queries and keys: (B, T, H, P)."""
    return _weighted(torch.einsum("bthn,bshn,bhtsn->bhts", query, key, _products(decay)), value)


def _weighted(weights: Tensor, value: Tensor) -> Tensor:
    return torch.einsum("bhts,bshp->bthp", weights, value)


def _causal_softmax(scores: Tensor) -> Tensor:
    past = torch.ones(scores.shape[-2:]).tril().bool()
    return scores.masked_fill(~past, -torch.inf).softmax(-1)


def _forget(raw: Tensor, p: Parameters, layer: int) -> Tensor:
    """b_l + (1 - b_l) sigmoid(raw)."""
    bound = torch.zeros(())
    if "lower_bounds" in p:
        shares = p["lower_bounds"].softmax(0)
        bound = (shares.cumsum(0) - shares[0])[layer]
    return bound + (1 - bound) * raw.sigmoid()


def _mapped(mixer: FeatureAttention, x: Tensor, p: Parameters, of: str) -> Tensor:
    """phi(x), (B, T, H, N)."""
    layers = [
        x @ p[name].T + p.get(f"{name}_bias", 0)
        for name in (f"{of}_features", f"{of}_features1", f"{of}_features2")
        if name in p
    ]
    if mixer.feature_map == "hedgehog":  # softmax over both signs
        return torch.cat([layers[0], -layers[0]], -1).mul(2).softmax(-1)
    if mixer.feature_map == "dpfp":  # r_i r_(i-j)
        r = torch.cat([x.clamp(min=0), -x.clamp(min=0)], -1)
        size = r.shape[-1]
        neighbours = (torch.arange(size)[:, None] - torch.arange(1, 5)) % size
        return (r.unsqueeze(-1) * r[..., neighbours]).transpose(-1, -2).flatten(-2)
    if mixer.feature_map == "elu":
        return torch.where(x > 0, x + 1, x.exp())
    mapped = torch.stack(layers or [x]).prod(0)
    return mapped.clamp(min=0) if mixer.feature_map in ("relu", "t2r") else mapped


def _read_out(y: Tensor, hidden: Tensor, p: Parameters, epsilon: float) -> Tensor:
    normed = _norm(y, p.get("output_norm"), epsilon).flatten(-2)
    if "gate_projection" in p:
        normed = normed * functional.silu(hidden @ p["gate_projection"].T)
    return normed @ p["output_projection"].T


def _norm(x: Tensor, weight: Tensor | None, epsilon: float) -> Tensor:
    normed = functional.rms_norm(x, x.shape[-1:], eps=epsilon)
    return normed if weight is None else normed * weight
