"""The layers that erase before they write, written a second way: without a state.

Where a token decays by e^{g_t}, erases along
p_t and writes along k_t, then with G_t = sum_{r <= t} g_r (per key channel, or one for all of them)

    h_t = sum_{s <= t} e^{G_t - G_s} k_s w_s^T
    w_t = beta_t (u_t - sum_{s < t} (p_t^T e^{G_t - G_s} k_s) w_s)

so all w_t together solve a triangular system of tokens x tokens, and y_t = h_t^T q_t / sqrt(N). A
token that writes n times is n tokens here, of which the last is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from spectrakit_fla.mixers.gated_deltanet import GatedDeltaNetLayer

if TYPE_CHECKING:
    from spectrakit.mixers import Parameters
    from spectrakit_fla.mixers.comba import Comba
    from spectrakit_fla.mixers.delta_layer import DeltaLayer
    from spectrakit_fla.mixers.delta_net import DeltaNet
    from spectrakit_fla.mixers.deltaproduct import DeltaProductLayer
    from spectrakit_fla.mixers.kimi_delta import KimiDeltaLayer


def all_pairs(
    query: Tensor, key: Tensor, erase: Tensor, value: Tensor, log_decay: Tensor, beta: Tensor
) -> Tensor:
    """y, (B, T, H, P), as the module's docstring has it.

    query, key, erase: (B, T, H, N). value: (B, T, H, P). log_decay: (B, T, H, N) or (B, T, H, 1).
    beta: (B, T, H).
    """
    query, key, erase, value, passed = (
        x.transpose(1, 2) for x in (query, key, erase, value, log_decay.cumsum(1))
    )
    between = passed.unsqueeze(3) - passed.unsqueeze(2)  # (B, H, t, s, N or 1)
    past = torch.ones(between.shape[2:4]).tril().bool().unsqueeze(-1)
    later_keys = torch.where(past, between, -torch.inf).exp() * key.unsqueeze(2)
    found = (erase.unsqueeze(3) * later_keys).sum(-1).tril(-1)
    rate = beta.transpose(1, 2).unsqueeze(-1)
    identity = torch.eye(key.shape[2], dtype=key.dtype)
    written: Tensor = torch.linalg.solve(identity + rate * found, rate * value)
    read = (query.unsqueeze(3) * later_keys).sum(-1)
    y: Tensor = (read @ written).transpose(1, 2)
    return y / math.sqrt(key.shape[-1])


def delta_net(mixer: DeltaNet, hidden: Tensor, p: Parameters) -> Tensor:
    """DeltaNet without a state."""
    query, key, value = _projected(mixer, hidden, p)
    if mixer.scaling == "l2":
        query, key = _unit(query), _unit(key)
    else:
        query, key = (x / x.sum(-1, keepdim=True) for x in (query, key))
    if mixer.learned_beta:
        beta = _beta(mixer, hidden, p)
    else:
        beta = torch.full_like(key[..., 0], mixer.largest_beta)
    y = all_pairs(query, key, key, value, torch.zeros_like(key), beta)
    return _read_out(mixer, y, hidden, p)


def delta_product(
    mixer: GatedDeltaNetLayer | DeltaProductLayer, hidden: Tensor, p: Parameters
) -> Tensor:
    """Gated DeltaNet and both kinds of DeltaProduct without a state."""
    query, key, value = _projected(mixer, hidden, p)
    beta = _beta(mixer, hidden, p)
    decay = torch.zeros_like(beta).unflatten(1, (-1, mixer.writes))
    if isinstance(mixer, GatedDeltaNetLayer):
        decay[:, :, 0] = _log_decay(hidden, p)
    query, key, decay = _unit(query), _unit(key), decay.flatten(1, 2).unsqueeze(-1)
    y = all_pairs(query, key, key, value, decay, beta)
    return _read_out(mixer, y[:, mixer.writes - 1 :: mixer.writes], hidden, p)


def kimi_delta(mixer: KimiDeltaLayer, hidden: Tensor, p: Parameters) -> Tensor:
    """Kimi delta attention without a state."""
    query, key, value = _projected(mixer, hidden, p)
    raw = hidden @ p["step_down"].T @ p["step_up"].T + p["step_bias"]
    raw, rate = raw.unflatten(-1, (mixer.heads, -1)), p["A_log"].exp().unsqueeze(-1)
    if mixer.lower_bound is None:
        decay = -rate * torch.log1p(raw.exp())
    else:
        decay = mixer.lower_bound / (1 + torch.exp(-rate * raw))
    query, key = _unit(query), _unit(key)
    y = all_pairs(query, key, key, value, decay, _beta(mixer, hidden, p))
    gate = hidden @ p["gate_down"].T @ p["gate_up"].T + p["gate_bias"]
    normed = _normed(y, p["output_norm"], mixer).flatten(-2)
    return (normed * gate.sigmoid()) @ p["output_projection"].T


def comba(mixer: Comba, hidden: Tensor, p: Parameters) -> Tensor:
    """Comba without a state. What it erases it looks up before the state decays by e^{g_t}."""
    query, key, value = _projected(mixer, hidden, p)
    feedback = key * p["inner_decay"].sigmoid()[:, None]
    query = query - p["correction"][:, None] * feedback
    decay = _log_decay(hidden, p).unsqueeze(-1)
    erase = _unit(feedback) * torch.exp(-decay)
    y = all_pairs(_unit(query), _unit(key), erase, value, decay, _beta(mixer, hidden, p))
    return _read_out(mixer, y, hidden, p)


def _projected(mixer: DeltaLayer, hidden: Tensor, p: Parameters) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and u of every write, (B, T n, H, .)."""
    act: Callable[[Tensor], Tensor] = {
        "silu": functional.silu,
        "relu": torch.relu,
        "elu": lambda x: torch.where(x > 0, x + 1, x.exp()),
        "identity": lambda x: x,
    }[mixer.activation]
    batch, tokens = hidden.shape[:2]
    query, key, value = (_convolved(hidden, p, role) for role in ("query", "key", "value"))
    query = act(query).reshape(batch, tokens, mixer.groups, -1).repeat_interleave(mixer.writes, 1)
    key = act(key).reshape(batch, tokens * mixer.writes, mixer.groups, -1)
    value = functional.silu(value).reshape(batch, tokens * mixer.writes, mixer.heads, -1)
    shared = mixer.heads // mixer.groups
    return query.repeat_interleave(shared, 2), key.repeat_interleave(shared, 2), value


def _convolved(hidden: Tensor, p: Parameters, role: str) -> Tensor:
    x = hidden @ p[f"{role}_projection"].T
    if f"{role}_convolution" not in p:
        return x
    weight = p[f"{role}_convolution"].squeeze(1)  # (D, K), the last for the present token
    width, tokens = weight.shape[1], hidden.shape[1]
    padded = functional.pad(x, (0, 0, width - 1, 0))
    delayed = [padded[:, k : k + tokens] * weight[:, k] for k in range(width)]
    return torch.stack(delayed).sum(0)


def _beta(mixer: DeltaLayer, hidden: Tensor, p: Parameters) -> Tensor:
    """Beta of every write: (B, T n, H)."""
    beta = mixer.largest_beta / (1 + torch.exp(-(hidden @ p["beta_projection"].T)))
    return beta.reshape(len(hidden), -1, mixer.heads)


def _log_decay(hidden: Tensor, p: Parameters) -> Tensor:
    raw = hidden @ p["step_projection"].T + p["step_bias"]
    return -p["A_log"].exp() * torch.log1p(raw.exp())


def _unit(x: Tensor) -> Tensor:
    return x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt()


def _normed(y: Tensor, weight: Tensor, mixer: DeltaLayer) -> Tensor:
    return y / (y.square().mean(-1, keepdim=True) + mixer.read_out.epsilon).sqrt() * weight


def _read_out(mixer: DeltaLayer, y: Tensor, hidden: Tensor, p: Parameters) -> Tensor:
    y = _normed(y, p["output_norm"], mixer).flatten(-2)
    if mixer.read_out.gate is not None:
        raw = hidden @ p["gate_projection"].T
        y = y * (raw.sigmoid() * (raw if mixer.read_out.gate == "swish" else 1))
    return y @ p["output_projection"].T
