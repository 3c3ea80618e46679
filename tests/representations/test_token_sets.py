from __future__ import annotations

import numpy as np
import torch

from spectrakit.representations.token_sets import POSITION_BINS, BatchTokens, bin_edges

VALID = torch.tensor([
    [True, True, True, True, True],
    [True, True, False, False, False],
    [False, False, True, True, True],
    [False, False, False, False, False],
])  # fmt: skip


def test_the_first_token_is_the_first_that_is_no_padding():
    tokens = BatchTokens(VALID)
    assert tokens.padded
    assert tokens.first.tolist() == [0, 0, 2, 0]
    assert tokens.counts.tolist() == [[5, 4, 5], [2, 1, 2], [3, 2, 3], [0, 0, 0]]
    assert tokens.rest[2].tolist() == [False, False, False, True, True]
    assert tokens.position[2, 2:].tolist() == [0, 1, 2]
    massive = torch.zeros_like(VALID)
    massive[0, 1] = massive[2, 0] = True  # one of them on padding
    assert BatchTokens(VALID, massive).counts[:3].tolist() == [[5, 4, 4], [2, 1, 2], [3, 2, 3]]
    assert BatchTokens(VALID, massive).neighbours[0].sum(1).tolist() == [4, 3, 2]


def test_every_position_lies_in_the_bin_whose_edges_hold_it():
    tokens = BatchTokens(torch.ones(1, 1100, dtype=torch.bool))
    low, high = bin_edges(np.arange(POSITION_BINS))
    assert low[:5].tolist() == [0, 1, 2, 4, 8]
    assert (low[1:] == high[:-1] + 1).all()
    assert high[-1] >= 2**30
    bins = tokens.bins[0].numpy()
    position = np.arange(1100)
    assert ((low[bins] <= position) & (position <= high[bins])).all()


def test_states_are_copied_widened_and_zero_on_padding():
    states = torch.full((4, 5, 2), torch.nan, dtype=torch.bfloat16)
    states[VALID] = 1.0
    copy = BatchTokens(VALID).without_padding(states)
    assert copy.dtype == torch.float64
    assert copy.sum() == 2 * VALID.sum()
    every = BatchTokens(torch.ones(1, 3, dtype=torch.bool))
    given = torch.ones(1, 3, 2)
    every.without_padding(given)[0, 0, 0] = 7
    assert given.sum() == 6
    assert every.without_padding(given.double()).dtype == torch.float64
