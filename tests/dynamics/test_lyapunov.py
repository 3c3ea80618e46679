"""Lyapunov exponents against products multiplied out in many digits."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma

from spectrakit.dynamics import (
    DeltaProduct,
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


def product(lead, heads, states, dtype=torch.float64):
    """Two erasures a token, some of them reflections."""
    log_decay = -torch.rand(*lead, heads, dtype=dtype)
    beta = 2 * torch.rand(*lead, heads, 2, dtype=dtype)
    key = torch.nn.functional.normalize(torch.randn(*lead, heads, 2, states, dtype=dtype), dim=-1)
    return DeltaProduct(log_decay, beta, key)


def rank_one(lead, heads, states, dtype=torch.float64):
    """As in RWKV-7 and Comba: what is erased is not what is read."""
    left, right = torch.randn(2, *lead, heads, states, dtype=dtype) / states**0.5
    return DiagonalPlusRankOne(-torch.rand(*lead, heads, states, dtype=dtype), left, right)


def complex_dense(lead, heads, states, dtype=torch.complex128):
    return Dense(torch.randn(*lead, heads, states, states, dtype=dtype) / states**0.5)


PRODUCTS = {f.__name__: f for f in (delta, kimi, product, rank_one, dense, complex_dense)}
CLOSED = {f.__name__: f for f in (scalar, diagonal, rotating, separable)}

sizes = st.tuples(st.integers(1, 2), st.integers(1, 6), st.just(1), st.integers(1, 4))


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
    """log of the singular values of the product of matrices (T, N, N), the last one leftmost."""
    with mpmath.workdps(digits):
        product = mpmath.eye(matrices.shape[-1])
        for matrix in matrices.tolist():
            product = mpmath.matrix(matrix) * product
        values = mpmath.svd_c(product, compute_uv=False)
        return np.array([float(mpmath.log(value)) for value in values])


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
    parts = [LyapunovSum(), LyapunovSum()]
    for part, rows in zip(parts, (moved[:1], moved[1:]), strict=True):
        part.add(Dense(rows), torch.ones(rows.shape[:2], dtype=torch.bool))
    parts[1].merge(parts[0])
    merged = parts[1].exponents()
    torch.testing.assert_close(merged.exponents, found.exponents, rtol=1e-12, atol=1e-12)
    assert (merged.tokens, merged.sequences) == (found.tokens, found.sequences) == (21, 3)


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


# ---- what is erased ---------------------------------------------------------------------------


def erasing(keys, dtype=torch.float64):
    """Tokens that erase what is stored along each of keys (T, N), and do nothing else."""
    one = torch.ones(1, len(keys), 1, dtype=dtype)
    return DeltaRule(0 * one, one, keys.to(dtype).view(1, len(keys), 1, -1))


def as_product(operator):
    """Two tokens of the delta rule as one."""
    halves = (part.unflatten(1, (-1, 2)).transpose(2, 3) for part in (operator.beta, operator.key))
    return DeltaProduct(operator.log_decay[:, ::2], *halves)


def as_kimi(operator):
    nothing = torch.zeros_like(operator.key)
    return DiagonalPlusRankOne.decay_then_erase(nothing, operator.beta, operator.key)


FORMS = [lambda operator: operator, as_product, as_kimi, lambda o: Dense(o.dense())]
FORM_NAMES = ["delta", "product", "kimi", "dense"]


def zeros(operator):
    return int((exponents(operator).exponents == -math.inf).sum())


@pytest.mark.parametrize("form", FORMS, ids=FORM_NAMES)
@given(seed=st.integers(0, 2**16), count=st.integers(1, 3), repeats=st.integers(1, 3))
def test_every_orthogonal_key_takes_a_direction_and_none_takes_two(form, seed, count, repeats):
    """The same few keys over and over, in any basis: what is left is not touched."""
    torch.manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    keys = torch.nn.functional.normalize(basis, dim=-1)[torch.randint(count, (2 * repeats,))]
    expected = len(torch.unique(keys, dim=0))
    found = exponents(form(erasing(keys))).exponents[0]
    assert int((found == -math.inf).sum()) == expected
    np.testing.assert_allclose(found[: 6 - expected], 0, atol=1e-12)


@pytest.mark.parametrize("form", FORMS, ids=FORM_NAMES)
def test_keys_in_general_position_take_one_direction(form):
    torch.manual_seed(0)
    operator = delta((1, 30), 1, 4)
    operator.beta.fill_(1)
    operator.log_decay.zero_()
    found = exponents(form(operator))
    assert (found.exponents[0] == -math.inf).tolist() == [False] * 3 + [True]
    assert found.erased[0].tolist() == [0, 0, 0, 1]
    matrices = operator.dense()[0, :, 0]
    with mpmath.workdps(120):
        whole = mpmath.eye(4)
        for key in operator.key[0, :, 0].tolist():  # of length one to 120 digits
            k = mpmath.matrix(key)
            whole = (mpmath.eye(4) - k * k.T / (k.T * k)[0]) * whole
        values = sorted(mpmath.svd_r(whole, compute_uv=False), reverse=True)
        assert values[3] < mpmath.mpf(10) ** -100
        growth = [float(mpmath.log(value)) for value in values[:3]]
    tokens = 30 if len(matrices) == 30 and form is not as_product else 15
    np.testing.assert_allclose(found.exponents[0][:3], np.array(growth) / tokens, rtol=1e-9)


@pytest.mark.parametrize("form", FORMS[:3], ids=FORM_NAMES[:3])
@pytest.mark.parametrize("states", [4, 64, 128])
def test_keys_of_length_one_to_rounding_erase(form, states):
    """Normalised in float32, beta |k|^2 is not 1 to the last digit."""
    torch.manual_seed(0)
    keys = torch.nn.functional.normalize(torch.randn(8, states), dim=-1)
    assert bool((keys.double().square().sum(-1) != 1).any())
    assert zeros(form(erasing(keys, torch.float32))) == 1


def test_what_is_nearly_erased_is_not_gone():
    torch.manual_seed(0)
    keys = torch.nn.functional.normalize(torch.randn(1, 4, dtype=torch.float64), dim=-1)
    one = erasing(keys)
    nearly = DeltaRule(one.log_decay, one.beta - 1e-9, one.key)
    assert exponents(nearly).exponents[0, -1] == pytest.approx(math.log(1e-9), rel=1e-6)
    # float16 is coarse, but A_t is what is computed from the numbers it holds.
    axis = torch.eye(4, dtype=torch.float16)[:1]
    coarse = erasing(axis, torch.float16)
    coarse.beta.fill_(1 - 2**-10)
    assert exponents(coarse).exponents[0, -1] == pytest.approx(-10 * math.log(2))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_direction_that_is_erased_is_gone_and_the_others_are_right(axis):
    """The key of the first token is an axis of the state."""
    torch.manual_seed(0)
    operator = delta((1, 12), 1, 3)
    operator.key[0, 0, 0] = torch.eye(3, dtype=torch.float64)[axis]
    operator.beta[0, 0] = 1
    found = exponents(operator).exponents[0]
    matrices = operator.dense()[0, :, 0]
    kept = [i for i in range(3) if i != axis]
    with mpmath.workdps(60):
        whole = mpmath.eye(3)
        for matrix in matrices.tolist():
            whole = mpmath.matrix(matrix) * whole
        columns = mpmath.matrix([[whole[i, j] for j in kept] for i in range(3)])
        values = mpmath.svd_r(columns, compute_uv=False)
        growth = [float(mpmath.log(value)) / 12 for value in values]
    np.testing.assert_allclose(found[:2], growth, rtol=1e-9)
    assert float(found[2]) == -math.inf


def test_an_erased_direction_of_one_sequence_does_not_poison_the_mean():
    axes = torch.eye(2, dtype=torch.float64).view(2, 1, 1, 2).expand(2, 4, 1, 2)
    log_decay = torch.full((2, 4, 1), -0.5, dtype=torch.float64)
    beta = torch.tensor([1.0, 0.75], dtype=torch.float64).view(2, 1, 1).expand(2, 4, 1)
    found = exponents(DeltaRule(log_decay, beta, axes))
    assert found.exponents[0].tolist() == pytest.approx([-0.5, -0.5 + math.log(0.25)])
    assert (found.erased[0].tolist(), found.sequences, found.tokens) == ([0, 1], 2, 8)
    gone = DiagonalDecay(torch.tensor([[[[-math.inf, -1.0]]], [[[-3.0, -2.0]]]]))
    found = exponents(gone)
    assert found.exponents[0].tolist() == [-1.5, -3]
    assert found.erased[0].tolist() == [0, 1]


def test_nothing_is_left_of_a_product_with_zero():
    found = exponents(Dense(torch.zeros(1, 5, 1, 3, 3)))
    assert found.exponents.tolist() == [[-math.inf] * 3]
    assert found.erased.tolist() == [[1] * 3]


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
