"""Singular values of graded matrices, against many digits."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch

from spectrakit.dynamics.graded_svd import log_singular_values


def expected(scale, shape, digits):
    with mpmath.workdps(digits):
        rows = mpmath.matrix(shape.tolist())
        for i, one in enumerate(scale.tolist()):
            for j in range(rows.cols):
                rows[i, j] *= mpmath.exp(one)
        values = mpmath.svd_c(rows, compute_uv=False)
        return [float(mpmath.log(value)) for value in values]


@pytest.mark.parametrize("span", [0, 5, 100, 700, 1500])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_each_is_right_however_far_they_lie_apart(span, dtype):
    """Evenly spread, so that no gap tells where to cut; rows in any order."""
    torch.manual_seed(span)
    size = 12
    scale = 300 - span * torch.linspace(0, 1, size, dtype=torch.float64)[torch.randperm(size)]
    shape = torch.eye(size, dtype=dtype) + torch.randn(size, size, dtype=dtype).triu(1) / 3
    found = log_singular_values(scale[None], shape[None], torch.tensor([size]))
    np.testing.assert_allclose(found[0], expected(scale, shape, 60 + span), rtol=1e-12, atol=1e-12)


def test_rows_beyond_the_rank_are_zero_and_what_is_not_finite_is_not_known():
    scale = torch.tensor([[0.0, -2.0, 5.0], [0.0, math.nan, 0.0]])
    shape = torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    found = log_singular_values(scale, shape, torch.tensor([2, 3]))
    assert found[0].tolist() == pytest.approx([0, -2, -math.inf])
    assert bool(found[1].isnan().all())
    assert bool(
        log_singular_values(scale[:1], shape[:1] * math.inf, torch.tensor([2])).isnan()[0, 0]
    )
