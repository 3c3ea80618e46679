"""A diagonal decay less a matrix of rank one, by matrix products, chunk by chunk: the WY form.

    h_t = (diag(e^{g_t}) - l_t r_t^T) h_{t-1} + k_t u_t^T          y_t = h_t^T q_t

With w_t = h_{t-1}^T r_t, what is stored along r_t, the chunk that the state h enters has

    h_t = e^{G_t} h + sum_{s<=t} e^{G_t - G_s} (k_s u_s^T - l_s w_s^T)       G_t = g_1 + ... + g_t
    (I + L) W = R h + M U

    R_t  = r_t e^{G_{t-1}}
    L_ts = sum_n r_tn l_sn e^{G_{t-1,n} - G_{s,n}}, M_ts alike with k, both for s < t

so that one triangular system of a chunk's size stands for its tokens. Decays differ between the N
states: factors e^{G_t} and e^{-G_s} of their own would overflow where a state decays fast, so the
exponentials are those of the differences, and chunks are short. Kimi Team 2025 (arXiv 2510.26692),
section 3; Peng et al. 2025 (arXiv 2503.14456). Everything is differentiated by torch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

#: Tokens of a chunk: arrays of tokens x chunk x states are made.
CHUNK = 16


def chunked_rank_one(
    log_decay: Tensor,
    left: Tensor,
    right: Tensor,
    key: Tensor,
    query: Tensor,
    value: Tensor,
    chunk: int = CHUNK,
) -> Tensor:
    """y (B, T, H, P) from g, l, r, k and q (B, T, H, N), and u (B, T, H, P), all of one dtype.

    Gains are multiplied into k. g may be -inf.
    """
    tokens = value.shape[1]
    chunk = min(chunk, tokens)
    parts = -(-tokens // chunk)
    # Below it e^g is zero in this dtype, or all but; differences of -inf would be NaN.
    floor = math.log(torch.finfo(log_decay.dtype).tiny) - 16
    g, l, r, k, q, u = (  # noqa: E741  (as in the equations)
        _in_chunks(x, parts, chunk)
        for x in (log_decay.clamp(min=floor), left, right, key, query, value)
    )
    # G in float64: its differences are small beside it after one large decay.
    total = g.double().cumsum(-2)  # (B, K, H, t, N)
    weights = _weights(total, torch.stack([q, _one_later(r)], -2), torch.stack([k, l], -2))
    read_keys, read_left = weights[..., 0, :, 0], weights[..., 0, :, 1]
    # Row t of r's stands at t - 1, whose decay it meets.
    stored_keys, lower = (
        functional.pad(weights[..., :-1, 1, :, j], (0, 0, 1, 0)) for j in range(2)
    )
    from_start = total.exp().to(g.dtype)
    before = functional.pad(from_start[..., :-1, :], (0, 0, 1, 0), value=1.0)
    to_end = (total[..., -1:, :] - total).exp().to(g.dtype)
    # The diagonal is taken as ones, whatever is stored there.
    solved = torch.linalg.solve_triangular(
        lower, torch.cat([stored_keys @ u, r * before], -1), upper=False, unitriangular=True
    )
    own, entered = solved.split([u.shape[-1], r.shape[-1]], -1)
    written, erased = (k * to_end).mT @ u, (l * to_end).mT
    kept = from_start[..., -1, :].unsqueeze(-1)
    state = torch.zeros_like(written[:, 0])
    entering, found = [], []
    for part in range(parts):
        entering.append(state)
        found.append(own[:, part] + entered[:, part] @ state)
        if part < parts - 1:
            state = kept[:, part] * state + written[:, part] - erased[:, part] @ found[-1]
    y = (q * from_start) @ torch.stack(entering, 1) + read_keys @ u
    y = y - read_left @ torch.stack(found, 1)
    return y.transpose(2, 3).flatten(1, 2)[:, :tokens]


def _weights(total: Tensor, reads: Tensor, writes: Tensor) -> Tensor:
    """sum_n reads_tin e^{G_tn - G_sn} writes_sjn for s <= t, zero after: (..., t, 2, s, 2).

    total: G (..., t, N). reads, writes: (..., t, 2, N).
    """
    chunk = total.shape[-2]
    later = torch.ones(chunk, chunk, dtype=torch.bool, device=total.device).triu(1).unsqueeze(-1)
    # Masked before the exponential: what comes later would overflow in it.
    difference = (total.unsqueeze(-2) - total.unsqueeze(-3)).to(reads.dtype)
    decay = difference.masked_fill(later, -torch.inf).exp()
    decayed = decay.unsqueeze(-2) * writes.unsqueeze(-4)  # (..., t, s, 2, N)
    weights: Tensor = (reads @ decayed.flatten(-3, -2).mT).unflatten(-1, (chunk, 2))
    return weights


def _one_later(x: Tensor) -> Tensor:
    """x_{t+1} at t, zero at a chunk's end: (..., t, N)."""
    return functional.pad(x[..., 1:, :], (0, 0, 0, 1))


def _in_chunks(x: Tensor, parts: int, chunk: int) -> Tensor:
    """(B, T, H, N) -> (B, K, H, t, N), padded with zeros at the end."""
    padded = functional.pad(x, (0, 0, 0, 0, 0, parts * chunk - x.shape[1]))
    chunked: Tensor = padded.unflatten(1, (parts, chunk)).transpose(2, 3)
    return chunked
