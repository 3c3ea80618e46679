"""Eigenvalues by the operator's structure against a general eigensolver on the same matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from benchmarks.checkpoints import Checkpoints
from benchmarks.measure import Finished, Row, in_turns, ratio, timed
from spectrakit._threads import one_thread
from spectrakit.dynamics import DeltaRule, DiagonalPlusLowRank, DiagonalPlusRankOne
from spectrakit.dynamics.operators import TransitionOperator

#: Transitions of a Kimi or Gated DeltaNet layer: some tokens of some heads.
TRANSITIONS, KEY_SIZE = 256, 128
#: Channels of an S4 layer.
CHANNELS, POLES = 512, 64


def gated_delta_net() -> DeltaRule:
    """Gated DeltaNet: normalised keys, write strengths in (0, 1), decays near one."""
    generator = torch.Generator().manual_seed(0)
    key = torch.randn(TRANSITIONS, KEY_SIZE, generator=generator, dtype=torch.float64)
    beta = torch.rand(TRANSITIONS, generator=generator, dtype=torch.float64)
    log_decay = -0.1 * torch.rand(TRANSITIONS, generator=generator, dtype=torch.float64)
    return DeltaRule(log_decay, beta, torch.nn.functional.normalize(key, dim=-1))


def kimi_delta_attention() -> DiagonalPlusRankOne:
    """The same with a decay for every channel, from none to a factor e."""
    one = gated_delta_net()
    generator = torch.Generator().manual_seed(1)
    log_decay = -torch.rand(TRANSITIONS, KEY_SIZE, generator=generator, dtype=torch.float64)
    return DiagonalPlusRankOne.decay_then_erase(log_decay, one.beta, one.key)


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
    shape = f"{TRANSITIONS} x {KEY_SIZE} x {KEY_SIZE}"
    yield from compared(f"Gated DeltaNet, {shape}", gated_delta_net(), 5)
    yield from compared(f"Kimi delta attention, {shape}", kimi_delta_attention(), 5)
    yield from compared(f"S4 with error bounds, {CHANNELS} x {POLES} x {POLES}", s4(), 1)


def compared(what: str, operator: TransitionOperator, at_least: float) -> Iterator[Row]:
    """How much faster than `torch.linalg.eigvals`, and how far from it."""
    matrices = operator.dense()
    general, own = in_turns(
        on_one_thread(lambda: torch.linalg.eigvals(matrices)),
        on_one_thread(operator.eigenvalues),
    )
    figure = ratio(general, own)
    yield Row(
        f"eigenvalues of {what}, against torch.linalg.eigvals", f"{figure:.1f}x faster",
        f">= {at_least:g}x", figure >= at_least,
    )  # fmt: skip
    difference = largest_difference(operator, matrices)
    yield Row("their largest difference", f"{difference:.0e}", "<= 1e-8", difference <= 1e-8)


def on_one_thread(work: Callable[[], object]) -> Callable[[], Finished]:
    def run() -> Finished:
        with one_thread():
            return timed(work)

    return run


def largest_difference(operator: TransitionOperator, matrices: torch.Tensor) -> float:
    """From each eigenvalue to the nearest of the other solver, in either direction."""
    found = operator.eigenvalues()
    general = torch.linalg.eigvals(matrices)
    distance = (found.values.unsqueeze(-1) - general.unsqueeze(-2)).abs()
    return float(torch.maximum(distance.amin(-1).max(), distance.amin(-2).max()))
