"""Mamba's scan, compiled by numba: float32 on the CPU (the extra `spectrakit[fast]`).

    h_t = exp(Delta_t A) h_{t-1} + Delta_t b_t u_t        y_t = c_t^T h_t + D u_t

Channels do not interact: they are taken `LANES` at a time, one in each lane of the processor's
vector registers, and their states stay in the first-level cache from the first token to the last.
Nothing of size tokens x channels x states is ever in memory. Threads share the tiles of channels
among them; they are Python's own, so there is no second pool of threads beside torch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

#: Channels of a tile: two to four registers, so that their chains of operations overlap.
LANES = 32
#: Tokens that are turned from channel-major to token-major at once.
_BLOCK = 64


def selective_scan(
    step: Tensor, u: Tensor, generator: Tensor, key: Tensor, query: Tensor, skip: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Outputs y (B, D, T) and the final state (B, D, N), all in float32.

    step, u: (B, D, T). generator: A (D, N). key, query: (B, N, T). skip: D (D,).
    """
    batch, channels, tokens = u.shape
    states = generator.shape[1]
    outputs = u.new_empty(batch, tokens, channels)
    final = u.new_empty(batch, channels, states)
    base_two = generator * math.log2(math.e)
    skip = u.new_zeros(channels) if skip is None else skip
    sequences = [x.detach().numpy() for x in (step, u, key, query, outputs, final)]
    layer = [x.detach().numpy() for x in (base_two, skip)]

    def scan_one(tile: tuple[int, int]) -> None:
        sequence, first = tile
        _scan(*(x[sequence] for x in sequences), *layer, first)

    tiles = product(range(batch), range(0, channels, LANES))
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for _ in pool.map(scan_one, tiles):
            pass  # an error of a thread is raised here
    return outputs.transpose(1, 2), final


# ---- what is compiled --------------------------------------------------------------------------

#: A product and its sum are rounded once; the GIL is free meanwhile.
_OPTIONS: Mapping[str, Any] = {"fastmath": {"contract"}, "nogil": True}
# Constants are of NumPy's float32: beside one of Python's, everything would become float64.
_ZERO = np.float32(0)
#: Added to a small number, it leaves that number, rounded, in the last bits of the sum.
_ROUNDER = np.float32(1.5 * 2**23)
_LOWEST, _HIGHEST = np.float32(-126), np.float32(127)
#: Taylor coefficients of 2^f. |f| <= 1/2, so that what they leave out is below 5e-9.
_C0, _C1, _C2, _C3, _C4, _C5, _C6, _C7 = (
    np.float32(math.log(2) ** k / math.factorial(k)) for k in range(8)
)


def _exp2(x: Any) -> Any:  # noqa: ANN401  (a float32)
    """2^x = 2^n 2^f, to 2e-7 of it, in operations that vectorise; 2^-126 for all that is less."""
    x = _LOWEST if x < _LOWEST else x
    x = _HIGHEST if x > _HIGHEST else x
    rounded = np.float32(x + _ROUNDER)
    f = x - (rounded - _ROUNDER)
    p = _C6 + f * _C7
    p = _C5 + f * p
    p = _C4 + f * p
    p = _C3 + f * p
    p = _C2 + f * p
    p = _C1 + f * p
    p = _C0 + f * p
    # n, which is the last bits of `rounded`, becomes the exponent of a float32.
    scale = (rounded.view(np.int32) << np.int32(23)) + np.int32(127 << 23)
    return p * np.int32(scale).view(np.float32)


def _turned(rows: Any, columns: Any, first: int, start: int) -> None:  # noqa: ANN401
    """Columns (n, LANES) from rows (D, T): channels from `first` on, tokens from `start`."""
    channels, tokens = rows.shape
    for i in range(min(LANES, channels - first)):
        for t in range(min(len(columns), tokens - start)):
            columns[t, i] = rows[first + i, start + t]


def _advanced(h: Any, a: Any, step: Any, driven: Any, b: Any, c: Any, y: Any) -> None:  # noqa: ANN401
    """One token: h (N, LANES) moves on and y (LANES,) becomes its output.

    a: A log2(e), (N, LANES). step, driven: Delta and Delta u, (LANES,). b, c: (N,).
    """
    y[:] = _ZERO
    for n in range(len(h)):
        b_n, c_n = b[n], c[n]
        for i in range(LANES):
            state = _compiled_exp2(step[i] * a[n, i]) * h[n, i] + b_n * driven[i]
            h[n, i] = state
            y[i] += c_n * state


_compiled_exp2 = numba.njit(**_OPTIONS)(_exp2)
_compiled_turned = numba.njit(**_OPTIONS)(_turned)
_compiled_advanced = numba.njit(**_OPTIONS)(_advanced)


def _scan_tile(
    step: np.ndarray,
    u: np.ndarray,
    key: np.ndarray,
    query: np.ndarray,
    outputs: np.ndarray,
    final: np.ndarray,
    base_two: np.ndarray,
    skip: np.ndarray,
    first: int,
) -> None:
    """Scan channels `first` to `first + LANES` of one sequence.

    step, u: (D, T). key, query: (N, T). outputs: (T, D). final: (D, N). base_two: A log2(e),
    (D, N). skip: (D,).
    """
    channels, tokens = step.shape
    states = base_two.shape[1]
    lanes = min(LANES, channels - first)
    # Lanes beyond the last channel stay zero throughout.
    a = np.zeros((states, LANES), np.float32)
    _compiled_turned(base_two, a, first, 0)
    h = np.zeros((states, LANES), np.float32)
    steps = np.zeros((_BLOCK, LANES), np.float32)
    inputs = np.zeros((_BLOCK, LANES), np.float32)
    driven = np.zeros(LANES, np.float32)
    y = np.zeros(LANES, np.float32)
    for start in range(0, tokens, _BLOCK):
        _compiled_turned(step, steps, first, start)
        _compiled_turned(u, inputs, first, start)
        for t in range(min(_BLOCK, tokens - start)):
            for i in range(LANES):
                driven[i] = steps[t, i] * inputs[t, i]
            b, c = key[:, start + t], query[:, start + t]
            _compiled_advanced(h, a, steps[t], driven, b, c, y)
            for i in range(lanes):
                outputs[start + t, first + i] = y[i] + skip[first + i] * inputs[t, i]
    for i in range(lanes):
        for n in range(states):
            final[first + i, n] = h[n, i]


def _compiled_scan_tile() -> Callable[..., None]:
    """Compiled now, or read from what an earlier process compiled."""
    signature = f"void({', '.join(['float32[:, :]'] * 7)}, float32[:], int64)"
    compiled: Callable[..., None]
    try:
        compiled = numba.njit(signature, cache=True, **_OPTIONS)(_scan_tile)
    except RuntimeError:  # neither beside this file nor in the user's cache can be written
        compiled = numba.njit(signature, **_OPTIONS)(_scan_tile)
    return compiled


_scan = _compiled_scan_tile()
