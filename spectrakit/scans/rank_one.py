"""A diagonal decay less a matrix of rank one, by matrix products, chunk by chunk: the WY form.

    h_t = (diag(e^{g_t}) - l_t r_t^T) h_{t-1} + k_t u_t^T          y_t = h_t^T q_t

With w_t = h_{t-1}^T r_t, what is stored along r_t, the chunk that the state h enters has

    h_t = e^{G_t} h + sum_{s<=t} e^{G_t - G_s} (k_s u_s^T - l_s w_s^T)       G_t = g_1 + ... + g_t
    (I + L) W = R h + M U

    R_t  = r_t e^{G_{t-1}}
    L_ts = sum_n r_tn l_sn e^{G_{t-1,n} - G_{s,n}}, M_ts alike with k, both for s < t

so that one triangular system of a chunk's size stands for its tokens. Decays differ between the N
states: factors e^{G_t} and e^{-G_s} of their own would overflow where a state decays fast. With a
token m between s and t, though, e^{G_t - G_m} and e^{G_m - G_s} are both at most one. A chunk is
halved again and again, and what the second half reads of the first is one product of matrices, m
being where they meet. Kimi Team 2025 (arXiv 2510.26692), section 3; Peng et al. 2025 (arXiv
2503.14456); halves instead of blocks of a fixed size are ours. Everything is differentiated by
torch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

#: Tokens of a chunk, a power of two.
CHUNK = 64


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

    Gains are multiplied into k. g may be -inf. chunk: a power of two.
    """
    tokens = value.shape[1]
    chunk = min(chunk, 1 << (tokens - 1).bit_length())
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
    # Unbound, not indexed: the gradient of an index is as large as all chunks.
    for of_chunk in zip(*(x.unbind(1) for x in (own, entered, kept, written, erased)), strict=True):
        o, e, keep, write, erase = of_chunk
        entering.append(state)
        found.append(o + e @ state)
        state = keep * state + write - erase @ found[-1]
    y = (q * from_start) @ torch.stack(entering, 1) + read_keys @ u
    y = y - read_left @ torch.stack(found, 1)
    return y.transpose(2, 3).flatten(1, 2)[:, :tokens]


def _weights(total: Tensor, reads: Tensor, writes: Tensor) -> Tensor:
    """sum_n reads_tin e^{G_tn - G_sn} writes_sjn for s <= t, zero after: (..., t, 2, s, 2).

    total: G (..., t, N). reads, writes: (..., t, 2, N).
    """
    chunk = total.shape[-2]
    weights = (reads.unsqueeze(-2) * writes.unsqueeze(-3)).sum(-1)  # s = t: (..., t, 2, 2)
    half = 1
    while half < chunk:
        # Rows and columns are tokens, each with its two vectors: (..., pairs, 2 half, N)
        first, second = (x.flatten(-3, -2) for x in _weighted(total, reads, writes, half))
        later = second @ first.mT
        above, below = weights.unflatten(-3, (-1, 2)).unbind(-3)  # (..., pairs, 2 half, 2 half)
        upper = torch.cat([above, torch.zeros_like(later)], -1)
        weights = torch.cat([upper, torch.cat([later, below], -1)], -2)
        half *= 2
    whole: Tensor = weights.squeeze(-3).unflatten(-1, (chunk, 2)).unflatten(-3, (chunk, 2))
    return whole


def _weighted(total: Tensor, reads: Tensor, writes: Tensor, half: int) -> tuple[Tensor, Tensor]:
    """Of every pair of halves, the first's writes and the second's reads, decayed to between them.

    (..., pairs, half, 2, N) each.
    """
    first, second = total.unflatten(-2, (-1, 2, half)).unbind(-3)
    between = first[..., -1:, :]
    to_it = (between - first).to(writes.dtype).exp().unsqueeze(-2)
    from_it = (second - between).to(reads.dtype).exp().unsqueeze(-2)
    early, _ = writes.unflatten(-3, (-1, 2, half)).unbind(-4)
    _, late = reads.unflatten(-3, (-1, 2, half)).unbind(-4)
    return early * to_it, late * from_it


def _one_later(x: Tensor) -> Tensor:
    """x_{t+1} at t, zero at a chunk's end: (..., t, N)."""
    return functional.pad(x[..., 1:, :], (0, 0, 0, 1))


def _in_chunks(x: Tensor, parts: int, chunk: int) -> Tensor:
    """(B, T, H, N) -> (B, K, H, t, N), padded with zeros at the end."""
    padded = functional.pad(x, (0, 0, 0, 0, 0, parts * chunk - x.shape[1]))
    chunked: Tensor = padded.unflatten(1, (parts, chunk)).transpose(2, 3)
    return chunked
