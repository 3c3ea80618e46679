"""Lyapunov exponents against products multiplied out in many digits."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import digamma

from spectrakit.dynamics import (
    DeltaRule,
    Dense,
    DiagonalDecay,
    DiagonalPlusRankOne,
    LyapunovExponents,
    LyapunovSum,
    ScalarDecay,
    SeparableDecay,
    ShiftRegister,
    qr_growth,
)
from tests.dynamics.test_operators import diagonal, rotating, scalar, separable


def delta(lead, heads, states, dtype=torch.float64):
    key = torch.nn.functional.normalize(torch.randn(*lead, heads, states, dtype=dtype), dim=-1)
    log_decay, beta = torch.rand(2, *lead, heads, dtype=dtype)
    return DeltaRule(-log_decay, 2 * beta, key)


def kimi(lead, heads, states, dtype=torch.float64):
    one = delta(lead, heads, states, dtype)
    log_decay = -torch.rand(*lead, heads, states, dtype=dtype)
    return DiagonalPlusRankOne.decay_then_erase(log_decay, one.beta, one.key)


def dense(lead, heads, states, dtype=torch.float64):
    return Dense(torch.randn(*lead, heads, states, states, dtype=dtype) / states**0.5)


QR = {f.__name__: f for f in (delta, kimi, dense)}
CLOSED = {f.__name__: f for f in (scalar, diagonal, rotating, separable)}

sizes = st.tuples(st.integers(1, 2), st.integers(1, 6), st.integers(1, 2), st.integers(1, 4))


def exponents(operator, valid=None):
    lead = operator.dense().shape[:2]
    growth = LyapunovSum()
    growth.add(operator, torch.ones(lead, dtype=torch.bool) if valid is None else valid)
    return growth.exponents()


def every_exponent(found):
    """All N of every head, falling: (H, N)."""
    return torch.stack(
        [
            one.repeat_interleave(times)
            for one, times in zip(found.exponents, found.multiplicity, strict=True)
        ]
    )


def exact_growth(matrices, digits=200):
    """log|R_ii| of the product of matrices (T, N, N), the last one leftmost."""
    with mpmath.workdps(digits):
        product = mpmath.eye(matrices.shape[-1])
        for matrix in matrices.tolist():
            product = mpmath.matrix(matrix) * product
        triangle = mpmath.qr(product)[1]
        return [float(mpmath.log(abs(triangle[i, i]))) for i in range(matrices.shape[-1])]


@pytest.mark.parametrize("build", QR.values(), ids=QR)
@given(size=sizes, seed=st.integers(0, 2**16))
def test_exponents_are_the_qr_decomposition_of_the_whole_product(build, size, seed):
    batch, tokens, heads, states = size
    torch.manual_seed(seed)
    operator = build((batch, tokens), heads, states)
    found = exponents(operator)
    assert found.tokens == batch * tokens
    matrices = operator.dense()
    for head in range(heads):
        growth = sum(np.array(exact_growth(matrices[b, :, head], 60)) for b in range(batch))
        expected = np.sort(growth / (batch * tokens))[::-1]
        np.testing.assert_allclose(found.exponents[head], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("build", CLOSED.values(), ids=CLOSED)
@given(size=sizes, seed=st.integers(0, 2**16))
def test_closed_forms_are_what_the_decomposition_gives(build, size, seed):
    batch, tokens, heads, states = size
    torch.manual_seed(seed)
    operator = build((batch, tokens), heads, states, torch.float64)
    valid = torch.rand(batch, tokens) < 0.7
    valid[0, 0] = True
    found, expected = exponents(operator, valid), exponents(Dense(operator.dense()), valid)
    assert found.tokens == expected.tokens == int(valid.sum())
    torch.testing.assert_close(
        every_exponent(found), every_exponent(expected), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("build", QR.values(), ids=QR)
def test_tokens_that_are_not_valid_are_not_there(build):
    torch.manual_seed(0)
    operator = build((2, 9), 2, 3)
    valid = torch.tensor([[0, 0, 1, 1, 1, 1, 0, 1, 1], [1, 1, 1, 1, 0, 0, 0, 0, 0]]).bool()
    parts = []
    for sequence, keep in enumerate(valid):
        matrices = operator.dense()[sequence : sequence + 1, keep]
        growth = LyapunovSum()
        growth.add(Dense(matrices), torch.ones(matrices.shape[:2], dtype=torch.bool))
        parts.append(growth)
    parts[0].merge(LyapunovSum())
    parts[0].merge(parts[1])
    found = exponents(operator, valid)
    assert found.tokens == parts[0].exponents().tokens == 10
    torch.testing.assert_close(found.exponents, parts[0].exponents().exponents)


@pytest.mark.parametrize("build", QR.values(), ids=QR)
def test_their_sum_is_the_mean_log_determinant(build):
    torch.manual_seed(0)
    operator = build((1, 400), 2, 6)
    expected = torch.linalg.slogdet(operator.dense()).logabsdet.mean((0, 1))
    torch.testing.assert_close(exponents(operator).exponents.sum(-1), expected)


def test_random_matrices_have_the_exponents_of_theory():
    """Gaussian matrices: (log 2 + digamma((N - i + 1) / 2)) / 2 (Newman 1986)."""
    torch.manual_seed(0)
    matrices = torch.randn(4, 1500, 1, 4, 4, dtype=torch.float64)
    expected = (math.log(2) + digamma((4 - np.arange(4)) / 2)) / 2
    np.testing.assert_allclose(exponents(Dense(matrices)).exponents[0], expected, atol=0.03)


def strong(tokens):
    """Transitions that all but erase their keys, and shrink the rest beyond float64's range."""
    one = delta((1, tokens), 1, 4)
    return DeltaRule(one.log_decay - 300, 0 * one.beta + (1 - 1e-5), one.key)


def uneven(tokens):
    """Decays from none to e^-20 a step."""
    log_decay = -torch.tensor([0.0, 1, 5, 20], dtype=torch.float64) * torch.rand(1, tokens, 1, 4)
    one = delta((1, tokens), 1, 4)
    return DiagonalPlusRankOne.decay_then_erase(log_decay, 0.2 * one.beta, one.key)


def test_products_that_shrink_beyond_the_range_of_floats():
    torch.manual_seed(0)
    operator = strong(60)
    bare = DeltaRule(0 * operator.log_decay, operator.beta, operator.key)
    growth = np.array(exact_growth(bare.dense()[0, :, 0], 400)) + float(operator.log_decay.sum())
    np.testing.assert_allclose(exponents(operator).exponents[0], np.sort(growth / 60)[::-1])


def test_products_that_shrink_unevenly():
    torch.manual_seed(0)
    operator = uneven(60)
    growth = np.array(exact_growth(operator.dense()[0, :, 0], 400))
    found = exponents(operator).exponents[0]
    np.testing.assert_allclose(found, np.sort(growth / 60)[::-1], rtol=1e-9)


@pytest.mark.parametrize("build", [delta, kimi, strong, uneven])
def test_how_many_steps_are_taken_at_once_does_not_matter(build, monkeypatch):
    torch.manual_seed(0)
    operator = build(120) if build in (strong, uneven) else build((2, 120), 2, 5)
    valid = torch.rand(operator.dense().shape[:2]) < 0.9
    several = exponents(operator, valid).exponents
    monkeypatch.setattr(qr_growth, "_LONGEST_BLOCK", 1)
    one_by_one = exponents(operator, valid).exponents
    torch.testing.assert_close(several, one_by_one, rtol=1e-9, atol=1e-9)


def test_blocks_are_longer_than_one_step_where_they_can_be(monkeypatch):
    torch.manual_seed(0)
    calls, qr = [], torch.linalg.qr
    monkeypatch.setattr(torch.linalg, "qr", lambda matrix: calls.append(1) or qr(matrix))
    exponents(delta((1, 160), 1, 8))
    assert len(calls) < 40


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_direction_that_is_erased_is_gone_and_the_others_are_right(axis):
    """The key of the first token is an axis of the frame: its column is zero from then on."""
    torch.manual_seed(0)
    operator = delta((1, 12), 1, 3)
    operator.key[0, 0, 0] = torch.eye(3, dtype=torch.float64)[axis]
    operator.beta[0, 0] = 1
    found = exponents(operator).exponents[0]
    matrices = operator.dense()[0, :, 0]
    kept = [i for i in range(3) if i != axis]
    with mpmath.workdps(60):
        product = mpmath.eye(3)
        for matrix in matrices.tolist():
            product = mpmath.matrix(matrix) * product
        columns = mpmath.matrix([[product[i, j] for j in kept] for i in range(3)])
        triangle = mpmath.qr(columns)[1]
        growth = [float(mpmath.log(abs(triangle[i, i]))) / 12 for i in range(2)]
    np.testing.assert_allclose(found[:2], sorted(growth, reverse=True), rtol=1e-9)
    assert float(found[2]) == -math.inf


def test_rank_is_lost_once_for_keys_in_general_position_and_each_time_for_orthogonal_ones():
    torch.manual_seed(0)
    general = delta((1, 30), 1, 4)
    one = torch.ones(1, 30, 1, dtype=torch.float64)
    lost = exponents(DeltaRule(0 * one, one, general.key)).exponents[0] == -math.inf
    assert int(lost.sum()) == 1
    axes = torch.eye(4, dtype=torch.float64)[torch.tensor([2, 0, 1])].view(1, 3, 1, 4)
    found = exponents(DeltaRule(0 * one[:, :3], one[:, :3], axes)).exponents[0]
    assert found.tolist() == [0, -math.inf, -math.inf, -math.inf]
    nothing = Dense(torch.zeros(1, 5, 1, 3, 3))
    assert exponents(nothing).exponents.tolist() == [[-math.inf] * 3]


def test_an_operator_of_one_token_has_its_eigenvalues():
    found = LyapunovExponents.of_constant(delta((), 3, 5).eigenvalues())
    assert found.tokens is None
    assert sorted(found.multiplicity[0].tolist()) == [1, 4]
    assert bool((found.exponents[:, 0] >= found.exponents[:, 1]).all())
    nilpotent = LyapunovExponents.of_constant(ShiftRegister(2, 3).eigenvalues())
    assert nilpotent.exponents.tolist() == [[-math.inf]] * 2
    assert nilpotent.times(4).multiplicity.tolist() == [[12]] * 2
    assert nilpotent.timescale.tolist() == [[0.0]] * 2


def test_multiplicities_follow_the_order_of_the_exponents():
    """Keys that are longer than one make the direction along them grow: it comes first."""
    key = torch.full((1, 3), 2.0, dtype=torch.float64)
    operator = DeltaRule(torch.tensor([-0.1]), torch.tensor([1.0]), key)
    found = LyapunovExponents.of_constant(operator.eigenvalues())
    assert found.multiplicity.tolist() == [[1, 2]]
    assert found.exponents[0].tolist() == pytest.approx([math.log(11) - 0.1, -0.1])
    assert found.timescale[0].tolist() == pytest.approx([math.inf, 10])


def test_a_separable_decay_is_never_multiplied_out():
    """Multiplied out, this one would need 128 GiB."""
    operator = SeparableDecay(torch.ones(1, 2**16, 1), torch.ones(1, 2**18))
    growth = LyapunovSum()
    growth.add(operator, torch.ones(1, 2**16, dtype=torch.bool))
    assert bool((growth.exponents().exponents == -1).all())


def test_a_zero_decay_on_a_token_that_is_not_valid_is_not_counted():
    log_decay = torch.tensor([[[-math.inf], [-1.0], [-3.0]]])
    valid = torch.tensor([[False, True, True]])
    for operator in (ScalarDecay(log_decay, 1), DiagonalDecay(log_decay.unsqueeze(-1))):
        assert exponents(operator, valid).exponents.tolist() == [[-2.0]]
        assert exponents(operator).exponents.tolist() == [[-math.inf]]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(bad):
    valid = torch.ones(1, 2, dtype=torch.bool)
    matrix = torch.ones(1, 2, 1, 2, 2)
    matrix[0, 1, 0, 0, 0] = bad
    for operator in (ScalarDecay(torch.tensor([[[0.0], [bad]]]), 1), Dense(matrix)):
        with pytest.raises(FloatingPointError, match="NaN or infinite"):
            LyapunovSum().add(operator, valid)
        LyapunovSum().add(operator, torch.tensor([[True, False]]))


def test_growth_beyond_float64_is_no_infinity():
    matrices = 1e40 * torch.eye(2, dtype=torch.float64).expand(1, 32, 1, 2, 2)
    expected = [pytest.approx(40 * math.log(10))] * 2
    assert exponents(Dense(matrices)).exponents[0].tolist() == expected


def test_without_tokens_there_are_no_exponents():
    with pytest.raises(ValueError, match="no valid token"):
        LyapunovSum().exponents()
    with pytest.raises(ValueError, match="no valid token"):
        exponents(delta((1, 2), 1, 2), torch.zeros(1, 2, dtype=torch.bool))
