from __future__ import annotations

import torch

from spectrakit.representations.random_projection import projection


def test_keeps_inner_products_on_average():
    states = torch.randn(20, 500, generator=torch.Generator().manual_seed(0)) / 500**0.5
    drawn = torch.stack([states @ projection(500, 100, seed) for seed in range(200)])
    found = (drawn @ drawn.mT).mean(0)
    # One product has variance below 2 / 100, and 200 were averaged.
    assert (found - states @ states.T).abs().max() < 5 * (2 / 100 / 200) ** 0.5


def test_is_none_where_nothing_is_to_be_saved():
    assert projection(64, 64, seed=0) is None
    assert projection(64, 63, seed=0).shape == (64, 63)


def test_the_seed_decides():
    assert torch.equal(projection(9, 4, seed=1), projection(9, 4, seed=1))
    assert not torch.equal(projection(9, 4, seed=1), projection(9, 4, seed=2))
