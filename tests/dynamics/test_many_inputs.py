"""Input-balanced realisations of systems with several inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.dynamics.delays import Delays
from spectrakit.dynamics.many_inputs import input_balanced
from spectrakit.dynamics.memory_function import memory_of_poles, memory_of_realisation
from spectrakit.dynamics.poles import Poles
from tests.dynamics.exact_memory import eigenvalues

DELAYS = Delays(1 << 14)


def system(states, inputs, seed=0):
    generator = torch.Generator().manual_seed(seed)
    log, phase = torch.rand(2, states, generator=generator, dtype=torch.float64)
    inputs = torch.randn(states, inputs, generator=generator, dtype=torch.complex128)
    return eigenvalues(-log - 0.01, 3 * phase), inputs


def by_gramian(values, rows, delays):
    """tr(B^H A^tau^H P^-1 A^tau B), summed over the inputs."""
    gramian = rows @ rows.mH / (1 - values.unsqueeze(-1) * values.conj())
    found = []
    for tau in delays.tolist():
        column = values.unsqueeze(-1) ** tau * rows
        found.append(float((column.conj() * torch.linalg.solve(gramian, column)).sum().real))
    return found


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 1000))
def test_rows_are_orthonormal(states, inputs, seed):
    found = input_balanced(*system(states, inputs, seed)).system
    A, B = found.state[0], found.input[0]
    np.testing.assert_allclose(A @ A.mH + B @ B.mH, np.eye(len(A)), atol=1e-12)
    assert B.shape[1] <= len(A)


@pytest.mark.parametrize("inputs", [2, 4, 30])
def test_memory_is_that_of_the_gramian(inputs):
    one, rows = system(4, inputs)
    (function,) = memory_of_realisation(input_balanced(one, rows).system, DELAYS)
    values = torch.polar(one.log_modulus.exp(), one.phase)[0]
    values, rows = torch.cat([values, values.conj()]), torch.cat([rows, rows.conj()])
    here = function.delays[:40]
    np.testing.assert_allclose(function.memory[0, :40], by_gramian(values, rows, here), atol=1e-11)
    assert float(function.within) == pytest.approx(8, abs=1e-12)
    assert float(function.memory[0, 0]) <= min(inputs, 8) + 1e-12


@pytest.mark.parametrize("inputs", [2, 4, 30])
def test_the_mean_delay_is_that_of_the_curve(inputs):
    one, rows = system(4, inputs)
    (function,) = memory_of_realisation(input_balanced(one, rows).system, DELAYS)
    values = torch.polar(one.log_modulus.exp(), one.phase)[0]
    values, rows = torch.cat([values, values.conj()]), torch.cat([rows, rows.conj()])
    delays = torch.arange(4000)  # the slowest mode decays by .01 a token at least
    curve = np.array(by_gramian(values, rows, delays))
    assert float(function.mean_delay) == pytest.approx(curve @ delays.numpy() / 8, rel=1e-9)


def test_one_input_is_what_the_poles_alone_say():
    one, rows = system(5, 1)
    (function,) = memory_of_realisation(input_balanced(one, rows).system, DELAYS)
    (expected,) = memory_of_poles(Poles.distinct(one), DELAYS)
    np.testing.assert_allclose(function.memory, expected.memory, atol=1e-11)


def test_conjugates_that_are_stored_are_not_added():
    one, rows = system(3, 4)
    whole = eigenvalues(
        torch.cat([one.log_modulus, one.log_modulus], -1), torch.cat([one.phase, -one.phase], -1)
    )
    both = torch.cat([rows, rows.conj()]).resolve_conj()
    half, full = input_balanced(one, rows).system, input_balanced(whole, both).system
    assert half.state.shape == full.state.shape == (1, 6, 6)
    np.testing.assert_allclose(half.state, full.state, atol=1e-14)


def test_a_state_that_repeats_another_does_not_count():
    one = eigenvalues([-0.1, -0.1, -0.2])
    rows = torch.randn(3, 4, dtype=torch.float64)
    assert input_balanced(one, rows).system.poles.counts.tolist() == [[True, True, True]]
    rows[1] = 3 * rows[0]
    assert input_balanced(one, rows).system.poles.counts.tolist() == [[True, False, True]]
    assert input_balanced(one, rows[:, :1]).system.poles.rank.tolist() == [2]


def test_states_that_cluster_along_one_direction():
    """The single-input cascade, turned into any direction of many inputs."""
    log_modulus = -0.05 * (1 + 0.2 * torch.arange(6))
    direction = torch.nn.functional.normalize(torch.randn(3, dtype=torch.float64), dim=0)
    found = input_balanced(eigenvalues(log_modulus), direction.expand(6, -1)).system
    (function,) = memory_of_realisation(found, DELAYS)
    (expected,) = memory_of_poles(Poles.distinct(eigenvalues(log_modulus)), DELAYS)
    # B's rounding, over the product of the five distances that are taken off.
    np.testing.assert_allclose(function.memory, expected.memory, atol=1e-8)
    assert float(function.within) == pytest.approx(6, abs=1e-12)


def test_coordinates_factor_the_states_correlations():
    one, rows = system(4, 3)
    found = input_balanced(one, rows)
    T = found.coordinates[0]
    values = torch.polar(one.log_modulus.exp(), one.phase)[0]
    values, rows = torch.cat([values, values.conj()]), torch.cat([rows, rows.conj()])
    gramian = rows @ rows.mH / (1 - values.unsqueeze(-1) * values.conj())
    size = gramian.diagonal().real.sqrt()
    np.testing.assert_allclose(T @ T.mH, gramian / size.unsqueeze(-1) / size, atol=1e-12)
