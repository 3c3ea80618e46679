"""RWKV-6 and RWKV-7 written a second way: over all pairs of tokens, without a state.

With E_ts = diag(w_{s+1} ... w_t), RWKV-6 reads a state before token t is in it,

    y_t = sum_{s < t} (r_t^T E_{t-1,s} k_s) v_s + (r_t^T diag(u) k_t) v_t

and RWKV-7 finds what it removes of that state, z_t, from a triangular system over all tokens:

    z_t = sum_{s < t} c_t^T E_{t-1,s} (k_s v_s - a_s c_s z_s)
    y_t = sum_{s <= t} r_t^T E_ts (k_s v_s - a_s c_s z_s)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.mixers import Parameters
    from spectrakit_fla.mixers.rwkv6 import RWKV6Layer
    from spectrakit_fla.mixers.rwkv7 import RWKV7Layer


def rwkv6(mixer: RWKV6Layer, hidden: Tensor, p: Parameters) -> Tensor:
    """The layer's output, (B, T, E)."""
    before = functional.pad(hidden, (0, 0, 1, 0))[:, :-1]
    rank = mixer.mix_rank
    inner = torch.tanh((hidden + p["mix"] * (before - hidden)) @ p["mix_down"].T)
    mixed = []
    for number in range(5):
        part = slice(number * rank, (number + 1) * rank)
        share = inner[..., part] @ p["mix_up"][:, part].T + p["mix_bias"][number]
        mixed.append(torch.lerp(hidden, before, share))
    for_receptance, for_decay, for_key, for_value, for_gate = mixed
    receptance = _heads(for_receptance @ p["receptance"].T, mixer.heads)
    key = _heads(for_key @ p["key"].T, mixer.heads)
    value = _heads(for_value @ p["value"].T, mixer.heads)
    raw = torch.tanh(for_decay @ p["decay_down"].T) @ p["decay_up"].T + p["decay_bias"]
    log_decay = _heads(-raw.exp(), mixer.heads)
    weights = _weights(receptance, key, log_decay, late=True)
    weights = weights + torch.diag_embed((receptance * p["bonus"][:, None] * key).sum(-1))
    gate = for_gate @ p["gate"].T
    normed = _normed(weights @ value, p, mixer.norm_epsilon)
    return (normed * gate * gate.sigmoid()) @ p["output"].T


def rwkv7(mixer: RWKV7Layer, hidden: Tensor, p: Parameters) -> Tensor:
    """The layer's output, (B, T, E); p has the first layer's values, unless it is that layer."""
    before = functional.pad(hidden, (0, 0, 1, 0))[:, :-1]

    def mixed(role: str) -> Tensor:
        return torch.lerp(hidden, before, p[f"mix_{role}"])

    def low_rank(role: str) -> Tensor:
        return mixed(role) @ p[f"{role}_down"].T @ p[f"{role}_up"].T + p[f"{role}_bias"]

    raw = torch.tanh(mixed("decay") @ p["decay_down"].T) @ p["decay_up"].T + p["decay_bias"]
    log_decay = _heads(-math.exp(-0.5) / (1 + torch.exp(-raw)), mixer.heads)
    value = mixed("value") @ p["value"].T
    if mixer.value_rank is not None:
        share = low_rank("value").sigmoid()
        value = (1 - share) * value + share * p["first_value"]
    rate = low_rank("rate").sigmoid()
    key = mixed("key") @ p["key"].T
    removal = _heads(key * p["removal"], mixer.heads)
    length = removal.square().sum(-1, keepdim=True)
    removal = removal / (length + 1e-6 if mixer.fused else length).sqrt()
    key = _heads(key * (1 - p["replacement"] + rate * p["replacement"]), mixer.heads)
    value, removed = _heads(value, mixer.heads), _heads(rate, mixer.heads) * removal
    receptance = _heads(mixed("receptance") @ p["receptance"].T, mixer.heads)

    identity = torch.eye(hidden.shape[1], dtype=hidden.dtype)
    system = identity + _weights(removal, removed, log_decay, late=True)
    found = torch.linalg.solve(system, _weights(removal, key, log_decay, late=True) @ value)
    y = _weights(receptance, key, log_decay) @ value
    y = y - _weights(receptance, removed, log_decay) @ found
    present = (receptance * p["bonus"][:, None] * key).sum(-1, keepdim=True) * value
    gate = (mixed("gate") @ p["gate_down"].T).sigmoid() @ p["gate_up"].T
    summed = _normed(y, p, mixer.norm_epsilon) + present.transpose(1, 2).flatten(-2)
    return (summed * gate) @ p["output"].T


def _heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, A) -> (B, H, T, A / H)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def _weights(read: Tensor, write: Tensor, log_decay: Tensor, *, late: bool = False) -> Tensor:
    """read_t^T E_ts write_s for s <= t; late: with E_{t-1,s}, for s < t. (B, H, T, T)."""
    passed = log_decay.cumsum(2)
    until = passed - log_decay if late else passed
    between = until.unsqueeze(3) - passed.unsqueeze(2)  # (B, H, t, s, N)
    past = torch.ones(between.shape[2:4]).tril(-1 if late else 0).bool().unsqueeze(-1)
    kept = torch.where(past, between, -torch.inf).exp()
    return torch.einsum("bhtn,bhtsn,bhsn->bhts", read, kept, write)


def _normed(y: Tensor, p: Parameters, epsilon: float) -> Tensor:
    """Of y (B, H, T, P), every head for itself: (B, T, H P)."""
    centred = y - y.mean(-1, keepdim=True)
    normed = centred / (centred.square().mean(-1, keepdim=True) + epsilon).sqrt()
    return normed.transpose(1, 2).flatten(-2) * p["norm"] + p["norm_bias"]
