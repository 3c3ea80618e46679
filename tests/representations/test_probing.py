"""Linear probes: what they must find, and what they must not be able to know."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from spectrakit.representations import probing
from spectrakit.representations.probing import cannot_probe, probe, shuffled_labels

SOURCES, POSITIONS = 40, 4


def sources(count=SOURCES, each=POSITIONS):
    return np.repeat([f"source {number}" for number in range(count)], each)


def positions(count=SOURCES, each=POSITIONS):
    return np.tile([str(number) for number in range(each)], count)


def by_source(seed=0, width=60, strength=3.0):
    """States that say to which source they belong, and nothing else."""
    draw = np.random.default_rng(seed)
    own = strength * draw.normal(size=(SOURCES, width))
    return own.repeat(POSITIONS, 0) + 0.1 * draw.normal(size=(SOURCES * POSITIONS, width))


def test_knowing_the_source_is_of_no_use_on_those_held_out():
    """A label that hangs on the source alone is told only where the source has been seen."""
    labels = np.repeat(np.random.default_rng(1).permutation(np.arange(SOURCES) % 2), POSITIONS)
    states = by_source()
    held_out = probe(states, labels, sources(), 5, seed=0)
    leaking = probe(states, labels, np.arange(len(labels)), 5, seed=0)
    assert leaking.right.mean() > 0.99
    assert 0.25 < held_out.right.mean() < 0.75  # 40 independent sources: 0.5 +- 3 * 0.08


def test_every_source_is_on_one_side_of_every_fold():
    for train, test in probing._folds(sources(), 5, seed=3):
        assert not set(sources()[train]) & set(sources()[test])
        assert len(train) + len(test) == len(sources())


@pytest.mark.parametrize("width", [20, 300], ids=["fewer features", "more features"])
def test_finds_what_is_there_at_all_positions(width):
    """The middle of a line too, which least squares on indicators would never name."""
    draw = np.random.default_rng(0)
    states = by_source(width=width, strength=1.0)
    line = positions().astype(float)[:, None] + 0.2 * draw.normal(size=(len(states), width // 4))
    states[:, : width // 4] = 1e-3 * line
    found = probe(states, positions(), sources(), 5, seed=0)
    for position in range(POSITIONS):
        share = found.right[positions() == str(position)].mean()
        assert share > 0.9
    assert abs(found.control.mean() - 1 / POSITIONS) < 0.12


def test_independent_states_are_at_chance_and_so_is_the_control():
    states = np.random.default_rng(0).normal(size=(200 * POSITIONS, 5))
    found = probe(states, positions(200), sources(200), 5, seed=0)
    error = (0.25 * 0.75 / 800) ** 0.5
    assert abs(found.right.mean() - 0.25) < 3 * error
    assert abs(found.control.mean() - 0.25) < 3 * error


def test_in_the_span_of_the_training_states_the_probe_is_the_same():
    draw = np.random.default_rng(0)
    train, test = draw.normal(size=(30, 80)), draw.normal(size=(50, 80))
    labels = np.arange(30) % 3
    inside, outside = probing._features(train, test)
    assert inside.shape == (30, 30)
    deviation = train.std(0)
    mean = train.mean(0)
    exact = LogisticRegression(C=0.1, tol=1e-10, max_iter=1000)
    whole = exact.fit((train - mean) / deviation, labels)
    expected = whole.decision_function((test - mean) / deviation)
    found = exact.fit(inside, labels).decision_function(outside)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_constant_states_tell_nothing():
    found = probe(np.ones((160, 7)), positions(), sources(), 5, seed=0)
    assert found.right.mean() == found.control.mean() == 1 / POSITIONS


def test_shuffled_labels_are_as_balanced_within_sources():
    found = shuffled_labels(positions(), sources(), seed=0)
    by = found.reshape(SOURCES, POSITIONS)
    assert (np.sort(by, 1) == np.arange(POSITIONS).astype(str)).all()
    assert 0.1 < (found == positions()).mean() < 0.4


def test_shuffled_labels_are_as_constant_within_sources():
    labels = np.repeat(np.arange(SOURCES), POSITIONS)
    found = shuffled_labels(labels, sources(), seed=0).reshape(SOURCES, POSITIONS)
    assert (found == found[:, :1]).all()
    assert sorted(found[:, 0]) == list(range(SOURCES))
    assert (found[:, 0] != np.arange(SOURCES)).any()


def test_shuffles_sources_of_unequal_size_among_their_like():
    names = np.array(["a", "a", "b", "b", "c"])
    found = shuffled_labels(np.array([1, 2, 3, 4, 5]), names, seed=0)
    assert found[4] == 5
    assert {frozenset(found[:2].tolist()), frozenset(found[2:4].tolist())} == {
        frozenset({1, 2}), frozenset({3, 4}),
    }  # fmt: skip


def test_the_seed_decides_everything():
    states = np.random.default_rng(0).normal(size=(160, 6))
    first, again, other = (probe(states, positions(), sources(), 5, seed) for seed in (1, 1, 2))
    assert (first.right == again.right).all()
    assert (first.control == again.control).all()
    assert (first.right != other.right).any()


def test_a_training_with_one_label_names_that():
    labels = np.array(["a"] * 9 + ["b"])
    names = np.arange(10).astype(str)
    found = probe(np.zeros((10, 2)), labels, names, 5, seed=0)
    assert found.right.tolist() == [True] * 9 + [False]


@pytest.mark.parametrize(
    ("labels", "names", "folds", "expected"),
    [
        (positions(), sources(), 5, None),
        (positions(3), sources(3), 4, "few_sources"),
        (positions(4), sources(4), 2, "few_sources"),
        (positions(6), sources(6), 2, None),
        (np.ones(160), sources(), 5, "one_label"),
    ],
)
def test_says_why_there_can_be_no_probe(labels, names, folds, expected):
    assert cannot_probe(labels, names, folds) == expected
