"""Mamba-3's recurrence, many tokens at once.

Within a chunk that begins after token b, with Phi_t and a_t the sums of theta and log-decay over
the tokens b + 1 .. t (Dao & Gu 2024, arXiv 2405.21060, section 6, in the frame that turns):

    y_t = sum_{b<s<=t} e^{a_t - a_s} (R(Phi_t) q_t)^T (R(Phi_s) k_s) u_s
          + e^{a_t} h_b^T R(Phi_t) q_t
    h_e = R(Phi_e)^T (e^{a_e} h_b + sum_{b<s<=e} e^{a_e - a_s} R(Phi_s) k_s u_s^T)

Shapes as in `mixer`, C tokens of a chunk.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.rotated_decay import RotatedDecay, rotated

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

#: Tokens of a chunk.
_CHUNK = 64


def chunked_scan(operator: RotatedDecay, key: Tensor, query: Tensor, u: Tensor) -> Tensor:
    """h_t^T q_t with h_t = A_t h_{t-1} + k_t u_t^T: (B, T, H, P), without the feedthrough.

    key, query: (B, T, H, N). u: (B, T, H, P).
    """
    state = u.new_zeros(u.shape[0], u.shape[2], key.shape[-1], u.shape[-1])
    outputs = []
    for begin in range(0, u.shape[1], _CHUNK):
        now = slice(begin, begin + _CHUNK)
        frame = operator.log_decay[:, now], operator.angle[:, now]
        y, state = _chunk(*frame, key[:, now], query[:, now], u[:, now], state)
        outputs.append(y)
    return torch.cat(outputs, 1)


def _chunk(
    log_decay: Tensor, angle: Tensor, key: Tensor, query: Tensor, u: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """The outputs (B, C, H, P) of a chunk, and the state after it, from the one before it."""
    decays, angles = log_decay.cumsum(1), angle.cumsum(1)
    key, query = rotated(key, angles), rotated(query, angles)
    tokens = u.shape[1]
    past = torch.ones(tokens, tokens, dtype=torch.bool, device=u.device).tril()
    heads_first = decays.transpose(1, 2)
    between = heads_first.unsqueeze(-1) - heads_first.unsqueeze(-2)
    weight = between.masked_fill(~past, -math.inf).exp()  # (B, H, t, s)
    scores = weight * torch.einsum("bthn,bshn->bhts", query, key)
    carried = torch.einsum("bthn,bhnp->bthp", query, state) * decays.exp().unsqueeze(-1)
    y = torch.einsum("bhts,bshp->bthp", scores, u) + carried
    left = u * (decays[:, -1:] - decays).exp().unsqueeze(-1)
    held = state * decays[:, -1].exp()[..., None, None]
    held = held + torch.einsum("bshn,bshp->bhnp", key, left)
    turned_back = RotatedDecay(torch.zeros_like(decays[:, -1]), angles[:, -1], key.shape[-1])
    return y, turned_back.apply(held)
