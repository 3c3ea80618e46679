"""Some heads of a layer behave as they do among all the others."""

from __future__ import annotations

import pytest
import torch

from spectrakit.dynamics import (
    ConstantInput,
    ConstantOutput,
    Contraction,
    DeltaProduct,
    DeltaRule,
    DiagonalPlusLowRank,
    DiagonalPlusRankOne,
    OuterProduct,
    OuterProducts,
    Recurrence,
    SeparableDecay,
    ShiftRegister,
)
from spectrakit.dynamics.kernel import kernel_rows
from spectrakit.dynamics.part import some_heads, spread
from tests.dynamics.test_operators import OPERATORS

BATCH, TOKENS, HEADS, STATE = 2, 9, 12, 3
CHOSEN = [0, 4, 7, 11]


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def delta(lead, heads, states, _):
    return DeltaRule(-random(*lead, heads).abs(), random(*lead, heads).sigmoid(), unit(lead, heads))


def delta_product(lead, heads, states, _):
    rate = random(*lead, heads, 2).sigmoid()
    return DeltaProduct(-random(*lead, heads).abs(), rate, unit(lead, heads, 2))


def rank_one(lead, heads, states, _):
    decay = -random(*lead, heads, states).abs()
    return DiagonalPlusRankOne.decay_then_erase(
        decay, random(*lead, heads).sigmoid(), unit(lead, heads)
    )


def unit(lead, heads, *several):
    return torch.nn.functional.normalize(random(*lead, heads, *several, STATE), dim=-1)


BUILDS = OPERATORS | {f.__name__: f for f in (delta, delta_product, rank_one)}


def recurrence(operator, groups=1, **options):
    maps = {
        "input_map": OuterProduct(
            random(BATCH, TOKENS, groups, STATE), gain=random(BATCH, TOKENS, HEADS)
        ),
        "output_map": Contraction(random(BATCH, TOKENS, groups, STATE)),
    }
    return Recurrence(operator, "data", "unnormalised", "channel", 1, **(maps | options))


def assert_same_kernel(whole):
    some = some_heads(whole, CHOSEN)
    assert some.operator.heads == len(CHOSEN)
    expected = kernel_rows(whole, [4, 8])[:, :, CHOSEN]
    torch.testing.assert_close(kernel_rows(some, [4, 8]), expected)


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
@pytest.mark.parametrize("groups", [1, 3, HEADS])
def test_their_kernel_is_that_of_all_at_their_places(build, groups):
    operator = build((BATCH, TOKENS), HEADS, STATE, torch.float64)
    assert_same_kernel(recurrence(operator, groups))


def test_in_another_gauge_too():
    operator = OPERATORS["scalar"]((BATCH, TOKENS), HEADS, STATE, torch.float64)
    whole = recurrence(operator, log_normaliser=random(BATCH, TOKENS, HEADS))
    assert_same_kernel(whole.in_gauge("dsf"))


def test_several_inputs_of_a_token():
    operator = delta_product((BATCH, TOKENS), HEADS, STATE, torch.float64)
    write = OuterProducts(random(BATCH, TOKENS, HEADS, 2, STATE))
    assert_same_kernel(recurrence(operator, input_map=write))


#: Operators that do not depend on the input, of HEADS channels.
CONSTANT = {
    "separable": lambda: SeparableDecay(random(HEADS).abs(), random(HEADS, STATE).abs()),
    "low rank": lambda: DiagonalPlusLowRank(
        torch.complex(-random(HEADS, STATE).abs(), random(HEADS, STATE)),
        random(1, HEADS, STATE).to(torch.complex128),
        random(HEADS).abs(),
    ),
}


@pytest.mark.parametrize("build", CONSTANT.values(), ids=CONSTANT)
def test_constant_maps_are_taken_apart_too(build):
    operator = build()
    dtype = operator.eigenvalues().values.dtype if "low" in operator.structure else torch.float64
    maps = {
        "input_map": ConstantInput(random(HEADS, STATE, 1).to(dtype)),
        "output_map": ConstantOutput(random(HEADS, 1, STATE).to(dtype)),
    }
    assert_same_kernel(Recurrence(operator, "static", "unnormalised", "channel", 1, **maps))


def test_a_shift_register_has_as_many_heads_as_are_asked_for():
    whole = Recurrence(ShiftRegister(HEADS, STATE), "static", "unnormalised", "channel", 1)
    assert some_heads(whole, CHOSEN).operator == ShiftRegister(len(CHOSEN), STATE)


@pytest.mark.parametrize(
    ("total", "count", "expected"),
    [(12, 4, CHOSEN), (3, 8, [0, 1, 2]), (5, 1, [0]), (4096, 3, [0, 2048, 4095])],
)
def test_they_are_spread_evenly(total, count, expected):
    assert spread(total, count) == expected
