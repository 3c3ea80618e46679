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

import itertools
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
        back = decay.conj().resolve_conj()
        reached = scanned(back if constant else _next(back), grad, reverse=True)
        to_decay = None
        if ctx.needs_input_grad[0]:
            moved = reached[:, 1:] * states[:, :-1].conj()
            if constant:
                to_decay = moved.sum((0, 1)) * back
            else:
                to_decay = torch.cat([torch.zeros_like(reached[:, :1]), moved.mul_(back[:, 1:])], 1)
            to_decay = to_decay.real if ctx.decay_is_real and to_decay.is_complex() else to_decay
        return to_decay, reached.real if ctx.driven_is_real and reached.is_complex() else reached


def _next(decay: Tensor) -> Tensor:
    """decay_{t+1}; what stands for it after the last token meets nothing."""
    return torch.cat([decay[:, 1:], torch.zeros_like(decay[:, :1])], 1)


def scanned(decay: Tensor, driven: Tensor, *, reverse: bool = False) -> Tensor:
    """As `diagonal_scan`, of decays themselves and without a gradient.

    reverse: from the last token to the first, h_t = decay_t h_{t+1} + driven_t.
    """
    tokens = driven.shape[1]
    chunk = max(1, math.isqrt(tokens))
    chunks = -(-tokens // chunk)
    dtype = torch.promote_types(decay.dtype, driven.dtype)
    # A copy, in which the states take the place of what drives them.
    states = _padded(driven.to(dtype, copy=tokens == chunks * chunk), chunks * chunk)
    rows = list(states.unflatten(1, (chunks, chunk)).unbind(2))  # (B, chunks, ...) each
    if decay.dim() == driven.dim():
        padded = _padded(decay.to(dtype), chunks * chunk)
        decays = list(padded.unflatten(1, (chunks, chunk)).unbind(2))
    else:
        decays = [decay.to(dtype)] * chunk
    if reverse:
        rows.reverse()
        decays.reverse()
    for row, before, factor in zip(rows[1:], rows, decays[1:], strict=False):
        row.addcmul_(factor, before)
    if chunks > 1:
        _carry(rows, decays, range(chunks)[:: -1 if reverse else 1])
    return states[:, :tokens]


def _padded(x: Tensor, tokens: int) -> Tensor:
    """Zeros after it, up to `tokens`; itself where it is as long."""
    if x.shape[1] == tokens:
        return x.contiguous()
    padded = x.new_zeros(x.shape[0], tokens, *x.shape[2:])
    padded[:, : x.shape[1]] = x
    return padded


def _carry(rows: list[Tensor], decays: list[Tensor], order: range) -> None:
    """Add to the states of every chunk what the one before it left.

    rows and decays: of each place in a chunk, (B, chunks, ...); order: of the chunks.
    """
    passed = list(itertools.accumulate(decays, torch.mul))
    varying = decays[0].dim() == rows[0].dim()
    carried = torch.zeros_like(rows[0])
    for before, now in itertools.pairwise(order):
        whole = passed[-1][:, before] if varying else passed[-1]
        carried[:, now] = rows[-1][:, before] + whole * carried[:, before]
    for row, factor in zip(rows, passed, strict=True):
        row.addcmul_(factor, carried)
