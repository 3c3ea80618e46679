"""A diagonal recurrence in parallel over tokens, with a backward that is the reversed scan.

    h_t     = exp(a_t) h_{t-1} + x_t                 h_{-1} = 0
    g_t     = exp(a_{t+1})^* g_{t+1} + dL/dh_t
    dL/dx_t = g_t
    dL/da_t = g_t (exp(a_t) h_{t-1})^*

Tokens are cut into chunks of about sqrt(T): all chunks are scanned beside each other, then the
state is carried from each to the next, and what it has decayed to is added. Powers of the decay are
those that a state really meets: nothing overflows that does not in the recurrence itself.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from torch import Tensor


def diagonal_scan(log_decay: Tensor, driven: Tensor) -> Tensor:
    """The states h (B, T, ...) of h_t = exp(log_decay_t) h_{t-1} + driven_t, from an empty state.

    driven: (B, T, ...), real or complex. log_decay: real or complex, of the shape of `driven`, or
    without its first two axes where it does not depend on the token; -inf empties the state.
    """
    states: Tensor = _DiagonalScan.apply(log_decay, driven)  # type: ignore[no-untyped-call]
    return states


class _DiagonalScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, log_decay: Tensor, driven: Tensor) -> Tensor:  # noqa: ANN401
        decay = log_decay.exp()
        states = scanned(decay, driven)
        ctx.save_for_backward(decay, states)
        ctx.decay_is_real = not log_decay.is_complex()
        ctx.driven_is_real = not driven.is_complex()
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:  # noqa: ANN401
        decay, states = ctx.saved_tensors
        constant = decay.dim() < states.dim()
        carried = decay.conj() if constant else _next(decay.conj())
        reached = scanned(carried if constant else carried.flip(1), grad.flip(1)).flip(1)
        to_decay = None
        if ctx.needs_input_grad[0]:
            moved = (reached[:, 1:] * states[:, :-1].conj()) * (
                decay.conj() if constant else decay[:, 1:].conj()
            )
            if constant:
                to_decay = moved.sum((0, 1))
            else:
                to_decay = torch.cat([torch.zeros_like(reached[:, :1]), moved], 1)
            to_decay = to_decay.real if ctx.decay_is_real and to_decay.is_complex() else to_decay
        return to_decay, reached.real if ctx.driven_is_real and reached.is_complex() else reached


def _next(decay: Tensor) -> Tensor:
    """decay_{t+1}; what stands for it after the last token meets nothing."""
    return torch.cat([decay[:, 1:], torch.zeros_like(decay[:, :1])], 1)


def scanned(decay: Tensor, driven: Tensor) -> Tensor:
    """As `diagonal_scan`, of decays themselves and without a gradient."""
    tokens = driven.shape[1]
    chunk = max(1, math.isqrt(tokens))
    chunks = -(-tokens // chunk)
    dtype = torch.promote_types(decay.dtype, driven.dtype)
    varying = decay.dim() == driven.dim()
    # Time first: what is taken step by step lies together.
    states = _chunked(driven.to(dtype), chunks, chunk)
    decays = _chunked(decay.to(dtype), chunks, chunk) if varying else None
    fixed = decay.to(dtype)
    for j in range(1, chunk):
        states[j] += (fixed if decays is None else decays[j]) * states[j - 1]
    if chunks > 1:
        _carry(states, fixed, decays)
    whole = states.movedim(0, 2).flatten(1, 2)
    return whole[:, :tokens]


def _chunked(x: Tensor, chunks: int, chunk: int) -> Tensor:
    """(B, T, ...) -> (chunk, B, chunks, ...), a copy padded with zeros."""
    padded = x.new_zeros(x.shape[0], chunks * chunk, *x.shape[2:])
    padded[:, : x.shape[1]] = x
    chunked: Tensor = padded.unflatten(1, (chunks, chunk)).movedim(2, 0).contiguous()
    return chunked


def _carry(states: Tensor, fixed: Tensor, decays: Tensor | None) -> None:
    """Add to the states of every chunk (chunk, B, chunks, ...) what the one before it left."""
    chunk, _, chunks = states.shape[:3]
    if decays is None:
        powers = [fixed]
        for _ in range(1, chunk):
            powers.append(powers[-1] * fixed)
        passed: Any = powers
        whole = [powers[-1]] * chunks
    else:
        passed = decays.cumprod(0)
        whole = list(passed[-1].unbind(1))
    carried = torch.zeros_like(states[0])
    last = states[-1].unbind(1)
    for k in range(1, chunks):
        carried[:, k] = whole[k - 1] * carried[:, k - 1] + last[k - 1]
    for j in range(chunk):
        states[j] += passed[j] * carried
