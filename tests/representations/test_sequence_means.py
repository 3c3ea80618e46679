from __future__ import annotations

import itertools

import numpy as np
import pytest

from spectrakit.representations.sequence_means import SequenceMeans


@pytest.fixture
def batches():
    rng = np.random.default_rng(0)
    return [(1e6 + rng.normal(size=(b, 3)), rng.integers(1, 50, (b, 3))) for b in (1, 4, 2, 3)]


def means_of(*batches):
    means = SequenceMeans((3,))
    for values, weights in batches:
        means.add(values, weights)
    return means


def test_the_mean_and_its_error_are_those_of_all_sequences_at_once(batches):
    found = means_of(*batches)
    values, weights = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    mean = (values * weights).sum(0) / weights.sum(0)
    variance = (weights * (values - mean) ** 2).sum(0) / weights.sum(0) / (len(values) - 1)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-15)
    np.testing.assert_allclose(found.standard_error, np.sqrt(variance), rtol=1e-9)
    assert found.weight.tolist() == weights.sum(0).tolist()
    assert found.sequences.tolist() == [10] * 3


def test_with_equal_weights_the_error_is_the_usual_one(batches):
    values = batches[1][0]
    found = means_of((values, np.full(values.shape, 7)))
    expected = values.std(0, ddof=1) / np.sqrt(len(values))
    np.testing.assert_allclose(found.standard_error, expected, rtol=1e-9)


def test_batches_in_any_order_give_the_same(batches):
    whole = means_of(*batches)
    for order in itertools.permutations(batches):
        found = means_of(*order)
        np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-15)
        np.testing.assert_allclose(found.standard_error, whole.standard_error, rtol=1e-9)
        assert (found.weight == whole.weight).all()


def test_what_is_nan_or_weighs_nothing_is_not_counted():
    values = np.array([[1.0, np.nan, 5.0], [3.0, np.nan, np.nan]])
    found = means_of((values, np.array([[1, 1, 0], [1, 1, 1]])))
    assert found.sequences.tolist() == [2, 0, 0]
    np.testing.assert_array_equal(found.mean, [2, np.nan, np.nan])
    np.testing.assert_array_equal(found.standard_error, [1, np.nan, np.nan])


def test_one_sequence_has_no_error():
    found = means_of((np.ones((1, 3)), np.ones((1, 3))))
    assert found.mean.tolist() == [1, 1, 1]
    assert np.isnan(found.standard_error).all()
