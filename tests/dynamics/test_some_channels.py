"""Some channels of a layer behave as they do among all the others."""

from __future__ import annotations

import pytest
import torch

from spectrakit.dynamics import (
    ConstantInput,
    ConstantOutput,
    Contraction,
    DeltaRule,
    DiagonalDecay,
    OuterProduct,
    Recurrence,
    ScalarDecay,
    SeparableDecay,
)
from spectrakit.dynamics.kernel import kernel_rows
from spectrakit.dynamics.some_channels import some_channels

BATCH, TOKENS, HEADS, STATE = 2, 9, 12, 3


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def diagonal():
    return DiagonalDecay(-random(BATCH, TOKENS, HEADS, STATE).abs(), random(HEADS, STATE).expand(
        BATCH, TOKENS, -1, -1
    ))  # fmt: skip


def separable():
    return SeparableDecay(random(BATCH, TOKENS, HEADS).abs(), random(HEADS, STATE).abs())


def scalar():
    return ScalarDecay(-random(BATCH, TOKENS, HEADS).abs(), STATE)


OPERATORS = {"diagonal": diagonal, "separable": separable, "scalar": scalar}


def recurrence(operator, groups=1, **options):
    maps = {
        "input_map": OuterProduct(
            random(BATCH, TOKENS, groups, STATE), gain=random(BATCH, TOKENS, HEADS)
        ),
        "output_map": Contraction(random(BATCH, TOKENS, groups, STATE)),
    }
    return Recurrence(operator, "data", "unnormalised", "channel", 1, **(maps | options))


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("groups", [1, 3, HEADS])
def test_their_kernel_is_that_of_all_at_their_places(operator, groups):
    whole = recurrence(OPERATORS[operator](), groups)
    some = some_channels(whole, 4)
    assert some.operator.heads == 4
    expected = kernel_rows(whole, [4, 8])[:, :, [0, 4, 7, 11]]
    torch.testing.assert_close(kernel_rows(some, [4, 8]), expected)


def test_in_another_gauge_too():
    whole = recurrence(scalar(), log_normaliser=random(BATCH, TOKENS, HEADS)).in_gauge("dsf")
    expected = kernel_rows(whole, [8])[:, :, [0, 11]]
    torch.testing.assert_close(kernel_rows(some_channels(whole, 2), [8]), expected)


def test_constant_maps_are_taken_apart_too():
    maps = {
        "input_map": ConstantInput(random(HEADS, STATE, 1)),
        "output_map": ConstantOutput(random(HEADS, 1, STATE)),
    }
    operator = SeparableDecay(random(HEADS).abs(), random(HEADS, STATE).abs())
    whole = Recurrence(operator, "static", "unnormalised", "channel", 1, **maps)
    expected = kernel_rows(whole, [8])[:, :, [0, 11]]
    torch.testing.assert_close(kernel_rows(some_channels(whole, 2), [8]), expected)


def test_few_channels_and_other_structures_stay_as_they_are():
    whole = recurrence(scalar())
    assert some_channels(whole, HEADS) is whole
    key = random(BATCH, TOKENS, HEADS, STATE)
    delta = recurrence(DeltaRule(-key[..., 0].abs(), key[..., 1].sigmoid(), key))
    assert some_channels(delta, 2) is delta
