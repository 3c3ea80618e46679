"""Which way the memory of a recurrence is computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectrakit.dynamics import (
    ConstantInput,
    DeltaRule,
    Dense,
    DiagonalDecay,
    DiagonalPlusLowRank,
    Recurrence,
    ScalarDecay,
    SeparableDecay,
    ShiftRegister,
)
from spectrakit.dynamics.delays import Delays
from spectrakit.dynamics.eigenvalue_sets import legs_system
from spectrakit.dynamics.finite_past import memory_of_rows, past_basis
from spectrakit.dynamics.fixed_memory import NoMemoryFunctionError, fixed_memory
from spectrakit.dynamics.poles import Poles

DELAYS = Delays(1 << 12)
RATES = torch.tensor([[0.1, 0.2, 0.2], [0.5, 0.1, 0.3]], dtype=torch.float64)


def recurrence(operator, mode="static", axis="channel", width=1, write=None):
    return Recurrence(
        operator, mode=mode, gauge="unnormalised", head_axis=axis, width=width, input_map=write
    )


def ranks(operator, **how):
    return fixed_memory(recurrence(operator, **how), DELAYS).exact.rank.tolist()


def test_a_diagonal_operator_counts_each_eigenvalue_once():
    assert ranks(DiagonalDecay(-RATES)) == [2, 3]
    assert ranks(SeparableDecay(torch.ones(2, dtype=torch.float64), RATES)) == [2, 3]


def test_heads_that_decay_as_a_whole_hold_one_input_for_a_key_that_does_not_change():
    decay = torch.full((2,), -0.1, dtype=torch.float64)
    assert ranks(ScalarDecay(decay, 8), mode="nominal", axis="head", width=4) == [1, 1]
    key = torch.zeros(2, 8, dtype=torch.float64)
    assert ranks(DeltaRule(decay, decay * 0, key), mode="nominal", axis="head", width=4) == [1, 1]


def test_a_shift_register_counts_every_place():
    found = fixed_memory(recurrence(ShiftRegister(2, 4)), DELAYS, precisions=["bfloat16"])
    assert found.exact.memory[:, :6].tolist() == [[1, 1, 1, 1, 0, 0]] * 2
    assert found.rounded == {}  # not a diagonal state: what rounding does is not known


def test_matrices_are_known_by_their_eigenvalues():
    A, _ = legs_system(8, 0.05)
    dense = fixed_memory(recurrence(Dense(A.unsqueeze(0))), DELAYS)
    rates = 0.05 * torch.arange(1, 9, dtype=torch.float64).unsqueeze(0)
    diagonal = fixed_memory(recurrence(DiagonalDecay(-rates)), DELAYS)
    np.testing.assert_allclose(dense.exact.memory, diagonal.exact.memory, atol=1e-6)


def test_s4_is_known_by_its_eigenvalues():
    torch.manual_seed(0)
    poles = torch.complex(-torch.rand(2, 3).double(), 5 * torch.rand(2, 3).double())
    low_rank = torch.randn(1, 2, 3, dtype=torch.complex128)
    s4 = DiagonalPlusLowRank.from_conjugate_halves(poles, low_rank, torch.tensor([0.1, 0.2]))
    found = fixed_memory(recurrence(s4), DELAYS).exact
    assert found.rank.tolist() == [6, 6]  # conjugates to rounding are not taken for copies
    columns = torch.linalg.qr(_krylov(s4.dense()[0], 600))[0]
    expected = columns.abs().square().sum(1)[found.delays[:40]]
    np.testing.assert_allclose(found.memory[0, :40], expected, atol=1e-8)


def _krylov(A, tokens):
    column = torch.randn(len(A), dtype=torch.complex128)
    columns = []
    for _ in range(tokens):
        columns.append(column)
        column = A @ column
    return torch.stack(columns)


def many(states, inputs, log_modulus=-0.2):
    torch.manual_seed(0)
    log = torch.full((1, states), log_modulus, dtype=torch.float64)
    phase = torch.linspace(0.3, 2, states, dtype=torch.float64).unsqueeze(0)
    write = ConstantInput(torch.randn(1, states, inputs, dtype=torch.complex128))
    return recurrence(DiagonalDecay(log, phase), axis="head", write=write)


def test_several_inputs_take_b_into_account():
    found = fixed_memory(many(4, 3), DELAYS, precisions=["bfloat16", "float32"])
    assert (found.inputs, found.exact.rank.tolist()) == (3, [8])
    assert 1 < float(found.exact.memory[0, 0]) <= 3
    capacities = [float(found.rounded[name].capacity) for name in ("bfloat16", "float32")]
    assert 4 < capacities[0] < capacities[1] < 8 + 1e-9


def test_several_inputs_that_do_not_decay_are_looked_at_over_the_horizon():
    found = fixed_memory(many(4, 3, log_modulus=0.0), Delays(64))
    assert found.exact.past == ("horizon",)
    assert float(found.exact.within) == pytest.approx(8, abs=1e-9)


def test_several_inputs_without_b():
    static = recurrence(DiagonalDecay(-RATES[:1]), axis="head")
    with pytest.raises(NoMemoryFunctionError, match="depends on B"):
        fixed_memory(static, DELAYS)


def test_systems_that_do_not_decay_are_looked_at_over_the_horizon():
    rates = torch.tensor([[0.1, 0.2], [0.0, 0.3], [0.5, 0.6], [-0.1, 0.4]]).double()
    delays = Delays(128, 64)
    found = fixed_memory(recurrence(DiagonalDecay(-rates)), delays).exact
    assert found.past == ("infinite", "horizon", "infinite", "horizon")
    assert found.mean().past == ("horizon",)
    for h in range(4):
        alone = fixed_memory(recurrence(DiagonalDecay(-rates[h : h + 1])), delays).exact
        np.testing.assert_allclose(found.memory[h], alone.memory[0], atol=1e-14)


def test_a_finite_past_may_be_asked_for():
    found = fixed_memory(recurrence(DiagonalDecay(-RATES / 100)), Delays(64), past="horizon")
    np.testing.assert_allclose(found.exact.within, [2, 3], atol=1e-10)
    infinite = fixed_memory(recurrence(DiagonalDecay(-RATES / 100)), Delays(64))
    assert float(infinite.exact.within.max()) < 1.5


def test_a_past_that_does_not_fit_is_refused_beforehand():
    rates = 1e-9 * torch.rand(1, 64, dtype=torch.float64)
    with pytest.raises(NoMemoryFunctionError, match="a horizon of 2097152 at most"):
        fixed_memory(recurrence(DiagonalDecay(-rates)), Delays(1 << 30), past="horizon")
    # So many channels take so much longer: 2^35 / (64^2 x 512) = 2^14.
    with pytest.raises(NoMemoryFunctionError, match="hours: take a horizon of 16384 at most"):
        fixed_memory(
            recurrence(DiagonalDecay(-rates.expand(512, 64))), Delays(1 << 15), past="horizon"
        )


def test_over_a_horizon_beyond_their_memory_decaying_systems_need_no_basis_of_it():
    """The same as the whole basis gives; the third one, which does not forget, has no other way."""
    rates = torch.cat([RATES, torch.tensor([[0.3, 0.1, 0.0]], dtype=torch.float64)])
    operator = DiagonalDecay(-rates)
    found = fixed_memory(recurrence(operator), DELAYS, past="horizon").exact
    assert found.past == ("horizon",) * 3
    basis = past_basis(Poles.distinct(operator.eigenvalues()), DELAYS.horizon)
    whole = memory_of_rows(basis.abs().square().sum(-1), DELAYS)
    # Below a delay between powers of two, capacity is shared out over an infinite past.
    for name, apart in (("below", 1e-4), *((each, 1e-9) for each in ("memory", "within", "rank"))):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name), rtol=0, atol=apart)
