"""Memory under rounding: against the definition, and against states that are rounded."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest
import torch

from spectrakit.dynamics.delays import Delays
from spectrakit.dynamics.memory_function import memory_of_poles
from spectrakit.dynamics.poles import Poles
from spectrakit.dynamics.rounded_memory import (
    UNIT_ROUNDOFF,
    rounded_readings,
    rounding_variance,
    state_coordinates,
)
from tests.dynamics.exact_memory import eigenvalues, numbers

STEPS = torch.arange(1, 9, dtype=torch.float64)
PRECISIONS = tuple(UNIT_ROUNDOFF)

CASES = {
    "mamba": (-0.01 * STEPS, None),
    "clustered": (-0.01 * (1 + 1e-5 * STEPS), None),
    "near one": (-1e-6 * STEPS, None),
    "complex": ([-0.02] * 5, [0.3 * k for k in range(5)]),
    "fast": ([-1e-3, -0.5, -4.0, -math.inf], None),
}


def exact(poles, delays, precision, digits=120):
    """v^H (G + S)^{-1} v."""
    with mp.workdps(digits):
        variance = mp.mpf(UNIT_ROUNDOFF[precision]) ** 2 / (8 * mp.log(2))
        values = numbers(poles)
        matrix = mp.matrix(len(values))
        for i, one in enumerate(values):
            for j, other in enumerate(values):
                matrix[i, j] = 1 / (1 - one * mp.conj(other))
            matrix[i, i] += variance / (1 - abs(one) ** 2) ** 2
        found = []
        for tau in delays:
            column = mp.matrix([value**tau for value in values])
            found.append(float(mp.re((column.H * mp.lu_solve(matrix, column))[0])))
    return found


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_memory_is_that_of_many_digits(case):
    poles = Poles.distinct(eigenvalues(*case))
    delays = Delays(1 << 12)
    plain, *rounded = memory_of_poles(poles, delays, rounded_readings(poles, PRECISIONS))
    here = np.linspace(0, len(plain.delays) - 1, 8).astype(int)
    for precision, function in zip(PRECISIONS, rounded, strict=True):
        expected = exact(poles, plain.delays[here].tolist(), precision)
        # float32 sees what lies 1e-8 of a state's size apart: float64 has eight digits of it.
        np.testing.assert_allclose(function.memory[0, here], expected, rtol=1e-5, atol=1e-9)
        assert float(function.capacity) <= int(poles.rank)
    np.testing.assert_array_equal(plain.memory, memory_of_poles(poles, delays)[0].memory)


def test_fewer_bits_remember_less():
    poles = Poles.distinct(eigenvalues(-0.01 * STEPS))
    found = memory_of_poles(poles, Delays(1 << 14), rounded_readings(poles, PRECISIONS))
    capacities = [float(one.capacity) for one in found]  # exact, bfloat16, float16, float32
    assert capacities[1] < capacities[2] < capacities[3] < capacities[0] == 8
    for one in found[1:]:
        assert bool((one.memory <= found[0].memory + 1e-12).all())
        assert float(one.within) == pytest.approx(float(one.capacity), abs=1e-9)


def test_coordinates_are_the_factor_of_the_correlations():
    poles = Poles.distinct(eigenvalues([-0.1, -0.4, -0.5], [0.0, 0.3, 2.0]))
    T, value, weight = state_coordinates(poles)[0], poles.values[0], poles.weight[0]
    correlation = weight.unsqueeze(-1) * weight / (1 - value.unsqueeze(-1) * value.conj())
    np.testing.assert_allclose(T @ T.mH, correlation, atol=1e-14)


@pytest.mark.parametrize(("precision", "dtype"), [("bfloat16", torch.bfloat16),
                                                  ("float16", torch.float16)])  # fmt: skip
def test_one_rounding_has_that_variance(precision, dtype):
    torch.manual_seed(0)
    values = torch.exp(torch.rand(200_000, dtype=torch.float64) * 8)  # uniform in the logarithm
    error = (values.to(dtype).double() - values) / values
    assert float(error.var()) == pytest.approx(rounding_variance(precision), rel=0.02)


def test_states_rounded_to_bfloat16_lose_what_the_model_says():
    torch.manual_seed(0)
    log_modulus = torch.tensor([-0.05, -0.07, -0.1, -0.3])
    poles = Poles.distinct(eigenvalues(log_modulus))
    (_, function) = memory_of_poles(poles, Delays(64, 32), rounded_readings(poles, ["bfloat16"]))
    decay = log_modulus.exp()
    inputs = torch.randn(200, 400)
    state, states = torch.zeros(200, 4), []
    for t in range(400):
        state = (decay * state + inputs[:, t, None]).bfloat16().float()
        states.append(state)
    kept = torch.stack(states, 1)[:, 150:].double()
    for tau in (0, 3, 10, 20, 40):
        target = inputs[:, 150 - tau : 400 - tau].double().flatten()
        features = kept.flatten(0, 1)
        fitted = features @ torch.linalg.lstsq(features, target.unsqueeze(-1)).solution
        share = 1 - (fitted.squeeze(-1) - target).square().mean() / target.square().mean()
        assert float(share) == pytest.approx(float(function.memory[0, tau]), abs=0.02)
