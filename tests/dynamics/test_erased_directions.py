"""What a product erases: singular values of exactly zero, told from small ones."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from spectrakit.dynamics import DeltaProduct, DeltaRule, Dense, DiagonalDecay, DiagonalPlusRankOne
from tests.dynamics.transitions import delta, exact_growth, exponents


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
@example(seed=8524, count=1, repeats=1)  # a key that is nearly an axis
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


@pytest.mark.parametrize("form", FORMS, ids=FORM_NAMES)
@pytest.mark.parametrize("off", [1e-1, 1e-3, 1e-6, 1e-9, 1e-12])
def test_keys_near_an_axis_erase(form, off):
    """Where I - k k^T has a row of small entries, one of which is the rest of 1 - k_1^2."""
    torch.manual_seed(0)
    keys = off * torch.randn(20, 1, 6, dtype=torch.float64)
    keys[..., 0] = 1
    for key in torch.nn.functional.normalize(keys, dim=-1):
        assert zeros(form(erasing(key.expand(2, -1)))) == 1


@pytest.mark.parametrize("smallest", [1e-6, 1e-9, 1e-12])
def test_what_a_dense_matrix_keeps_little_of_is_not_gone(smallest):
    torch.manual_seed(0)
    for _ in range(10):
        left, right = torch.linalg.qr(torch.randn(2, 6, 6, dtype=torch.float64))[0]
        matrix = left * torch.tensor([1.0] * 5 + [smallest]).double() @ right
        found = exponents(Dense(matrix.view(1, 1, 1, 6, 6))).exponents[0]
        # Of the numbers it holds: their rounding is 1e-4 of the smallest of these.
        expected = exact_growth(matrix.view(1, 6, 6), 40)
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_decays_beyond_rounding_of_each_other_are_not_gone():
    """Each with digits of its own, on either side of a rotation."""
    torch.manual_seed(0)
    log_decay = torch.tensor([0.0, -20, -50, -300], dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0]
    for matrix in (log_decay.exp().unsqueeze(-1) * turn, turn * log_decay.exp()):
        found = exponents(Dense(matrix.view(1, 1, 1, 4, 4))).exponents[0]
        np.testing.assert_allclose(found, log_decay, rtol=1e-12, atol=1e-12)


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
