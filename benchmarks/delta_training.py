"""A training step of the delta rules' parallel forms, against other ways to the same numbers.

    token by token  the recurrence as spectrakit runs it, with gradients
    transformers    the chunked form of its Qwen3-Next, in plain torch

Outputs and gradients are compared before anything is timed.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.checkpoints import Checkpoints
from benchmarks.measure import Row
from benchmarks.training import Scan, against
from spectrakit.dynamics import Contraction, OuterProduct, Recurrence
from spectrakit.dynamics.delta import DeltaRule
from spectrakit.dynamics.diagonal_plus_rank_one import DiagonalPlusRankOne
from spectrakit.scans.parallel import parallel_form

#: Tokens, heads, and the states and width of a head.
TOKENS, HEADS, STATES = 2048, 4, 64


def rows(_: Checkpoints) -> Iterator[Row]:
    yield from gated_delta()
    yield rank_one()


def drawn(states: int, decays: int) -> dict[str, Tensor]:
    """Queries, keys, values, log-decays (one a head, or one a state) and betas."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(1, TOKENS, HEADS, *shape, generator=generator)

    arguments = {
        "query": draw(states),
        "key": functional.normalize(draw(states), dim=-1),
        "value": draw(states),
        "log_decay": -0.1 * draw(*([decays] if decays > 1 else [])).square(),
        "beta": draw().sigmoid(),
    }
    return {name: x.requires_grad_() for name, x in arguments.items()}


def _recurrence(
    operator: DeltaRule | DiagonalPlusRankOne, key: Tensor, beta: Tensor, query: Tensor
) -> Recurrence:
    return Recurrence(
        operator,
        mode="data",
        gauge="unnormalised",
        head_axis="head",
        width=key.shape[-1],
        input_map=OuterProduct(key, gain=beta),
        output_map=Contraction(query * key.shape[-1] ** -0.5),
    )


def gated_delta() -> Iterator[Row]:
    """Gated DeltaNet's rule."""
    from transformers.models.qwen3_next.modeling_qwen3_next import torch_chunk_gated_delta_rule

    def recurrence(query: Tensor, key: Tensor, log_decay: Tensor, beta: Tensor) -> Recurrence:
        return _recurrence(DeltaRule(log_decay, beta, key), key, beta, query)

    def own(query: Tensor, key: Tensor, value: Tensor, log_decay: Tensor, beta: Tensor) -> Tensor:
        return parallel_form(recurrence(query, key, log_decay, beta), value)

    def stepped(
        query: Tensor, key: Tensor, value: Tensor, log_decay: Tensor, beta: Tensor
    ) -> Tensor:
        return recurrence(query, key, log_decay, beta).run(value)

    def theirs(
        query: Tensor, key: Tensor, value: Tensor, log_decay: Tensor, beta: Tensor
    ) -> Tensor:
        found: Tensor = torch_chunk_gated_delta_rule(query, key, value, log_decay, beta)[0]
        return found

    arguments = drawn(STATES, 1)
    what = f"the gated delta rule, {TOKENS} tokens x {HEADS} heads x {STATES}, a training step"
    yield against(f"{what}, against token by token", own, stepped, arguments, 10)
    yield against(f"{what}, against transformers' chunks", own, theirs, arguments, 1.2)


def rank_one() -> Row:
    """Kimi delta attention's rule: every state has a decay of its own."""
    states = 32

    def recurrence(query: Tensor, key: Tensor, log_decay: Tensor, beta: Tensor) -> Recurrence:
        left = beta.unsqueeze(-1) * key
        operator = DiagonalPlusRankOne(log_decay, left, key * log_decay.exp())
        return _recurrence(operator, key, beta, query)

    own: Scan = lambda query, key, value, log_decay, beta: parallel_form(  # noqa: E731
        recurrence(query, key, log_decay, beta), value
    )
    stepped: Scan = lambda query, key, value, log_decay, beta: recurrence(  # noqa: E731
        query, key, log_decay, beta
    ).run(value)
    what = f"Kimi delta's rule, {TOKENS} tokens x {HEADS} heads x {states}, a training step"
    return against(f"{what}, against token by token", own, stepped, drawn(states, states), 10)
