"""Mamba-2's scan in torch, one chunk of tokens at a time.

    h_t = exp(Delta_t A) h_{t-1} + Delta_t b_t u_t^T        y_t = h_t^T c_t + D u_t

Within a chunk that starts from the state h_0, with L_t = sum_{r <= t} Delta_r A,

    y_t = sum_{s <= t} exp(L_t - L_s) (c_t^T b_s) Delta_s u_s + exp(L_t) h_0^T c_t + D u_t
    h   = exp(L) h_0 + sum_s exp(L - L_s) b_s Delta_s u_s^T                   L at the chunk's end

B batch, T tokens, H heads, P head width, N state, G groups (b and c are shared by H / G heads).
Dao & Gu 2024 (arXiv 2405.21060), section 6. The chunk is this file's own choice, not the model's:
small ones need the fewest operations, and a group's c_t^T b_s are multiplied out once for all of
its heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit._threads import one_thread

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

#: Tokens of a chunk.
CHUNK = 48


@one_thread()  # thousands of small operations
def chunk_scan(
    step: Tensor,
    u: Tensor,
    generator: Tensor,
    key: Tensor,
    query: Tensor,
    skip: Tensor | None,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Outputs y (B, T, H, P) and the final state (B, H, P, N).

    step: (B, T, H). u: (B, T, H, P). generator, skip: A and D (H,). key, query: (B, T, G, N).
    state: what to start from, (B, H, P, N); zero where None.
    """
    batch, _, heads, width = u.shape
    groups, states = key.shape[2:]
    if state is None:
        state = u.new_zeros(batch, heads, width, states)
    h = state.unflatten(1, (groups, -1)).mT  # (B, G, H/G, N, P)
    outputs = torch.zeros_like(u) if skip is None else u * skip.unsqueeze(-1)
    blocks = (x.split(CHUNK, dim=1) for x in (step, u, key, query, outputs))
    for step_t, u_t, key_t, query_t, outputs_t in zip(*blocks, strict=True):
        b, c = key_t.transpose(1, 2), query_t.transpose(1, 2)  # (B, G, t, N)
        driven = (u_t * step_t.unsqueeze(-1)).transpose(1, 2).unflatten(1, (groups, -1))
        # L in float64: its differences are small beside it after one large step.
        decay = (step_t.double() * generator).cumsum(1).transpose(1, 2).unflatten(1, (groups, -1))
        within = (decay.unsqueeze(-1) - decay.unsqueeze(-2)).to(u.dtype).tril_().exp_().tril_()
        from_start = decay.to(u.dtype).exp().unsqueeze(-1)
        to_end = (decay[..., -1:] - decay).to(u.dtype).exp().unsqueeze(-1)
        y = within.mul_((c @ b.mT).unsqueeze(2)) @ driven  # (B, G, H/G, t, P)
        y += (c.unsqueeze(2) @ h) * from_start
        outputs_t += y.flatten(1, 2).transpose(1, 2)
        h = h * from_start[..., -1:, :] + b.mT.unsqueeze(2) @ (driven * to_end)
    return outputs, h.mT.flatten(1, 2)
