"""The WY form of delta rules keeps the digits of weak decays beside strong ones."""

from __future__ import annotations

import pytest
import torch

from spectrakit.scans.delta import chunked_delta_rule
from tests.scans.test_parallel import Leaves, close, gradients


@pytest.mark.parametrize("strong", [-1e2, -1e3, -1e4, -torch.inf])
def test_one_strong_decay_leaves_the_digits_of_the_weak_ones_after_it(strong):
    """Token by token in float64 (chunks of one) is the second form."""

    def scanned(dtype, **options):
        leaves = Leaves(dtype)
        weak = leaves("log_decay", 1, 128, 2, low=-0.01, scale=0.01)
        at = (torch.arange(128) % 20 == 5).view(1, -1, 1)
        beta = leaves("beta", 1, 128, 2, low=0)
        key = torch.nn.functional.normalize(leaves("key", 1, 128, 2, 4), dim=-1)
        drawn = [beta, key, leaves("query", 1, 128, 2, 4), leaves("u", 1, 128, 2, 3)]
        y = chunked_delta_rule(weak.masked_fill(at, strong), *drawn, **options)
        return {"y": y, **gradients(leaves, y)}

    wanted, found = scanned(torch.float64, chunk=1), scanned(torch.float32)
    for name, value in wanted.items():
        assert found[name].dtype == torch.float32
        close(found[name], value, torch.float32)
