"""Delta rules by matrix products, chunk by chunk: the WY form.

    h_t = e^{g_t} (I - beta_t k_t k_t^T) h_{t-1} + beta_t k_t u_t^T          y_t = h_t^T q_t

What token t writes is k_t w_t^T with w_t = beta_t (u_t - e^{g_t} h_{t-1}^T k_t). With G_t the sum
of the log-decays from a chunk's beginning, and h the state that enters it,

    (I + L) W = beta (U - e^G K h)       L_ts = beta_t e^{G_t - G_s} k_t . k_s, s < t

so that one triangular system of a chunk's size stands for its tokens. No exponent is above zero.
Yang et al. 2024 (arXiv 2406.06484), section 3.2; with a decay: 2412.06464, section 3.3. Everything
is differentiated by torch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spectrakit.scans.ssd import in_chunks

#: Tokens of a chunk.
CHUNK = 32


def chunked_delta_rule(
    log_decay: Tensor, beta: Tensor, key: Tensor, query: Tensor, value: Tensor, chunk: int = CHUNK
) -> Tensor:
    """y (B, T, H, P) from g and beta (B, T, H), k and q (B, T, H, N), and u (B, T, H, P).

    All are of one dtype. g may be -inf.
    """
    tokens = value.shape[1]
    chunk = min(chunk, tokens)
    parts = -(-tokens // chunk)
    # (B, K, H, t) and (B, K, H, t, .): K chunks of t tokens
    g, b = (in_chunks(x, parts, chunk).movedim(-1, 2) for x in (log_decay, beta))
    k, q, u = (in_chunks(x, parts, chunk).transpose(2, 3) for x in (key, query, value))
    # Below it e^g is zero in this dtype, or all but; differences of -inf would be NaN.
    floor = math.log(torch.finfo(g.dtype).tiny) - 16
    # G in float64: its differences are small beside it after one large decay.
    total = g.clamp(min=floor).double().cumsum(-1)
    earlier = torch.ones(chunk, chunk, dtype=torch.bool, device=g.device).tril()
    # Masked before the exponential: what comes later would overflow in it.
    difference = (total.unsqueeze(-1) - total.unsqueeze(-2)).to(g.dtype)
    within = difference.masked_fill(~earlier, -torch.inf).exp()
    lower = (b.unsqueeze(-1) * within * (k @ k.mT)).tril(-1)
    from_start = total.exp().to(g.dtype).unsqueeze(-1)
    wanted = torch.cat([b.unsqueeze(-1) * u, b.unsqueeze(-1) * from_start * k], -1)
    # The diagonal is taken as ones, whatever is stored there.
    solved = torch.linalg.solve_triangular(lower, wanted, upper=False, unitriangular=True)
    own, erased = solved.split([u.shape[-1], k.shape[-1]], -1)
    to_end = k * (total[..., -1:] - total).exp().to(g.dtype).unsqueeze(-1)
    kept = from_start[..., -1:, :]
    state = u.new_zeros(*u.shape[:1], u.shape[2], k.shape[-1], u.shape[-1])
    entering, written = [], []
    # Unbound, not indexed: the gradient of an index is as large as all chunks.
    for o, e, keep, end in zip(*(x.unbind(1) for x in (own, erased, kept, to_end)), strict=True):
        entering.append(state)
        written.append(o - e @ state)
        state = keep * state + end.mT @ written[-1]
    y = from_start * (q @ torch.stack(entering, 1)) + (within * (q @ k.mT)) @ torch.stack(
        written, 1
    )
    return y.transpose(2, 3).flatten(1, 2)[:, :tokens]
