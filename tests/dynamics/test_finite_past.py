"""Memory of a finite past against many digits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spectrakit.dynamics.delays import Delays
from spectrakit.dynamics.finite_past import (
    lasting_tokens,
    memory_of_columns,
    memory_of_past,
    past_basis,
)
from spectrakit.dynamics.memory_function import memory_of_poles
from spectrakit.dynamics.poles import Poles
from tests.dynamics.exact_memory import by_gramian, eigenvalues

STEPS = torch.arange(1, 17, dtype=torch.float64)
TURNS = [0.7 * k for k in range(6)]

#: log|lambda|, phases, tokens of past, digits.
CASES = {
    "decaying": (-0.1 * STEPS, None, 200, 200),
    "longer than the past": (-0.001 * STEPS, None, 128, 400),
    "a cluster longer than the past": (-0.001 * (1 + 1e-5 * STEPS[:8]), None, 128, 400),
    "on the circle": ([0.0] * 6, TURNS, 100, 120),
    "one on the circle": ([0.0, -0.1], None, 64, 80),
    "growing": ([0.1, 0.2, 0.3, 0.1000001], None, 100, 200),
    "all kinds": ([0.01, -0.01, 0.02, -3.0, 0.0], [0.0, 0.0, 1.0, math.pi, 0.5], 150, 200),
    "around one": (1e-3 * (STEPS - 8), None, 256, 400),
    "complex, longer": ([-1e-4] * 6, TURNS, 64, 120),
    "decayed long ago": ([-0.2, -0.5, -3.0], None, 600, 200),
    "complex, decayed long ago": ([-0.3, -0.31], [0.5, 2.0], 900, 200),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_memory_is_that_of_many_digits(case):
    log_modulus, phase, tokens, digits = case
    poles = Poles.distinct(eigenvalues(log_modulus, phase))
    function = memory_of_past(poles, Delays(tokens, 64))
    here = np.unique(np.linspace(0, len(function.delays) - 1, 20).astype(int))
    expected = by_gramian(poles, function.delays[here].tolist(), digits, past=tokens)
    np.testing.assert_allclose(function.memory[0, here], expected, atol=1e-12)
    assert float(function.capacity) == pytest.approx(int(poles.rank), abs=1e-12)


def test_a_past_longer_than_the_memory_is_infinite():
    poles = Poles.distinct(eigenvalues([-0.2, -0.5, -0.6], [0.3, 1.0, 0.0]))
    delays = Delays(256)
    (infinite,), finite = memory_of_poles(poles, delays), memory_of_past(poles, delays)
    for name in ("memory", "below", "within", "mean_delay"):
        np.testing.assert_allclose(
            getattr(finite, name), getattr(infinite, name), atol=0.05 if name == "below" else 1e-13
        )
    assert finite.past == ("horizon",)


def test_a_sum_of_all_inputs_remembers_each_a_little():
    function = memory_of_past(Poles.distinct(eigenvalues([0.0])), Delays(50, 32))
    np.testing.assert_allclose(function.memory[0], np.full(50, 1 / 50), rtol=1e-14)


def test_no_more_is_remembered_than_there_was():
    poles = Poles.distinct(eigenvalues(-0.1 * STEPS))
    function = memory_of_past(poles, Delays(5, 8))
    np.testing.assert_allclose(function.memory[0], np.ones(5), atol=1e-14)
    assert float(function.rank) == 5


def test_a_delay_line_that_is_longer_and_one_that_is_shorter_than_the_past():
    line = eigenvalues([-math.inf])
    poles = Poles.every(type(line)(line.log_modulus, multiplicity=6))
    assert memory_of_past(poles, Delays(9, 8)).memory[0].tolist() == [1.0] * 6 + [0.0] * 3
    assert memory_of_past(poles, Delays(4, 8)).memory[0].tolist() == [1.0] * 4


SLOW = torch.tensor(
    [[-0.01, -0.3, -0.31], [-2.0, -3.0, -1e4], [-1e-5, -0.5, -0.6], [0.0, -0.5, -0.6]]
).double()


@pytest.mark.parametrize("phase", [None, torch.tensor([0.4, 0.0, 2.0]).double()])
def test_tokens_that_are_forgotten_are_not_needed(phase, monkeypatch):
    phases = None if phase is None else phase.expand_as(SLOW)
    poles = Poles.distinct(type(eigenvalues([0.0]))(SLOW, phases))
    tokens = 1 << 13
    lasting = lasting_tokens(poles, tokens).tolist()
    assert lasting[0] in (2048, 4096)
    assert lasting[1] in (8, 16)
    assert lasting[2:] == [tokens, tokens]  # remembered for 10^5 tokens, and for ever
    found = memory_of_past(poles, Delays(tokens))
    monkeypatch.setattr("spectrakit.dynamics.finite_past._WORTH_A_LOOK", tokens)
    assert lasting_tokens(poles, tokens).tolist() == [tokens] * 4
    whole = memory_of_past(poles, Delays(tokens))
    for name in ("memory", "below", "within", "rank", "capacity", "mean_delay"):
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name), atol=1e-11)
    assert found.past == whole.past
    assert found.horizon == whole.horizon


@pytest.mark.parametrize("decay", [1e-3, 0.1, 1.0])
def test_what_lasts_is_all_but_rounding(decay):
    """Of one pole, |lambda|^(2 t) of the memory is beyond t tokens."""
    poles = Poles.distinct(eigenvalues([-decay]))
    (tokens,) = lasting_tokens(poles, 1 << 20).tolist()
    beyond = [length * math.exp(-2 * decay * length) for length in (tokens, tokens / 2)]
    assert beyond[0] <= 1e-13 < beyond[1]


def test_systems_in_blocks_are_the_systems(monkeypatch):
    log_modulus = torch.randn(5, 3, dtype=torch.float64) / 10
    poles = Poles.distinct(type(eigenvalues([0.0]))(log_modulus))
    whole = memory_of_past(poles, Delays(40)).memory
    monkeypatch.setattr("spectrakit.dynamics.finite_past._BLOCK_NUMBERS", 200)
    np.testing.assert_allclose(memory_of_past(poles, Delays(40)).memory, whole, atol=1e-15)


def test_bases_are_orthonormal_and_span_the_exponentials():
    poles = Poles.distinct(eigenvalues([0.02, -0.05, -0.3], [0.0, 0.4, 1.0]))
    basis = past_basis(poles, 60)[0]
    np.testing.assert_allclose(basis.mH @ basis, np.eye(5), atol=1e-14)
    columns = poles.values[0] ** torch.arange(60).unsqueeze(-1)
    np.testing.assert_allclose(basis @ (basis.mH @ columns), columns, atol=1e-12)


def test_several_inputs_with_a_pole_that_does_not_decay():
    torch.manual_seed(0)
    one = eigenvalues([0.0, 0.05, -0.2], [0.3, 0.0, 1.0])
    inputs = torch.randn(3, 2, dtype=torch.complex128)
    inputs[1] = inputs[1].real
    function = memory_of_columns(one, inputs, Delays(40, 32))
    value = torch.polar(one.log_modulus.exp(), one.phase)[0]
    rows = torch.cat([inputs, inputs.conj()])
    value = torch.cat([value, value.conj()])
    columns = torch.stack([value.unsqueeze(-1) ** tau * rows for tau in range(40)])  # (T, N, Q)
    basis = torch.linalg.svd(columns.transpose(1, 2).flatten(0, 1), full_matrices=False)
    kept = basis.U[:, :5]  # a real pole is its own conjugate
    expected = kept.abs().square().sum(1).view(40, 2).sum(1)
    np.testing.assert_allclose(function.memory[0], expected, atol=1e-10)
