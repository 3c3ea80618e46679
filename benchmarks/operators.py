"""Eigenvalues by the operator's structure against a general eigensolver on the same matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch

from benchmarks.checkpoints import Checkpoints
from benchmarks.measure import Finished, Row, in_turns, ratio, timed
from spectrakit._threads import one_thread
from spectrakit.dynamics import DeltaRule, DiagonalPlusLowRank, DiagonalPlusRankOne
from spectrakit.dynamics.operators import TransitionOperator

#: Transitions of a layer: tokens, heads, key width.
TOKENS, HEADS, KEY_SIZE = 2048, 16, 64
#: Channels of an S4 layer.
CHANNELS, POLES = 512, 64
#: Tokens or channels whose eigenvalues are compared at once.
_COMPARED = 64


def delta_net() -> DeltaRule:
    """DeltaNet: normalised keys, write strengths in (0, 1)."""
    generator = torch.Generator().manual_seed(0)
    key = torch.randn(TOKENS, HEADS, KEY_SIZE, generator=generator, dtype=torch.float64)
    beta = torch.rand(TOKENS, HEADS, generator=generator, dtype=torch.float64)
    return DeltaRule(torch.zeros_like(beta), beta, torch.nn.functional.normalize(key, dim=-1))


def kimi_delta_attention() -> DiagonalPlusRankOne:
    """The same with a decay for every channel, from none to a factor e."""
    one = delta_net()
    return DiagonalPlusRankOne.decay_then_erase(-channels(seed=1), one.beta, one.key)


def rwkv7() -> DiagonalPlusRankOne:
    """RWKV-7: every decay it can have, and removal strengths in (0, 1) for every channel."""
    key = delta_net().key
    return DiagonalPlusRankOne(-math.exp(-0.5) * channels(seed=1), channels(seed=2) * key, key)


def channels(seed: int) -> torch.Tensor:
    """A number in (0, 1) for every channel of every head and token."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(TOKENS, HEADS, KEY_SIZE, generator=generator, dtype=torch.float64)


def s4() -> DiagonalPlusLowRank:
    """Poles and a rank-one part as S4 stores them: one of each conjugate pair."""
    generator = torch.Generator().manual_seed(0)
    half = POLES // 2
    spread = torch.rand(2, CHANNELS, half, generator=generator, dtype=torch.float64)
    poles = torch.complex(-0.5 - spread[0], torch.pi * (torch.arange(half) + spread[1]))
    low_rank = torch.randn(1, CHANNELS, half, generator=generator, dtype=torch.complex128)
    step = 10 ** (-3 + 2 * torch.rand(CHANNELS, generator=generator, dtype=torch.float64))
    return DiagonalPlusLowRank.from_conjugate_halves(poles, low_rank, step)


def rows(_: Checkpoints) -> Iterator[Row]:
    shape = f"{TOKENS} tokens x {HEADS} heads x {KEY_SIZE} x {KEY_SIZE}"
    # `eigvals` takes a quarter of a minute for each: three turns, not five.
    yield from compared(f"DeltaNet, {shape}", delta_net(), 100, times=3)
    yield from compared(f"Kimi delta attention, {shape}", kimi_delta_attention(), 5, times=3)
    yield from compared(f"RWKV-7, {shape}", rwkv7(), 5, times=3)
    yield from compared(f"S4 with error bounds, {CHANNELS} x {POLES} x {POLES}", s4(), 1)


def compared(
    what: str, operator: TransitionOperator, at_least: float, times: int = 5
) -> Iterator[Row]:
    """How much faster than `torch.linalg.eigvals`, and how far from it."""
    matrices = operator.dense()
    general, own = in_turns(
        on_one_thread(lambda: torch.linalg.eigvals(matrices)),
        on_one_thread(operator.eigenvalues),
        times,
    )
    figure = ratio(general, own)
    yield Row(
        f"eigenvalues of {what}, against batched torch.linalg.eigvals on one thread, {times} turns",
        f"{figure:.1f}x faster", f">= {at_least:g}x", figure >= at_least,
    )  # fmt: skip
    difference = largest_difference(operator, matrices)
    yield Row(
        "their largest difference, to the nearest of the other",
        f"{difference:.0e}", "<= 1e-8", difference <= 1e-8,
    )  # fmt: skip


def on_one_thread(work: Callable[[], object]) -> Callable[[], Finished]:
    def run() -> Finished:
        with one_thread():
            return timed(work)

    return run


def largest_difference(operator: TransitionOperator, matrices: torch.Tensor) -> float:
    """From each eigenvalue to the nearest of the other solver, in either direction."""
    found, general = operator.eigenvalues().values, torch.linalg.eigvals(matrices)
    # All distances of all matrices at once would need gigabytes.
    blocks = zip(found.split(_COMPARED), general.split(_COMPARED), strict=True)
    return max(farthest(one, other) for one, other in blocks)


def farthest(one: torch.Tensor, other: torch.Tensor) -> float:
    """Hausdorff distance of the sets (..., K) and (..., N), the largest of all."""
    distance = (one.unsqueeze(-1) - other.unsqueeze(-2)).abs()
    return float(torch.maximum(distance.amin(-1).max(), distance.amin(-2).max()))
