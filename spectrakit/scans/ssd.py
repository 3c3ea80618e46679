"""Scalar decays by matrix products, chunk by chunk: the state space dual form of Mamba-2.

    h_t = exp(a_t) h_{t-1} + b_t v_t^T               y_t = h_t^T c_t

Within a chunk, y_t = sum_{s<=t} exp(a_{s+1} + ... + a_t) (c_t . b_s) v_s is one masked product of
matrices; what came before enters through the state at the chunk's beginning. Dao & Gu 2024 (arXiv
2405.21060), section 6. Everything is differentiated by torch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

#: Tokens of a chunk.
CHUNK = 64


def chunked_scalar_scan(
    log_decay: Tensor, driven: Tensor, key: Tensor, query: Tensor, chunk: int = CHUNK
) -> Tensor:
    """y (B, T, H, P) from a (B, T, H), v (B, T, H, P), and b and c (B, T, G, N).

    H / G consecutive heads share a key and a query. Where a is -inf the state begins anew.
    """
    tokens = driven.shape[1]
    chunk = min(chunk, tokens)
    parts = -(-tokens // chunk)
    # No state comes before the first token: its decay meets nothing, and may be -inf.
    first = torch.arange(tokens, device=log_decay.device).view(1, -1, 1) == 0
    emptied = log_decay.isneginf() & ~first
    finite = log_decay.masked_fill(first | log_decay.isneginf(), 0.0)
    a, v, b, c = (in_chunks(x, parts, chunk) for x in (finite, driven, key, query))
    a = a.movedim(-1, 2)  # (B, K, H, t)
    # In float64: differences of the sums are small beside them after one large decay.
    total = a.double().cumsum(-1)
    heads, groups = v.shape[3], b.shape[3]
    shared = heads // groups
    # In the gauge of the chunk's beginning; the difference is taken before the exponential.
    allowed = torch.ones(chunk, chunk, dtype=torch.bool, device=a.device).tril()
    segments = None
    if bool(emptied.any()):
        segments = in_chunks(emptied.to(torch.int64), parts, chunk).movedim(-1, 2).cumsum(-1)
        allowed = allowed & (segments.unsqueeze(-1) == segments.unsqueeze(-2))
    difference = (total.unsqueeze(-1) - total.unsqueeze(-2)).to(v.dtype)
    within = difference.masked_fill(~allowed, -math.inf).exp()
    scores = torch.einsum("bktgn,bksgn->bkgts", c, b).repeat_interleave(shared, dim=2)
    y = torch.einsum("bkhts,bkshp->bkthp", scores * within, v)
    if parts > 1:
        y = y + _from_before(total, segments, v, b, c)
    return y.flatten(1, 2)[:, :tokens]


def _from_before(total: Tensor, segments: Tensor | None, v: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """What earlier chunks contribute: (B, K, t, H, P).

    total: sums of the log-decays from a chunk's beginning, (B, K, H, t). segments: how often the
    state was emptied since then.
    """
    shared = v.shape[3] // b.shape[3]
    to_end = (total[..., -1:] - total).to(v.dtype).exp()
    from_start = total.to(v.dtype).exp()
    if segments is not None:
        to_end = to_end * (segments == segments[..., -1:])
        from_start = from_start * (segments == 0)
    written = torch.einsum(
        "bktgn,bktgip->bkginp",
        b,
        (v * to_end.movedim(2, -1).unsqueeze(-1)).unflatten(3, (b.shape[3], shared)),
    ).flatten(2, 3)  # (B, K, H, N, P)
    kept = from_start[..., -1]
    state = torch.zeros_like(written[:, 0])
    before = [state]
    # Unbound, not indexed: the gradient of an index is as large as all chunks.
    for keep, new in list(zip(kept.unbind(1), written.unbind(1), strict=True))[:-1]:
        state = keep[..., None, None] * state + new
        before.append(state)
    entering = torch.stack(before, 1).unflatten(2, (b.shape[3], shared))
    read = torch.einsum("bktgn,bkginp->bktgip", c, entering).flatten(3, 4)
    return read * from_start.movedim(2, -1).unsqueeze(-1)


def in_chunks(x: Tensor, parts: int, chunk: int) -> Tensor:
    """(B, T, ...) -> (B, K, t, ...), padded with zeros at the end."""
    missing = parts * chunk - x.shape[1]
    if missing:
        x = functional.pad(x, [0, 0] * (x.dim() - 2) + [0, missing])
    chunked: Tensor = x.unflatten(1, (parts, chunk))
    return chunked
