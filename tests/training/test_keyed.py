"""Keyed random numbers: functions of their key, the same wherever and in whatever batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from spectrakit.training import keyed


def test_splitmix_is_the_published_one():
    """The first numbers of splitmix64 from seed 1234567, as its authors' C code prints them."""
    state, found = 1234567, []
    for _ in range(3):
        found.append(keyed.mixed(state))
        state = (state + 0x9E3779B97F4A7C15) % 2**64
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_tensors_of_keys_are_those_of_numbers_alone():
    key = keyed.key_of(3, -7)
    numbers = torch.tensor([0, 1, -1, 2**40, 2**62])
    alone = [keyed.key_of(3, -7, int(number)) for number in numbers]
    assert keyed.keys_of(key, numbers).tolist() == [x - 2**64 * (x >= 2**63) for x in alone]


def test_the_order_of_the_parts_counts():
    assert len({keyed.key_of(*parts) for parts in [(1, 2), (2, 1), (1, 2, 0), (0, 1, 2)]}) == 4


def test_a_number_does_not_depend_on_its_batch_or_on_how_many_are_drawn():
    keys = keyed.keys_of(keyed.key_of(1), torch.arange(8))
    whole = keyed.uniform(keys, 100, torch.float64)
    assert torch.equal(whole[3:5], keyed.uniform(keys[3:5], 100, torch.float64))
    assert torch.equal(whole[:, :7], keyed.uniform(keys, 7, torch.float64))


@pytest.mark.parametrize("seed", range(3))
def test_numbers_are_uniform_and_those_of_neighbours_independent(seed):
    keys = keyed.keys_of(keyed.key_of(seed), torch.arange(64))
    drawn = keyed.uniform(keys, 4096, torch.float64).numpy()
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 1e-3
    correlations = np.corrcoef(drawn)[np.triu_indices(64, 1)]
    assert np.abs(correlations).max() < 5 / 4096**0.5
    within = np.mean((drawn[:, 1:] - 0.5) * (drawn[:, :-1] - 0.5)) * 12
    assert abs(within) < 4 / (64 * 4095) ** 0.5
