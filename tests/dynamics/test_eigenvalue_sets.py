"""Named sets of eigenvalues."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spectrakit.dynamics.delays import Delays
from spectrakit.dynamics.eigenvalue_sets import (
    COMPARED_SETS,
    EIGENVALUE_SETS,
    LRU_RING,
    legs_system,
)
from spectrakit.dynamics.memory_function import memory_of_poles
from spectrakit.dynamics.poles import Poles

STEP = 1e-2


def made(name, size=8, seed=0):
    chosen = EIGENVALUE_SETS[name]
    return chosen.eigenvalues(size, None if chosen.discrete else STEP, seed)


#: The continuous-time eigenvalues of N = 8, as the papers print them.
CONTINUOUS = {
    "s4d-lin": [complex(-0.5, math.pi * n) for n in range(4)],
    "s4d-inv": [complex(-0.5, 8 / math.pi * (8 / (2 * n + 1) - 1)) for n in range(4)],
    "s4d-quad": [complex(-0.5, (1 + 2 * n) ** 2 / math.pi) for n in range(4)],
    "s4d-real": [-1, -2, -3, -4, -5, -6, -7, -8],
    "legs": [-1, -2, -3, -4, -5, -6, -7, -8],
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_sets_in_continuous_time_are_held_over_the_step(name):
    values = made(name).values[0].numpy()
    np.testing.assert_allclose(values, np.exp(STEP * np.array(CONTINUOUS[name])), rtol=1e-14)


@pytest.mark.parametrize("name", EIGENVALUE_SETS)
def test_every_set_decays_and_has_n_real_dimensions_at_most(name):
    poles = Poles.distinct(made(name, 32))
    assert bool(poles.decaying.all())
    assert int(poles.rank) == (31 if name == "s4d-lin" else 32)


def test_sets_drawn_at_random_follow_the_seed():
    for name in ("lru", "random"):
        first, again, other = (made(name, 8, seed).log_modulus for seed in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_lru_lies_in_its_ring_evenly():
    modulus = made("lru", 20_000).modulus
    low, high = LRU_RING
    assert low < float(modulus.min()) < low + 1e-3
    assert high - 1e-3 < float(modulus.max()) < high
    assert float(modulus.square().mean()) == pytest.approx((low**2 + high**2) / 2, abs=1e-3)


def test_the_sets_without_a_known_formula_say_so():
    assert {name for name, one in EIGENVALUE_SETS.items() if one.note} == {"random", "lin", "step"}
    assert set(COMPARED_SETS) <= set(EIGENVALUE_SETS)


@pytest.mark.parametrize(("name", "size", "step"), [
    ("s4d-lin", 7, 0.1), ("s4d-lin", 0, 0.1), ("s4d-lin", 8, None), ("s4d-lin", 8, -1.0),
    ("s4d-lin", 8, math.nan), ("lru", 8, 0.1),
])  # fmt: skip
def test_what_makes_no_set(name, size, step):
    with pytest.raises(ValueError, match="even number|step"):
        EIGENVALUE_SETS[name].eigenvalues(size, step)


def test_hippo_legs_has_its_eigenvalues():
    A, B = legs_system(16, STEP)
    np.testing.assert_allclose(A.diagonal(), made("legs", 16).modulus[0], rtol=1e-12)
    assert bool((A.triu(1) == 0).all())
    # An input that is held for a step is held for each of its parts.
    fine, fine_input = legs_system(16, STEP / 1024)
    state = torch.zeros(16, 1, dtype=torch.float64)
    for _ in range(1024):
        state = fine @ state + fine_input
    np.testing.assert_allclose(state, B, atol=1e-12)


def test_s4_remembers_what_s4d_with_its_eigenvalues_does():
    """HiPPO-LegS by its own A and B, whose Gramian is well-conditioned, against -(n + 1) alone."""
    A, B = legs_system(16, STEP)
    gramian, power = B @ B.mT, A
    for _ in range(16):
        gramian, power = gramian + power @ gramian @ power.mT, power @ power
    (function,) = memory_of_poles(Poles.distinct(made("legs", 16)), Delays(512, 16))
    column = B
    for tau in range(512):
        at = (function.delays == tau).nonzero()
        if len(at):
            share = float((column.mT @ torch.linalg.solve(gramian, column))[0, 0])
            assert share == pytest.approx(float(function.memory[0, int(at)]), abs=1e-9)
        column = A @ column
