"""A fixed dense recurrence, several tokens in one product of matrices.

    h_t = A h_{t-1} + x_t

A chunk's states are a block-triangular matrix of powers of A times what drives it, plus powers of A
times the state before it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

#: Tokens of a chunk.
CHUNK = 8


def dense_scan(matrix: Tensor, driven: Tensor, chunk: int = CHUNK) -> Tensor:
    """States h (B, T, N) from A (N, N) and driven x (B, T, N), from an empty state."""
    batch, tokens, size = driven.shape
    chunk = min(chunk, tokens)
    parts = -(-tokens // chunk)
    padded = functional.pad(driven, (0, 0, 0, parts * chunk - tokens))
    powers = [torch.eye(size, dtype=matrix.dtype, device=matrix.device)]
    for _ in range(chunk):
        powers.append(matrix @ powers[-1])
    zero = torch.zeros_like(matrix)
    # Row t, column s: A^(t - s).
    rows = [torch.cat([powers[t - s] if s <= t else zero for s in range(chunk)], 1)
            for t in range(chunk)]  # fmt: skip
    within = padded.view(batch, parts, chunk * size) @ torch.cat(rows, 0).mT
    onward = torch.cat(powers[1:], 0).mT  # (N, chunk N)
    states, state = [], torch.zeros_like(driven[:, 0])
    # Unbound, not indexed: the gradient of an index is as large as all chunks.
    for own in within.unbind(1):
        whole = own + state @ onward
        states.append(whole)
        state = whole[:, -size:]
    return torch.stack(states, 1).view(batch, parts * chunk, size)[:, :tokens]
