"""Which outputs are looked at, and that they stand for all of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectrakit.analyses.kernel.output_tokens import OUTPUTS, OutputTokens, groups
from spectrakit.dynamics.part import spread


@pytest.mark.parametrize("outputs", [1, 2, 31, 32, 33, 40, 100, 511, 1023, 8191])
def test_groups_are_all_outputs_and_each_holds_its_middle(outputs):
    places, sizes = groups(outputs)
    assert sizes.sum() == outputs
    assert len(sizes) == min(outputs, OUTPUTS)
    starts = sizes.cumsum() - sizes
    assert ((starts <= places) & (places < starts + sizes)).all()
    assert (np.abs(2 * (places - starts) + 1 - sizes) <= 1).all()


@pytest.mark.parametrize("tokens", [64, 256, 512, 1024])
def test_what_falls_as_one_over_the_length_is_summed_without_bias(tokens):
    """Even attention has 1 / (t + 1) of lag 0, and as much of the first token."""
    at = 1 / np.arange(1, tokens + 1)
    exact = at[1:].mean()
    places, sizes = groups(tokens - 1)
    assert (at[1:][places] * sizes).sum() / sizes.sum() == pytest.approx(exact, rel=0.02)
    # Tokens spread evenly would be far off, with the first output and without.
    even = at[spread(tokens, OUTPUTS)]
    assert abs(even.mean() / exact - 1) > 0.2
    if tokens > 64:
        assert abs(even[1:].mean() / exact - 1) > 0.04


def test_each_sequence_has_its_own_outputs_whatever_pads_it():
    valid = torch.zeros(4, 50, dtype=torch.bool)
    valid[0] = valid[1, 20:] = valid[2, :7] = True
    valid[3, 9] = True  # a token alone has no output
    found = OutputTokens.of(valid)
    assert found.stands_for.sum(1).tolist() == [49, 29, 6, 0]
    assert found.first.tolist() == [0, 20, 0, 9]
    times = np.array(found.times)
    assert (np.diff(times) > 0).all()
    assert times[found.stands_for[1] > 0].tolist() == list(range(21, 50))
    assert times[found.stands_for[2] > 0].tolist() == list(range(1, 7))
