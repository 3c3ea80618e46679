"""The products of matrices keep the digits of weak decays beside strong ones."""

from __future__ import annotations

import pytest
import torch

from spectrakit.scans.ssd import chunked_scalar_scan
from tests.scans.test_parallel import Leaves, close, gradients


@pytest.mark.parametrize("strong", [-1e2, -1e3, -1e4])
def test_one_strong_decay_leaves_the_digits_of_the_weak_ones_after_it(strong):
    """Token by token in float64 (chunks of one) is the second form."""

    def scanned(dtype, **options):
        leaves = Leaves(dtype)
        weak = leaves("log_decay", 1, 128, 2, low=-0.01, scale=0.01)
        at = (torch.arange(128) % 20 == 5).view(1, -1, 1)
        drawn = [leaves("u", 1, 128, 2, 3), leaves("key", 1, 128, 2, 4)]
        drawn.append(leaves("query", 1, 128, 2, 4))
        y = chunked_scalar_scan(weak.masked_fill(at, strong), *drawn, **options)
        return {"y": y, **gradients(leaves, y)}

    wanted, found = scanned(torch.float64, chunk=1), scanned(torch.float32)
    for name, value in wanted.items():
        assert found[name].dtype == torch.float32
        close(found[name], value, torch.float32)
