"""Mamba's scan in torch, one block of tokens at a time.

    h_t = exp(Delta_t A) h_{t-1} + Delta_t b_t u_t        y_t = c_t^T h_t + D u_t

Time is the slowest axis and channels the fastest, so that every step works on memory that lies
together. A block's decays and states fit the processor's second-level cache; arrays of all tokens
x channels x states, which the plain formula builds several of, are what a scan usually waits for.
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

#: Tokens of a block.
BLOCK = 16


@one_thread()  # thousands of small operations
def selective_scan(
    step: Tensor, u: Tensor, generator: Tensor, key: Tensor, query: Tensor, skip: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Outputs y (B, D, T) and the final state (B, D, N).

    step, u: (B, D, T). generator: A (D, N). key, query: (B, N, T). skip: D (D,).
    """
    step, u, key, query = (x.transpose(1, 2) for x in (step, u, key, query))
    u = u.contiguous()
    driven = u * step
    outputs = torch.zeros_like(u) if skip is None else u * skip
    rates = generator.t().contiguous()
    state = u.new_zeros(len(u), *rates.shape)
    blocks = (x.split(BLOCK, dim=1) for x in (step.contiguous(), driven, key, query, outputs))
    for step_t, driven_t, key_t, query_t, outputs_t in zip(*blocks, strict=True):
        decays = (step_t.unsqueeze(2) * rates).exp_()  # (B, t, N, D)
        states = key_t.unsqueeze(-1) * driven_t.unsqueeze(2)
        for decay, new in zip(decays.unbind(1), states.unbind(1), strict=True):
            state = new.addcmul_(decay, state)
        outputs_t += (query_t.unsqueeze(2) @ states).squeeze(2)
    return outputs.transpose(1, 2), state.transpose(1, 2)
