"""Mamba's scan for training: states are kept at the beginnings of blocks, and computed anew within.

    h_t = exp(-Delta_t r) h_{t-1} + b_t (Delta_t u_t)         h: (B, N, D)
    y_t = c_t^T h_t

Of arrays of all tokens x channels x states none is ever made: forward and backward go from block to
block, whose decays and states fit the processor's second-level cache. With g_t = dL/dh_t, which is
the reversed scan of c_t dL/dy_t,

    dL/da_t = g_t exp(a_t) h_{t-1},  a_t = -Delta_t r,        dL/d(Delta_t u_t) = b_t . g_t
    dL/db_t = sum_D g_t Delta_t u_t                           dL/dc_t = sum_D h_t dL/dy_t
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from torch import Tensor

#: Tokens of a block, on the CPU and on a GPU, where every operation costs the same from few numbers
#: to many.
BLOCK, GPU_BLOCK = 16, 256


def selective_scan(
    step: Tensor, u: Tensor, rate: Tensor, key: Tensor, query: Tensor, skip: Tensor | None = None
) -> Tensor:
    """y (B, T, D) from step Delta, u (B, T, D), rate r (D, N) > 0, key b, query c (B, T, G, N).

    D / G consecutive channels share a key and a query. skip: D u is added, (D,).
    """
    groups = key.shape[2]
    rates = rate.unflatten(0, (groups, -1)).movedim(-1, 0).contiguous()  # (N, G, D / G)
    shape = (groups, -1)
    y: Tensor = _SelectiveScan.apply(  # type: ignore[no-untyped-call]
        step.unflatten(-1, shape), (step * u).unflatten(-1, shape), rates,
        key.transpose(2, 3), query.transpose(2, 3),
    )  # fmt: skip
    y = y.flatten(-2)
    return y if skip is None else y + u * skip


class _SelectiveScan(torch.autograd.Function):
    """step, driven: (B, T, G, D'). rates: (N, G, D'). key, query: (B, T, N, G)."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        step: Tensor,
        driven: Tensor,
        rates: Tensor,
        key: Tensor,
        query: Tensor,
    ) -> Tensor:
        step, driven, key, query = (x.contiguous() for x in (step, driven, key, query))
        state = driven.new_zeros(len(driven), *rates.shape)
        starts, outputs = [], torch.empty_like(driven)
        for block in _blocks(driven):
            starts.append(state)
            _, states = _states(step[:, block], driven[:, block], rates, key[:, block], state)
            outputs[:, block] = (query[:, block].unsqueeze(-1) * states).sum(2)
            state = states[:, -1].clone()
        ctx.save_for_backward(step, driven, rates, key, query, torch.stack(starts))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
        step, driven, rates, key, query, starts = ctx.saved_tensors
        grads = [torch.empty_like(x) for x in (step, driven, key, query)]
        to_step, to_driven, to_key, to_query = grads
        to_rates = torch.zeros_like(rates)
        reached = torch.zeros_like(starts[0])  # what the states after the block say of its last
        for number, block in reversed(list(enumerate(_blocks(driven)))):
            before = starts[number]
            decays, states = _states(step[:, block], driven[:, block], rates, key[:, block], before)
            wanted = grad[:, block].unsqueeze(2)
            to_query[:, block] = (states * wanted).sum(-1)
            flow = query[:, block].unsqueeze(-1) * wanted  # becomes g_t
            rows, kept = flow.unbind(1), decays.unbind(1)
            rows[-1].add_(reached)
            for t in range(len(rows) - 2, -1, -1):
                rows[t].addcmul_(kept[t + 1], rows[t + 1])
            reached = kept[0] * rows[0]
            to_driven[:, block] = (key[:, block].unsqueeze(-1) * flow).sum(2)
            to_key[:, block] = (flow * driven[:, block].unsqueeze(2)).sum(-1)
            decays *= flow
            decays[:, 1:] *= states[:, :-1]
            decays[:, 0] *= before
            to_step[:, block] = -(decays * rates).sum(2)
            to_rates -= (decays * step[:, block].unsqueeze(2)).sum((0, 1))
        return to_step, to_driven, to_rates, to_key, to_query


def _blocks(x: Tensor) -> Iterator[slice]:
    length = BLOCK if x.device.type == "cpu" else GPU_BLOCK
    for first in range(0, x.shape[1], length):
        yield slice(first, min(first + length, x.shape[1]))


def _states(
    step: Tensor, driven: Tensor, rates: Tensor, key: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Decays and states of a block, (B, t, N, G, D') each; state: before it, (B, N, G, D')."""
    decays = (step.unsqueeze(2) * rates).neg_().exp_()
    states = key.unsqueeze(-1) * driven.unsqueeze(2)
    for decay, new in zip(decays.unbind(1), states.unbind(1), strict=True):
        state = new.addcmul_(decay, state)
    return decays, states
