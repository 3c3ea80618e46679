"""The sketch against the values it stands for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.analyses.spectrum.sketch import GROWTH, RELATIVE_ERROR, DecaySketch


def table(sketch):
    """Counts by bin, for comparison."""
    bins = sketch.bins()
    edges = np.stack([bins.low, bins.high, bins.phase_low, bins.phase_high]).T.tolist()
    return dict(zip(map(tuple, edges), bins.counts.T.tolist(), strict=True))


def represented(sketch, group=0):
    """The sorted rates that the sketch's counts stand for."""
    return np.sort(np.repeat(sketch.bins().centre, sketch.bins().counts[group]))


def assert_represents(sketch, rates, group=0):
    """Sorted, each represented rate is within 1 % of the true one: ranks cannot cross further."""
    found, true = represented(sketch, group), np.sort(rates.flatten().double().numpy())
    assert len(found) == len(true)
    np.testing.assert_allclose(found, true, rtol=RELATIVE_ERROR + 1e-5, atol=0)


def random_rates(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    spread = 10 ** (torch.rand((), generator=generator) * 3)
    return torch.exp(torch.randn(*shape, generator=generator) * spread.log() - 3)


@given(n=st.integers(1, 300), groups=st.integers(1, 4), seed=st.integers(0, 2**16))
def test_every_rate_is_represented_within_one_percent(n, groups, seed):
    rates = random_rates(seed, n, groups)
    sketch = DecaySketch(groups)
    sketch.add(rates)
    for group in range(groups):
        assert_represents(sketch, rates[:, group], group)
        assert sketch.lowest[group] == pytest.approx(float(rates[:, group].min()))
        assert sketch.highest[group] == pytest.approx(float(rates[:, group].max()))


@given(
    tokens=st.integers(1, 200),
    channels=st.integers(1, 12),
    states=st.integers(1, 8),
    seed=st.integers(0, 2**16),
)
def test_separable_products_are_represented_within_one_percent(tokens, channels, states, seed):
    step, rate = random_rates(seed, tokens, channels), random_rates(seed + 1, channels, states)
    sketch = DecaySketch()
    sketch.add_separable(step, rate)
    products = step.unsqueeze(-1) * rate
    assert_represents(sketch, products)
    assert sketch.lowest[0] == pytest.approx(float(products.min()), rel=1e-6)
    assert sketch.highest[0] == pytest.approx(float(products.max()), rel=1e-6)


def test_separable_counts_are_exact_beyond_float32_integers():
    """2^25 equal products in one cell: float32 alone would stop counting at 2^24."""
    sketch = DecaySketch()
    sketch.add_separable(torch.full((1 << 17, 16), 0.1), torch.ones(16, 16))
    assert sketch.bins().counts.sum() == 1 << 25


def test_separable_with_underflowed_steps_and_rates():
    step = torch.tensor([[0.0, 0.5], [0.25, 0.0], [0.25, 0.5]])
    rate = torch.tensor([[1.0, 0.0], [4.0, 2.0]])
    sketch = DecaySketch()
    sketch.add_separable(step, rate)
    assert_represents(sketch, step.unsqueeze(-1) * rate)
    bins = sketch.bins()
    assert bins.counts[0, (bins.low == 0) & (bins.high == 0)].tolist() == [6]


@given(parts=st.lists(st.integers(0, 40), min_size=2, max_size=5), seed=st.integers(0, 2**16))
def test_merging_in_any_order_is_adding_all_at_once(parts, seed):
    rates = random_rates(seed, sum(parts), 2)
    whole = DecaySketch(2)
    whole.add(rates)
    sketches = []
    for piece in rates.split(parts):
        sketches.append(DecaySketch(2))
        sketches[-1].add(piece)
    for order in (sketches, sketches[::-1]):
        merged = DecaySketch(2)
        for sketch in order:
            merged.merge(sketch)
        assert table(merged) == table(whole)
        np.testing.assert_array_equal(merged.lowest, whole.lowest)
        np.testing.assert_array_equal(merged.highest, whole.highest)


def test_merging_leaves_the_other_sketch_as_it_was():
    one, other = DecaySketch(), DecaySketch()
    other.add(torch.tensor([[0.0], [1.0], [math.inf]]))
    before = table(other)
    one.merge(other)
    one.add(torch.tensor([[0.0], [1.0], [math.inf], [5.0]]))
    assert table(other) == before


def test_zero_one_and_growth_are_counted_exactly():
    # |lambda| = 0, 1 and > 1, with one ordinary decay
    sketch = DecaySketch()
    rates = torch.tensor([math.inf, math.inf, 0.0, -0.5, -2.0, -1e-9, 0.3]).unsqueeze(1)
    sketch.add(rates, multiplicity=10)
    bins = sketch.bins()
    exact = bins.low == bins.high
    assert bins.counts[0, exact & (bins.low == math.inf)].tolist() == [20]
    assert bins.counts[0, exact & (bins.low == 0)].tolist() == [10]
    assert bins.counts[0, bins.high < 0].sum() == 30
    assert (bins.low <= bins.high).all()


def test_bins_are_one_percent_wide_and_sorted():
    sketch = DecaySketch()
    sketch.add(random_rates(3, 500, 1))
    bins = sketch.bins()
    np.testing.assert_allclose(bins.high / bins.low, GROWTH)
    assert (np.diff(bins.low) > 0).all()


@pytest.mark.parametrize(
    ("degrees", "interval"),
    [
        (0.0, (0.0, 0.0)),
        (0.5, (0.0, 1.0)),
        (1.0, (0.0, 1.0)),
        (-3.0, (-5.0, -1.0)),
        (44.9, (40.0, 45.0)),
        (-179.0, (-180.0, -175.0)),
        (179.0, (175.0, 180.0)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_phases_fall_in_signed_bins_closed_away_from_zero(degrees, interval, dtype):
    sketch = DecaySketch()
    # A hair towards zero: an edge itself is not a floating-point number of radians.
    radians = torch.tensor([[math.radians(degrees) * (1 - 1e-6)]], dtype=dtype)
    sketch.add(torch.tensor([[0.5]], dtype=dtype), radians)
    bins = sketch.bins()
    assert (bins.phase_low.tolist(), bins.phase_high.tolist()) == ([interval[0]], [interval[1]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_negative_real_eigenvalues_have_a_bin_of_their_own(dtype):
    sketch = DecaySketch()
    phases = torch.tensor([[math.pi], [-math.pi]], dtype=dtype)  # pi rounds up in float32
    sketch.add(torch.full((2, 1), 0.5, dtype=dtype), phases)
    bins = sketch.bins()
    assert (bins.phase_low.tolist(), bins.phase_high.tolist()) == ([180.0], [180.0])
    assert bins.counts.tolist() == [[2]]


def test_the_total_comes_before_the_groups():
    rates = random_rates(1, 50, 3)
    rates[0, 2], rates[1, 0] = 0, math.inf
    sketch = DecaySketch(3)
    sketch.add(rates)
    whole = sketch.with_total()
    assert_represents(whole, rates, 0)
    for group in range(3):
        assert_represents(whole, rates[:, group], group + 1)
    assert (whole.lowest[0], whole.highest[0]) == (0, math.inf)


def test_nothing_added_is_nothing_counted():
    sketch = DecaySketch()
    sketch.add(torch.zeros(0, 1))
    sketch.add_separable(torch.zeros(0, 3), torch.ones(3, 2))
    assert sketch.bins().counts.shape == (1, 0)


def test_rates_that_overflowed_are_forgotten_at_once():
    """exp(A_log) beyond float32: |lambda| = 0 wherever there is a step at all."""
    sketch = DecaySketch()
    sketch.add_separable(torch.tensor([[0.1, 0.2]]), torch.tensor([[math.inf, 1.0], [2.0, 3.0]]))
    bins = sketch.bins()
    assert bins.counts.sum() == 4
    assert bins.counts[0, bins.low == math.inf].tolist() == [1]
    assert (sketch.lowest[0], sketch.highest[0]) == (pytest.approx(0.1), math.inf)


def test_nan_is_refused_wherever_it_is():
    with pytest.raises(FloatingPointError, match="NaN"):
        DecaySketch().add(torch.tensor([[0.1], [math.nan], [0.2]]))
    with pytest.raises(FloatingPointError, match="NaN"):
        DecaySketch().add_separable(torch.tensor([[math.nan, 1.0]]), torch.ones(2, 3))
    with pytest.raises(FloatingPointError, match="NaN"):  # 0 x inf
        DecaySketch().add_separable(torch.tensor([[0.0]]), torch.tensor([[math.inf]]))
