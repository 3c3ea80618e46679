"""Orthogonal Procrustes distance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import procrustes as scipy_procrustes

from spectrakit.representations.procrustes import procrustes_distance, procrustes_null
from tests.representations.feature_sets import independent, related


def test_rotations_shifts_and_scale_are_no_distance():
    x = related()[0]
    rotation = torch.linalg.qr(torch.randn(30, 30, dtype=torch.float64))[0]
    assert procrustes_distance(x, 5 * x @ rotation - 3) == pytest.approx(0, abs=1e-7)


def test_it_is_scipys_but_for_its_free_scale():
    x, y = related(n=2000, widths=(20, 20), noise=(0.1, 4.0))
    # SciPy lets one set be scaled as well: its d^2 is 1 - s^2, where ours is 2 - 2 s.
    disparity = scipy_procrustes(x.numpy(), y.numpy())[2]
    assert procrustes_distance(x, y) == pytest.approx(np.sqrt(2 - 2 * np.sqrt(1 - disparity)))


def test_the_narrower_set_is_padded():
    x, y = related()[:2]
    padded = torch.cat([x, torch.zeros(300, 20, dtype=torch.float64)], 1)
    assert procrustes_distance(x, y) == pytest.approx(procrustes_distance(padded, y))
    assert procrustes_distance(x, y) == pytest.approx(procrustes_distance(y, x))


def test_half_precision_is_widened():
    x, y = (own.bfloat16() for own in related(mean=0.0)[:2])
    expected = procrustes_distance(x.double(), y.double())
    assert procrustes_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_what_is_alike_is_far_below_its_null():
    x, y = related()[:2]
    null = procrustes_null(x, y, 5, seed=0)
    assert null.shape == (5,)
    assert procrustes_distance(x, y) < null.min() - 5 * null.std()
    assert torch.equal(null, procrustes_null(x, y, 5, seed=0))
    assert not torch.equal(null, procrustes_null(x, y, 5, seed=1))


def test_width_over_tokens_brings_independent_features_closer():
    narrow, wide = independent(n=400, widths=(8, 8)), independent(n=400, widths=(768, 768))
    assert procrustes_distance(*narrow) > 1.2
    assert procrustes_distance(*wide) < 0.8
