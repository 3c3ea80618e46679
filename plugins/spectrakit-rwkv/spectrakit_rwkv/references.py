"""Every time mixing a second time, over all pairs of tokens and without a state, to check them by.

Each function is of the layer's input (B, T, E) and its parameters by role, and gives its output.
Token s reaches token t > s through the decays of the tokens between them; token t itself is
weighted by the bonus, up to version 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.mixers import Parameters
    from spectrakit_rwkv.time_mixing5 import TimeMixing5


def shifted(x: Tensor) -> Tensor:
    """The token before, zero before the first."""
    return functional.pad(x, (0, 0, 1, 0))[:, :-1]


def rwkv4(hidden: Tensor, p: Parameters) -> Tensor:
    """A softmax over past tokens, of their keys less what has decayed since."""
    before = shifted(hidden)

    def projected(name: str) -> Tensor:
        share = p[f"mix_{name}"]
        return (share * hidden + (1 - share) * before) @ p[name].mT

    key, value = projected("key"), projected("value")
    token = torch.arange(hidden.shape[1])
    waited = (token[:, None] - token - 1).unsqueeze(-1)  # (t, s, 1) tokens between s and t
    score = key.unsqueeze(1) - waited.clamp(min=0) * p["time_decay"].exp()
    score = torch.where(waited == -1, key.unsqueeze(1) + p["first"], score)
    share = score.masked_fill(waited < -1, -torch.inf).softmax(2)
    y = torch.einsum("btsc,bsc->btc", share, value)
    return torch.sigmoid(projected("receptance")) * y @ p["output"].mT


def rwkv5(mixer: TimeMixing5, hidden: Tensor, p: Parameters) -> Tensor:
    """Scores of all pairs, with powers of the decays."""
    before = shifted(hidden)
    projected = {
        name: (p[f"mix_{name}"] * hidden + (1 - p[f"mix_{name}"]) * before) @ p[name].mT
        for name in mixer.projected
    }
    heads = mixer.heads
    r, k, v = (_heads(projected[name], heads) for name in ("receptance", "key", "value"))
    bonus = p["bonus"].exp() if mixer.log_bonus else p["bonus"]
    log_decay = -p["time_decay"].exp().view(heads, -1).expand(heads, r.shape[-1])
    y = _all_pairs(r, k, v, log_decay.expand_as(r), bonus.view(heads, -1))
    gate = functional.silu(projected["gate"]) if mixer.gated else 1.0
    return (_normed(y, p) * gate) @ p["output"].mT


def rwkv6(hidden: Tensor, p: Parameters) -> Tensor:
    """The same, with decays of every token."""
    change = shifted(hidden) - hidden
    rank = p["shift_up"].shape[1]
    x = {}
    low = torch.tanh((hidden + change * p["mix"]) @ p["shift_down"])
    for i, name in enumerate(("decay", "key", "value", "receptance", "gate")):
        learned = low[..., i * rank : (i + 1) * rank] @ p["shift_up"][i]
        x[name] = hidden + change * (p[f"mix_{name}"] + learned)
    heads = len(p["bonus"])
    raw = p["time_decay"] + torch.tanh(x["decay"] @ p["decay_down"]) @ p["decay_up"]
    r, k, v = (_heads(x[name] @ p[name].mT, heads) for name in ("receptance", "key", "value"))
    y = _all_pairs(r, k, v, _heads(-raw.exp(), heads), p["bonus"])
    return (_normed(y, p) * functional.silu(x["gate"] @ p["gate"].mT)) @ p["output"].mT


def rwkv7(hidden: Tensor, p: Parameters, first_value: Tensor | None) -> Tensor:
    """Scores of all pairs, with the products of the transitions between them multiplied out.

    first_value: (B, T, A) of the first layer; None for that one.
    """
    before = shifted(hidden)
    x = {
        name: (1 - p[f"mix_{name}"]) * hidden + p[f"mix_{name}"] * before
        for name in ("receptance", "decay", "key", "value", "rate", "gate")
    }
    heads = len(p["bonus"])
    raw = p["decay_bias"] + torch.tanh(x["decay"] @ p["decay_down"]) @ p["decay_up"]
    # As the project's code has it: a clamped logarithm of a rate.
    w = _heads(torch.exp(-torch.exp(-functional.softplus(-raw) - 0.5)), heads)
    rate = torch.sigmoid(p["rate_bias"] + (x["rate"] @ p["rate_down"]) @ p["rate_up"])
    key = x["key"] @ p["key"].mT
    removal = _heads(key * p["removal"], heads)
    removal = removal / removal.norm(dim=-1, keepdim=True)
    key = key + key * p["replacement"] * (rate - 1)
    value = x["value"] @ p["value"].mT
    if first_value is not None:
        raw = p["value_bias"] + (x["value"] @ p["value_down"]) @ p["value_up"]
        share = torch.sigmoid(raw)
        value = (1 - share) * value + share * first_value
    r, k, v, a = (
        _heads(part, heads) for part in (x["receptance"] @ p["receptance"].mT, key, value, rate)
    )
    y = torch.zeros_like(v)
    for t in range(hidden.shape[1]):
        row = r[:, t]
        for s in range(t, -1, -1):
            y[:, t] += (row * k[:, s]).sum(-1, keepdim=True) * v[:, s]
            removed = (row * a[:, s] * removal[:, s]).sum(-1, keepdim=True)
            row = row * w[:, s] - removed * removal[:, s]
    present = torch.einsum("bthn,bthn,hn->bth", r, k, p["bonus"]).unsqueeze(-1) * v
    gate = torch.sigmoid(x["gate"] @ p["gate_down"]) @ p["gate_up"]
    return ((_normed(y, p) + present.flatten(-2)) * gate) @ p["output"].mT


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.view(*x.shape[:-1], heads, -1)


def _all_pairs(r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, bonus: Tensor) -> Tensor:
    """y_t = sum_s (r_t . (d_ts k_s)) v_s, d_ts the decays between s and t, the bonus at s = t."""
    y = torch.zeros_like(v)
    for t in range(r.shape[1]):
        for s in range(t + 1):
            weight = bonus if s == t else log_decay[:, s + 1 : t].sum(1).exp()
            score = torch.einsum("bhn,bhn->bh", r[:, t] * weight, k[:, s])
            y[:, t] += score.unsqueeze(-1) * v[:, s]
    return y


def _normed(y: Tensor, p: Parameters) -> Tensor:
    """The norm of every head, of outputs that are divided by 8."""
    batch, tokens, heads, width = y.shape
    flat = y.reshape(batch * tokens, heads * width) / 8
    return functional.group_norm(flat, heads, p["norm"], p["norm_bias"]).view(batch, tokens, -1)
