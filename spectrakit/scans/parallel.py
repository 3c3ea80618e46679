"""A recurrence in parallel over tokens, to train with: A_t's structure chooses the algorithm.

separable decay (Mamba)                 blocks whose states are computed anew in the backward
scalar decay (Mamba-2, attention)       products of matrices, chunk by chunk
diagonal, fixed, per channel (S4D)      FFT of the kernel
diagonal otherwise (LRU, S5, GLA)       chunked scan, whose backward is the reversed scan
dense, fixed                            several tokens in one product
delta rule                              chunks by the WY form
diagonal less rank one (KDA, RWKV-7)    chunks by the WY form
any other                               token by token
"""

from __future__ import annotations

from functools import singledispatch
from typing import TYPE_CHECKING, Any

import torch

from spectrakit.dynamics import (
    ConstantInput,
    ConstantOutput,
    Contraction,
    Dense,
    DiagonalDecay,
    OuterProduct,
    ScalarDecay,
    SeparableDecay,
)
from spectrakit.dynamics.delta import DeltaRule
from spectrakit.dynamics.diagonal_plus_rank_one import DiagonalPlusRankOne
from spectrakit.scans.convolution import causal_convolution_fft, diagonal_kernel
from spectrakit.scans.delta import chunked_delta_rule
from spectrakit.scans.dense import dense_scan
from spectrakit.scans.diagonal import diagonal_scan
from spectrakit.scans.rank_one import chunked_rank_one
from spectrakit.scans.selective import selective_scan
from spectrakit.scans.ssd import chunked_scalar_scan

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.dynamics import Recurrence


def parallel_form(recurrence: Recurrence, inputs: Tensor) -> Tensor:
    """The outputs y (B, T, H, P) of `recurrence.run(inputs)`, with gradients, but faster.

    In float32 at least, also where autocast is on. Raises ValueError where the recurrence has no
    input and output maps.
    """
    if recurrence.input_map is None or recurrence.output_map is None:
        message = f"a {recurrence.mode} recurrence has no input and output maps to run with"
        raise ValueError(message)
    with torch.autocast(inputs.device.type, enabled=False):
        inputs = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        y = in_parallel(recurrence.operator, recurrence, inputs)
        if y is None:
            return recurrence.run(inputs)
        if recurrence.feedthrough is not None:
            through = recurrence.feedthrough
            fixed = through.dim() < 4  # not (batch, tokens, heads, width)
            y = y + inputs * (through.view(inputs.shape[2], -1) if fixed else through)
        return y


@singledispatch
def in_parallel(operator: object, recurrence: Recurrence, inputs: Tensor) -> Tensor | None:  # noqa: ARG001
    """y without the feedthrough; None where there is nothing faster than token by token."""
    return None


@in_parallel.register(SeparableDecay)
def _(operator: SeparableDecay, recurrence: Recurrence, inputs: Tensor) -> Tensor | None:
    maps = _written_and_read(recurrence)
    if maps is None or recurrence.mode != "data" or inputs.shape[-1] != 1:
        return None
    key, gain, query = maps
    u = inputs.squeeze(-1)
    step = operator.step.to(_wide(operator.step))
    if gain is operator.step:
        y = selective_scan(step, u, operator.rate.to(step.dtype), _as(key, step), _as(query, step))
        return y.unsqueeze(-1)
    return None


@in_parallel.register(ScalarDecay)
def _(operator: ScalarDecay, recurrence: Recurrence, inputs: Tensor) -> Tensor | None:
    maps = _written_and_read(recurrence)
    if maps is None:
        return None
    key, gain, query = maps
    log_decay = operator.log_decay.to(_wide(operator.log_decay))
    dtype = torch.promote_types(log_decay.dtype, inputs.dtype)
    log_decay = log_decay.to(dtype).expand(*inputs.shape[:2], -1)
    driven = inputs.to(dtype)
    if gain is not None:
        driven = driven * gain.to(dtype).unsqueeze(-1)
    if recurrence.starts is not None:
        log_decay = log_decay.masked_fill(recurrence.starts.unsqueeze(-1), -torch.inf)
    return chunked_scalar_scan(log_decay, driven, key.to(dtype), query.to(dtype))


@in_parallel.register(DiagonalDecay)
def _(operator: DiagonalDecay, recurrence: Recurrence, inputs: Tensor) -> Tensor | None:
    write, read = recurrence.input_map, recurrence.output_map
    if not (isinstance(write, ConstantInput) and isinstance(read, ConstantOutput)):
        return _selected_diagonal(operator, recurrence, inputs)
    log_decay = operator.log_decay
    if operator.phase is not None:
        log_decay = torch.complex(log_decay, operator.phase)
    if log_decay.dim() == 2 and write.weight.shape[-1] == read.weight.shape[-2] == 1:
        weight = write.weight.squeeze(-1) * read.weight.squeeze(-2)
        kernel = diagonal_kernel(log_decay, weight, inputs.shape[1])
        y = causal_convolution_fft(inputs.squeeze(-1).to(kernel.dtype), kernel)
        return y.unsqueeze(-1)
    dtype = torch.promote_types(write.weight.dtype, inputs.dtype)
    driven = torch.einsum("hnq,bthq->bthn", write.weight.to(dtype), inputs.to(dtype))
    states = diagonal_scan(log_decay, driven)
    y = torch.einsum("hqn,bthn->bthq", read.weight.to(states.dtype), states)
    return y.real if y.is_complex() else y


def _selected_diagonal(
    operator: DiagonalDecay, recurrence: Recurrence, inputs: Tensor
) -> Tensor | None:
    """By the states of all tokens (B, T, H, N, P), where decays, keys and queries vary."""
    maps = _written_and_read(recurrence)
    if maps is None or operator.phase is not None or recurrence.starts is not None:
        return None
    key, gain, query = maps
    key, query = (x.repeat_interleave(operator.heads // x.shape[2], dim=2) for x in (key, query))
    dtype = torch.promote_types(_wide(operator.log_decay), inputs.dtype)
    u = inputs.to(dtype) if gain is None else inputs.to(dtype) * gain.to(dtype).unsqueeze(-1)
    driven = key.to(dtype).unsqueeze(-1) * u.unsqueeze(-2)
    log_decay = operator.log_decay.to(dtype).unsqueeze(-1).expand_as(driven)
    return torch.einsum("bthn,bthnp->bthp", query.to(dtype), diagonal_scan(log_decay, driven))


@in_parallel.register(Dense)
def _(operator: Dense, recurrence: Recurrence, inputs: Tensor) -> Tensor | None:
    write, read = recurrence.input_map, recurrence.output_map
    constant = isinstance(write, ConstantInput) and isinstance(read, ConstantOutput)
    if not constant or operator.matrix.dim() != 3 or operator.heads != 1:
        return None
    assert isinstance(write, ConstantInput)  # noqa: S101  (just looked at)
    assert isinstance(read, ConstantOutput)  # noqa: S101
    dtype = torch.promote_types(operator.matrix.dtype, inputs.dtype)
    driven = inputs[:, :, 0].to(dtype) @ write.weight[0].to(dtype).mT
    states = dense_scan(operator.matrix[0].to(dtype), driven)
    y = states @ read.weight[0].to(dtype).mT
    return (y.real if y.is_complex() else y).unsqueeze(2)


@in_parallel.register(DeltaRule)
def _(operator: DeltaRule, recurrence: Recurrence, inputs: Tensor) -> Tensor | None:
    maps = _written_and_read(recurrence)
    if maps is None or recurrence.starts is not None:
        return None
    key, gain, query = maps
    if key is not operator.key or gain is not operator.beta:
        return None  # the form is that of a value which takes the place of another
    dtype = torch.promote_types(_wide(operator.log_decay), inputs.dtype)
    query = query.repeat_interleave(operator.heads // query.shape[2], dim=2)
    log_decay, beta, key, query, value = (
        part.to(dtype) for part in (operator.log_decay, operator.beta, key, query, inputs)
    )
    return chunked_delta_rule(log_decay, beta, key, query, value)


@in_parallel.register(DiagonalPlusRankOne)
def _(operator: DiagonalPlusRankOne, recurrence: Recurrence, inputs: Tensor) -> Tensor | None:
    maps = _written_and_read(recurrence)
    if maps is None or recurrence.mode != "data" or recurrence.starts is not None:
        return None
    key, gain, query = maps
    key, query = (x.repeat_interleave(operator.heads // x.shape[2], dim=2) for x in (key, query))
    if gain is not None:
        key = key * gain.unsqueeze(-1)
    dtype = torch.promote_types(_wide(operator.log_decay), inputs.dtype)
    g, left, right, key, query, u = (
        part.to(dtype)
        for part in (operator.log_decay, operator.left, operator.right, key, query, inputs)
    )
    return chunked_rank_one(g, left, right, key, query, u)


def _written_and_read(recurrence: Recurrence) -> tuple[Tensor, Tensor | None, Tensor] | None:
    """Key, gain and query of a recurrence that writes along one and reads along the other."""
    write, read = recurrence.input_map, recurrence.output_map
    if not (isinstance(write, OuterProduct) and isinstance(read, Contraction)):
        return None
    return write.key, write.gain, read.query


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _as(x: Tensor, other: Any) -> Tensor:  # noqa: ANN401  (a tensor)
    return x.to(other.dtype)
