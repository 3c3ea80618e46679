"""Mamba-3 without a state: over all pairs of tokens, with complex keys and queries.

    y_tr = sum_{s<=t} e^{a_t - a_s} (gamma_s Q_tr . K_s v_s + beta_s Q_tr . K_{s-1} v_{s-1}) + D v_t

Q and K are queries and keys whose pairs, as complex numbers, are turned by e^{i Phi_t} with Phi_t
the sum of all angles up to t; a_t is the sum of Delta_s A_s, gamma_s = lambda_s Delta_s and
beta_s = (1 - lambda_s) Delta_s e^{Delta_s A_s}. For the checks, from parameters by role.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from spectrakit_mamba3.mimo import Mamba3MIMO

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.mixers import Parameters
    from spectrakit_mamba3.mixer import Mamba3


def quadratic_form(mixer: Mamba3, hidden: Tensor, p: Parameters) -> Tensor:
    """The layer's output (B, T, model width) on `hidden` (B, T, model width)."""
    projected = hidden @ p["input_projection"].T + p.get("input_projection_bias", 0)
    z, x, b, c, s, a, g, w = projected.split(mixer.projected, -1)
    delta = torch.log1p((s + p["step_bias"]).exp())
    log_alpha = delta * _continuous(mixer, a)
    lam = 1 / (1 + (-g).exp())
    heads = (mixer.heads, mixer.head_width)
    x, z = x.unflatten(-1, heads), z.unflatten(-1, heads)
    v = torch.einsum("bthp,hrp->bthrp", x, p.get("input_ranks", torch.ones_like(x[0, 0])[:, None]))
    turn = torch.exp(1j * (torch.pi * w.tanh()[:, :, None] * delta[..., None]).cumsum(1))
    key, query = (
        _turned(mixer, _normed(mixer, part, p[f"{kind}_norm"]) + p[f"{kind}_bias"], turn)
        for part, kind in ((b, "key"), (c, "query"))
    )
    before = torch.nn.functional.pad(key[:, :-1], (0, 0) * 3 + (1, 0))
    v_before = torch.nn.functional.pad(v[:, :-1], (0, 0) * 3 + (1, 0))
    total = log_alpha.cumsum(1)
    past = torch.ones(hidden.shape[1], hidden.shape[1]).tril().bool()[None, :, :, None]
    between = total[:, :, None] - total[:, None]
    decay = torch.where(past, between, -torch.inf).exp()  # (B, t, s, H)
    gamma, beta = lam * delta, (1 - lam) * delta * log_alpha.exp()
    y = torch.einsum("btsh,bsh,bthrn,bshqn,bshqp->bthrp", decay, gamma, query, key, v)
    y = y + torch.einsum("btsh,bsh,bthrn,bshqn,bshqp->bthrp", decay, beta, query, before, v_before)
    y = y + p["D"][:, None, None] * v
    return _gated(mixer, y, z, p).flatten(-2) @ p["output_projection"].T + p.get(
        "output_projection_bias", 0
    )


def _continuous(mixer: Mamba3, a: Tensor) -> Tensor:
    """A (B, T, H)."""
    if mixer.a_form == "positive_floor":
        return torch.full_like(a, mixer.a_floor)
    if mixer.a_form == "softplus":
        return torch.clamp(-torch.log1p(a.exp()), max=-mixer.a_floor)
    heavy = torch.where(a >= 0, 1 + a, 1 / (1 + a.abs()))
    return torch.clamp(-heavy, max=-mixer.a_floor)


def _normed(mixer: Mamba3, part: Tensor, weight: Tensor) -> Tensor:
    """(B, T, H, R, N) of b or c."""
    grouped = part.view(*part.shape[:2], mixer.ranks, mixer.groups, mixer.state_size)
    size = ((grouped**2).mean(-1, keepdim=True) + mixer.norm_epsilon).sqrt()
    owners = torch.arange(mixer.heads) // (mixer.heads // mixer.groups)
    return (grouped / size * weight)[:, :, :, owners].transpose(2, 3)


def _turned(mixer: Mamba3, x: Tensor, turn: Tensor) -> Tensor:
    """Keys or queries with their pairs turned by `turn` (B, T, H, S): real, (B, T, H, R, N)."""
    n, pairs = mixer.state_size, mixer.pairs
    if isinstance(mixer, Mamba3MIMO):
        one, other = torch.arange(pairs), torch.arange(pairs) + n // 2
    else:
        one, other = torch.arange(0, 2 * pairs, 2), torch.arange(1, 2 * pairs, 2)
    turned = torch.complex(x[..., one], x[..., other]) * turn.unsqueeze(3)
    x = x.clone()
    x[..., one], x[..., other] = turned.real, turned.imag
    return x


def _gated(mixer: Mamba3, y: Tensor, z: Tensor, p: Parameters) -> Tensor:
    """(B, T, H, P) of y (B, T, H, R, P)."""
    if mixer.output_norm:
        y = y / ((y**2).mean(-1, keepdim=True) + mixer.norm_epsilon).sqrt()
        y = y * p["norm"].view(mixer.heads, 1, mixer.head_width)
    z = z[:, :, :, None] * p.get("gate_ranks", torch.ones_like(y[0, 0]))
    return (y * z / (1 + (-z).exp()) * p.get("output_ranks", torch.ones_like(y[0, 0]))).sum(3)
