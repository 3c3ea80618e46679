"""Memory functions over an infinite past against many digits, and against what they must be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter

from spectrakit.dynamics.delays import Delays
from spectrakit.dynamics.eigenvalue_sets import EIGENVALUE_SETS
from spectrakit.dynamics.input_balanced import takenaka_malmquist
from spectrakit.dynamics.memory_function import MemoryFunction, memory_of_poles
from spectrakit.dynamics.poles import Poles
from tests.dynamics.exact_memory import by_cauchy, by_gramian, eigenvalues

DELAYS = Delays(1 << 12)
LONG = Delays(1 << 31)

STEPS = torch.arange(1, 17, dtype=torch.float64)


def spiral(rate, turn, count=8):
    return [-rate] * count, [turn * k for k in range(count)]


#: log|lambda|, phases, delays, digits.
CASES = {
    "one": ([-0.3], None, DELAYS, 80),
    "mamba": (-0.01 * STEPS, None, DELAYS, 80),
    "fast": (-2.0 * STEPS, None, DELAYS, 400),
    "clustered": (-0.01 * (1 + 1e-6 * STEPS), None, DELAYS, 300),
    "clustered at the last digits": (-0.01 * (1 + 1e-13 * STEPS), None, DELAYS, 500),
    "two clusters": ([-0.1, -0.1 - 1e-9, -0.1 + 1e-9, -3, -3 - 1e-8], None, DELAYS, 200),
    "near one": (-1e-8 * STEPS, None, LONG, 300),
    "near one and far": ([-1e-8, -2e-8, -0.5, -1.0, -30.0], None, LONG, 200),
    "negative": ([-0.1, -0.2, -0.3], [0.0, math.pi, math.pi], DELAYS, 80),
    "near minus one": ([-1e-8, -2e-8, -0.1], [math.pi, math.pi, 0.0], LONG, 200),
    "complex": (*spiral(0.02, 0.3), DELAYS, 80),
    "complex without a real one": (*spiral(0.05, 0.4, 4), DELAYS, 80),
    "near the circle": (*spiral(1e-8, 0.37), LONG, 200),
    "a complex cluster": ([-0.03] * 6, [1 + 1e-7 * k for k in range(6)], DELAYS, 300),
    "a cluster near the circle": ([-1e-8] * 4, [1 + 1e-9 * k for k in range(4)], LONG, 300),
    "zero and others": ([-math.inf, -0.1, -1.0], None, DELAYS, 8000),
}


def taken(delays, count=25):
    """Some of the delays."""
    return np.unique(np.linspace(0, delays.count - 1, count).astype(int))


def largest_error(poles, function, delays, digits, exactly):
    here = taken(delays)
    expected = exactly(poles, function.delays[here].tolist(), digits)
    return np.abs(function.memory[0, here].numpy() - expected).max()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_memory_is_that_of_many_digits(case):
    log_modulus, phase, delays, digits = case
    poles = Poles.distinct(eigenvalues(log_modulus, phase))
    (function,) = memory_of_poles(poles, delays)
    assert largest_error(poles, function, delays, digits, by_gramian) <= 2e-15


@pytest.mark.parametrize(
    ("name", "step", "digits"),
    [
        ("lin", None, 500),
        pytest.param("s4d-lin", 1e-3, 160, marks=pytest.mark.slow),
        pytest.param("s4d-inv", 1e-2, 160, marks=pytest.mark.slow),
        pytest.param("lru", None, 160, marks=pytest.mark.slow),
    ],
)
def test_memory_of_256_states_is_that_of_many_digits(name, step, digits):
    poles = Poles.distinct(EIGENVALUE_SETS[name].eigenvalues(256, step))
    (function,) = memory_of_poles(poles, Delays(1 << 16))
    here = np.array([1, 40, 150])
    expected = by_cauchy(poles, function.delays[here].tolist(), digits)
    assert np.abs(function.memory[0, here].numpy() - expected).max() <= 1e-12
    assert float(function.capacity) == int(poles.rank)


def test_the_cauchy_factor_is_the_gramians():
    poles = Poles.distinct(eigenvalues(*spiral(0.02, 0.3)))
    assert by_cauchy(poles, [0, 5, 50], 60) == pytest.approx(by_gramian(poles, [0, 5, 50], 60))


rates = st.floats(1e-6, 3)
angles = st.floats(0, math.pi)


@given(st.lists(st.tuples(rates, angles), min_size=1, max_size=6))
def test_an_input_balanced_realisation_has_orthonormal_rows(poles):
    rate, angle = zip(*poles, strict=True)
    system = takenaka_malmquist(Poles.distinct(eigenvalues([-r for r in rate], angle)))
    A, B = system.state[0], system.input[0]
    np.testing.assert_allclose(A @ A.mH + B @ B.mH, np.eye(len(A)), atol=1e-14)


@given(st.lists(st.tuples(rates, angles), min_size=1, max_size=6))
def test_the_sum_over_all_delays_is_the_rank(poles):
    rate, angle = zip(*poles, strict=True)
    found = Poles.distinct(eigenvalues([-r for r in rate], angle))
    (function,) = memory_of_poles(found, Delays(1 << 26))
    assert float(function.within) == pytest.approx(int(found.rank), abs=1e-12)
    assert float(function.memory.min()) >= 0
    assert float(function.memory.max()) <= 1 + 1e-12


def test_the_capacity_below_a_delay_is_the_sum():
    poles = Poles.distinct(eigenvalues([-0.05, -0.2, -0.2], [0.0, 0.4, 1.0]))
    (grid,) = memory_of_poles(poles, Delays(512, 8))
    (every,) = memory_of_poles(poles, Delays(512, 256))
    assert every.delays.tolist() == list(range(512))
    whole = np.concatenate([[0], every.memory[0].cumsum(0)])
    octaves = [0, *range(16), 16, 32, 64, 128, 256]
    for delay in octaves:
        (at,) = (grid.delays == delay).nonzero().flatten().tolist()
        assert float(grid.below[0, at]) == pytest.approx(whole[delay], abs=1e-13)
    np.testing.assert_allclose(grid.below[0], whole[grid.delays], atol=0.01)
    assert float(grid.within) == pytest.approx(whole[512], abs=1e-13)
    (cut,) = memory_of_poles(poles, Delays(100, 8))
    assert float(cut.within) == pytest.approx(whole[100], abs=1e-3)
    assert int(cut.delays.max()) < 100


def test_the_mean_delay_is_that_of_the_curve():
    log_modulus, phase = [-0.05, -0.2, -0.3, -math.inf], [0.0, 0.4, math.pi, 0.0]
    poles = Poles.distinct(eigenvalues(log_modulus, phase))
    (every,) = memory_of_poles(poles, Delays(1024, 512))
    summed = (every.memory[0] * every.delays).sum() / int(poles.rank)
    assert float(every.mean_delay) == pytest.approx(float(summed), rel=1e-12)


def test_conjugates_are_there_whether_they_are_stored_or_not():
    rate, angle = spiral(0.02, 0.3)
    half = eigenvalues(rate, angle)
    whole = eigenvalues(rate + rate, angle + [-one for one in angle])
    found = [memory_of_poles(Poles.distinct(one), DELAYS)[0] for one in (half, whole)]
    assert [float(one.rank) for one in found] == [15, 15]  # the first is real: its own conjugate
    np.testing.assert_array_equal(found[0].memory, found[1].memory)


def test_a_repeated_pole_of_a_diagonal_system_counts_once():
    once = Poles.distinct(eigenvalues([-0.1, -0.5]))
    twice = Poles.distinct(eigenvalues([-0.1, -0.5, -0.1, -0.1]))
    np.testing.assert_array_equal(once.log_modulus, twice.log_modulus)


def test_phases_a_turn_apart_are_one_pole():
    """S4D-Lin at dt = 0.1: frequencies beyond pi come back as those below."""
    for size in (32, 64, 256):
        poles = Poles.distinct(EIGENVALUE_SETS["s4d-lin"].eigenvalues(size, 0.1))
        assert int(poles.rank) == 20


def test_systems_of_different_rank_do_not_disturb_each_other():
    rows = [[-0.1, -0.1, -0.1], [-0.1, -0.2, -0.2], [-0.3, -0.2, -0.1]]
    together = eigenvalues([0.0] * 3)
    together = type(together)(torch.tensor(rows, dtype=torch.float64))
    (function,) = memory_of_poles(Poles.distinct(together), DELAYS)
    assert function.rank.tolist() == [1, 2, 3]
    for h, row in enumerate(rows):
        (alone,) = memory_of_poles(Poles.distinct(eigenvalues(row)), DELAYS)
        np.testing.assert_allclose(function.memory[h], alone.memory[0], atol=1e-16)
        assert float(function.mean_delay[h]) == pytest.approx(float(alone.mean_delay))


def test_systems_in_blocks_are_the_systems(monkeypatch):
    log_modulus = -torch.rand(7, 4, dtype=torch.float64)
    poles = Poles.distinct(type(eigenvalues([0.0]))(log_modulus))
    (whole,) = memory_of_poles(poles, DELAYS)
    monkeypatch.setattr("spectrakit.dynamics.memory_function._BLOCK_NUMBERS", 300)
    (blocks,) = memory_of_poles(poles, DELAYS)
    for name in ("memory", "below", "within", "rank", "capacity", "mean_delay"):
        np.testing.assert_allclose(getattr(blocks, name), getattr(whole, name), atol=1e-15)


def test_a_delay_line_remembers_its_length_and_nothing_else():
    line = eigenvalues([-math.inf])
    poles = Poles.every(type(line)(line.log_modulus, multiplicity=5))
    (function,) = memory_of_poles(poles, Delays(64, 4))
    assert function.memory[0].tolist() == [1.0] * 5 + [0.0] * (len(function.delays) - 5)
    assert float(function.capacity) == float(function.within) == 5
    assert float(function.mean_delay) == 2


@pytest.mark.parametrize("seed", range(3))
def test_neither_b_nor_the_basis_matters(seed):
    """MF of (S A S^-1, S B) by its own Gramian, for random B and S."""
    generator = np.random.default_rng(seed)
    log_modulus = np.array([-0.05, -0.3, -0.9])
    phase = np.array([0.3, 1.0, 2.0])
    half = np.exp(log_modulus + 1j * phase)
    A = np.zeros((6, 6))
    for k, value in enumerate(half):
        turn = np.array([[value.real, value.imag], [-value.imag, value.real]])
        A[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = turn
    change = generator.normal(size=(6, 6))
    A, B = change @ A @ np.linalg.inv(change), change @ generator.normal(size=6)
    columns = [B]
    for _ in range(1500):
        columns.append(A @ columns[-1])
    basis = np.linalg.qr(np.array(columns))[0]
    (function,) = memory_of_poles(Poles.distinct(eigenvalues(log_modulus, phase)), Delays(1024))
    np.testing.assert_allclose(function.memory[0], (basis[function.delays] ** 2).sum(1), atol=1e-11)


def test_it_is_what_regression_on_long_white_input_finds():
    generator = np.random.default_rng(0)
    log_modulus = np.array([-0.02, -0.1, -0.4, -1.0])
    inputs = generator.normal(size=200_000)
    states = np.stack([lfilter([1], [1, -np.exp(one)], inputs) for one in log_modulus], 1)[100:]
    (function,) = memory_of_poles(Poles.distinct(eigenvalues(log_modulus)), Delays(100, 64))
    for tau in (0, 1, 5, 20, 60):
        target = inputs[100 - tau : len(inputs) - tau]
        fitted = states @ np.linalg.lstsq(states, target, rcond=None)[0]
        share = 1 - np.mean((fitted - target) ** 2) / np.mean(target**2)
        assert share == pytest.approx(float(function.memory[0, tau]), abs=0.004)


def test_what_does_not_decay_has_no_memory_over_an_infinite_past():
    with pytest.raises(ValueError, match="inside the unit circle"):
        memory_of_poles(Poles.distinct(eigenvalues([-0.1, 0.0])), DELAYS)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_eigenvalue_that_is_no_number_is_refused(bad):
    with pytest.raises(FloatingPointError, match="NaN or infinite"):
        Poles.distinct(eigenvalues([-0.1, bad]))
    with pytest.raises(FloatingPointError, match="NaN or infinite"):
        Poles.every(eigenvalues([-0.1, -0.2], [0.0, bad]))


def curve(memory, below, within, rank, delays=(0, 1, 2, 4, 6)):
    values = [torch.tensor([one], dtype=torch.float64) for one in (memory, below)]
    one = torch.tensor([float(rank)], dtype=torch.float64)
    return MemoryFunction(
        torch.tensor(delays), *values, torch.tensor([within], dtype=torch.float64),
        one, one, one, horizon=8, past=("infinite",),
    )  # fmt: skip


def test_the_delay_of_a_share_is_the_first_that_reaches_it():
    found = curve([1, 1, 0.5, 0.25, 0.25], [0, 1, 2, 3, 3.5], 4, 4)
    assert [float(found.delay_of_share(share)) for share in (0.25, 0.3, 0.5, 1.0)] == [0, 1, 1, 7]
    assert float(found.delay_of_share(0.6)) == 2  # 2.4 of 4, half a delay beyond delay 2
    beyond = curve([1, 1, 0.5, 0.25, 0.25], [0, 1, 2, 3, 3.5], 4, 8)
    assert math.isnan(float(beyond.delay_of_share(0.9)))


def test_the_last_delay_above_a_level():
    found = curve([0.9, 0.2, 0.6, 0.2, 0.05], [0, 1, 2, 3, 3.5], 4, 4)
    levels = (0.95, 0.5, 0.1, 0.01)
    assert [int(found.last_delay_above(level)) for level in levels] == [-1, 2, 4, 6]


def test_the_mean_of_systems_weighs_their_delays_by_what_they_hold():
    log_modulus = torch.tensor([[-0.1, -0.1], [-0.5, -0.7]], dtype=torch.float64)
    (function,) = memory_of_poles(
        Poles.distinct(type(eigenvalues([0.0]))(log_modulus)), Delays(512, 256)
    )
    mean = function.mean()
    np.testing.assert_array_equal(mean.memory[0], function.memory.mean(0))
    assert float(mean.rank) == 1.5
    summed = (mean.memory[0] * mean.delays).sum() / mean.memory.sum()
    assert float(mean.mean_delay) == pytest.approx(float(summed), rel=1e-9)


@pytest.mark.parametrize(("horizon", "per_octave"), [(0, 16), (10, 3), (10, 0)])
def test_delays_that_are_none(horizon, per_octave):
    with pytest.raises(ValueError, match="no delays"):
        Delays(horizon, per_octave)


@given(st.integers(1, 5000), st.sampled_from([1, 2, 8, 32]))
def test_delays_are_dense_then_so_many_to_an_octave(horizon, per_octave):
    delays = Delays(horizon, per_octave)
    kept = delays.kept.tolist()
    assert kept == sorted(set(kept))
    assert kept[: 2 * per_octave] == list(range(min(horizon, 2 * per_octave)))
    assert horizon <= delays.end < 2 * max(horizon, 2 * per_octave)
    assert max(kept) < horizon
    for low, high in zip(kept, [*kept[1:], horizon], strict=True):
        assert high - low <= max(1, low // per_octave)
