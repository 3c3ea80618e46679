"""Lyapunov exponents against products multiplied out in many digits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
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
    product_growth,
    product_steps,
)
from tests.dynamics.test_operators import diagonal, rotating, scalar, separable
from tests.dynamics.transitions import (
    PRODUCTS,
    delta,
    dense,
    exact_growth,
    exponents,
    kimi,
    product,
    rank_one,
)

CLOSED = {f.__name__: f for f in (scalar, diagonal, rotating, separable)}

sizes = st.tuples(st.integers(1, 2), st.integers(1, 6), st.just(1), st.integers(1, 4))


def every_exponent(found):
    """All N of every head, falling: (H, N)."""
    return torch.stack(
        [
            one.repeat_interleave(times)
            for one, times in zip(found.exponents, found.multiplicity, strict=True)
        ]
    )


@pytest.mark.parametrize("build", PRODUCTS.values(), ids=PRODUCTS)
@given(size=sizes, seed=st.integers(0, 2**16))
def test_exponents_are_the_singular_values_of_the_product(build, size, seed):
    batch, tokens, heads, states = size
    torch.manual_seed(seed)
    operator = build((batch, tokens), heads, states)
    found = exponents(operator)
    assert (found.tokens, found.sequences) == (batch * tokens, batch)
    assert bool((found.change < 1e-6).all())
    matrices = operator.dense()
    for head in range(heads):
        growth = sum(exact_growth(matrices[b, :, head], 60) for b in range(batch))
        expected = growth / (batch * tokens)
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


@pytest.mark.parametrize("build", PRODUCTS.values(), ids=PRODUCTS)
def test_tokens_that_are_not_valid_are_not_there(build):
    torch.manual_seed(0)
    operator = build((2, 9), 2, 3)
    valid = torch.tensor([[0, 0, 1, 1, 1, 1, 0, 1, 1], [1, 1, 1, 1, 0, 0, 0, 0, 0]]).bool()
    kept = LyapunovSum()
    for sequence, keep in enumerate(valid):
        matrices = operator.dense()[sequence : sequence + 1, keep]
        kept.add(Dense(matrices), torch.ones(matrices.shape[:2], dtype=torch.bool))
    found = exponents(operator, valid)
    assert found.tokens == kept.exponents().tokens == 10
    torch.testing.assert_close(found.exponents, kept.exponents().exponents)


@pytest.mark.parametrize("build", PRODUCTS.values(), ids=PRODUCTS)
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
    growth = exact_growth(bare.dense()[0, :, 0], 400) + float(operator.log_decay.sum())
    np.testing.assert_allclose(exponents(operator).exponents[0], growth / 60, rtol=1e-12)


def wide(tokens):
    """Twelve states, whose singular values end up beyond 1e40 of each other."""
    one = delta((1, tokens), 1, 12)
    log_decay = -torch.linspace(0.1, 3, 12, dtype=torch.float64) * torch.rand(1, tokens, 1, 12)
    return DiagonalPlusRankOne.decay_then_erase(log_decay, one.beta / 2, one.key)


@pytest.mark.parametrize("build", [uneven, wide])
def test_products_that_shrink_unevenly(build):
    torch.manual_seed(0)
    operator = build(60)
    growth = exact_growth(operator.dense()[0, :, 0], 700)
    assert growth[0] - growth[-1] > 40 * math.log(10)
    found = exponents(operator)
    np.testing.assert_allclose(found.exponents[0], growth / 60, rtol=1e-9)
    assert float(found.change.max()) < 1e-6


@pytest.mark.parametrize("beta", [0.5, 0.999, 1.999])
@pytest.mark.parametrize("tokens", range(1, 6))
def test_few_tokens_of_many_states(tokens, beta):
    """Where a triangle's diagonal is far from the singular values."""
    torch.manual_seed(tokens)
    one = delta((1, tokens), 1, 12)
    operator = DeltaRule(0 * one.beta, 0 * one.beta + beta, one.key)
    growth = exact_growth(operator.dense()[0, :, 0], 80)
    found = exponents(operator).exponents[0]
    np.testing.assert_allclose(found, growth / tokens, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("build", [delta, kimi, product, rank_one, strong, uneven])
def test_how_many_steps_are_taken_at_once_does_not_matter(build, monkeypatch):
    torch.manual_seed(0)
    operator = build(120) if build in (strong, uneven) else build((2, 120), 2, 5)
    valid = torch.rand(operator.dense().shape[:2]) < 0.9
    several = exponents(operator, valid).exponents
    for steps in (product_steps.ErasureSteps, product_steps.TokenSteps):
        monkeypatch.setattr(steps, "longest_block", 1)
    one_by_one = exponents(operator, valid).exponents
    torch.testing.assert_close(several, one_by_one, rtol=1e-9, atol=1e-9)


def test_blocks_are_longer_than_one_step_where_they_can_be(monkeypatch):
    torch.manual_seed(0)
    calls, qr = [], torch.linalg.qr
    monkeypatch.setattr(torch.linalg, "qr", lambda matrix: calls.append(1) or qr(matrix))
    exponents(delta((1, 160), 1, 8))
    assert len(calls) < 40


def test_sweeps_that_did_not_suffice_are_told(monkeypatch):
    """After one sweep nothing is known of how far it is off."""
    torch.manual_seed(0)
    operator = delta((1, 20), 1, 4)
    assert exponents(operator).sweeps > 1
    monkeypatch.setattr(product_growth, "_MOST_SWEEPS", 1)
    found = exponents(operator)
    assert (found.sweeps, float(found.change.max())) == (1, math.inf)


# ---- what is the same -------------------------------------------------------------------------


@given(seed=st.integers(0, 2**16), tokens=st.integers(1, 40), states=st.integers(1, 6))
def test_the_basis_of_the_state_does_not_matter(seed, tokens, states):
    torch.manual_seed(seed)
    operator = delta((2, tokens), 1, states)
    basis = torch.linalg.qr(torch.randn(states, states, dtype=torch.float64))[0]
    turned = DeltaRule(operator.log_decay, operator.beta, operator.key @ basis)
    found, expected = (exponents(of).exponents for of in (turned, operator))
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)
    full = Dense(basis.T @ operator.dense() @ basis)
    torch.testing.assert_close(exponents(full).exponents, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("build", [diagonal, separable, dense, delta, kimi])
@settings(max_examples=10)
@given(seed=st.integers(0, 2**16))
def test_neither_the_order_of_sequences_nor_that_of_their_axes_matters(build, seed):
    torch.manual_seed(seed)
    extra = (torch.float64,) if build in (diagonal, separable) else ()
    matrices = build((3, 7), 2, 3, *extra).dense()
    expected = exponents(Dense(matrices))
    axes = [torch.randperm(3) for _ in range(3)]
    moved = torch.stack([matrices[b][..., axis, :][..., axis] for b, axis in enumerate(axes)])
    found = exponents(Dense(moved[torch.randperm(3)]))
    torch.testing.assert_close(found.exponents, expected.exponents, rtol=1e-8, atol=1e-8)
    in_batches = LyapunovSum()
    for rows in (moved[1:], moved[:1]):
        in_batches.add(Dense(rows), torch.ones(rows.shape[:2], dtype=torch.bool))
    added = in_batches.exponents()
    torch.testing.assert_close(added.exponents, found.exponents, rtol=1e-12, atol=1e-12)
    assert (added.tokens, added.sequences) == (found.tokens, found.sequences) == (21, 3)


def test_exponents_are_sorted_in_each_sequence_before_they_are_averaged():
    """One sequence forgets the first axis, the other the second, over three and one tokens."""
    log_decay = torch.tensor([[[[-1.0, 0.0]]] * 3, [[[0.0, -5.0]]] * 3])
    valid = torch.tensor([[True] * 3, [True, False, False]])
    for operator in (DiagonalDecay(log_decay), Dense(DiagonalDecay(log_decay).dense().double())):
        found = exponents(operator, valid)
        assert found.exponents[0].tolist() == pytest.approx([0, (3 * -1 + -5) / 4])
        assert (found.tokens, found.sequences) == (4, 2)


@pytest.mark.parametrize("build", [*PRODUCTS.values(), *CLOSED.values()], ids=[*PRODUCTS, *CLOSED])
def test_a_product_begins_anew_where_the_state_does(build):
    torch.manual_seed(0)
    extra = (torch.float64,) if build in CLOSED.values() else ()
    operator = build((2, 9), 2, 3, *extra)
    valid = torch.ones(2, 9, dtype=torch.bool)
    valid[1, 6:] = False
    starts = torch.zeros(2, 9, dtype=torch.bool)
    starts[0, [0, 4, 5]] = starts[1, [2, 7]] = True
    found = LyapunovSum()
    found.add(operator, valid, starts)
    expected = LyapunovSum()
    for row, begin, end in ((0, 1, 4), (0, 6, 9), (1, 0, 2), (1, 3, 6)):
        part = Dense(operator.dense()[row : row + 1, begin:end])
        expected.add(part, torch.ones(1, end - begin, dtype=torch.bool))
    assert (found.tokens, found.sequences) == (expected.tokens, expected.sequences) == (11, 4)
    torch.testing.assert_close(
        every_exponent(found.exponents()), every_exponent(expected.exponents())
    )


# ---- what needs no product ----------------------------------------------------------------------


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
    # A sequence without any is none.
    found = exponents(delta((2, 2), 1, 2), torch.tensor([[True, True], [False, False]]))
    assert (found.tokens, found.sequences) == (2, 1)
