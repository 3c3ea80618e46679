"""Roots of the secular equation against a symmetric eigensolver and against many digits."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.dynamics import secular
from spectrakit.dynamics.secular import secular_roots

#: Equal, nearly equal, at one, near one, near zero, zero in float64.
LOG_POLES = st.sampled_from(
    [0.0, -1e-16, -1e-9, -0.3, -0.3 - 1e-16, -0.3 - 1e-15, -0.3 - 1e-9, -0.7, -20.0, -800.0]
) | st.floats(-3, 0)
#: None, less than rounding, and more than all poles.
WEIGHTS = st.sampled_from([0.0, 5e-324, 1e-200, 1e-40, 1e-17, 0.1, 100.0]) | st.floats(0, 2)
MATRICES = st.lists(st.tuples(LOG_POLES, WEIGHTS), min_size=1, max_size=8)


def vectors(matrix):
    log_pole, weight = torch.tensor(matrix, dtype=torch.float64).T
    log_pole, order = log_pole.sort()
    return log_pole, weight[order]


def dense(log_pole, weight):
    s = weight.sqrt()
    return torch.diag_embed(log_pole.exp()) - s.unsqueeze(-1) * s.unsqueeze(-2)


def values(log_pole, weight):
    origin, offset = secular_roots(log_pole, weight)
    return log_pole.gather(-1, origin).exp() + offset


def random_matrices(count, size):
    generator = torch.Generator().manual_seed(0)
    log_pole, weight = torch.rand(2, count, size, generator=generator, dtype=torch.float64)
    return (-log_pole).sort(-1).values, weight / size


def assert_right(log_pole, weight):
    exact = torch.linalg.eigvalsh(dense(log_pole, weight))
    error = (values(log_pole, weight) - exact).abs().amax(-1)
    assert bool((error <= 1e-14 * (1 + weight.sum(-1))).all())


@given(matrix=MATRICES)
def test_roots_are_the_eigenvalues(matrix):
    assert_right(*vectors(matrix))


@given(matrix=MATRICES)
def test_roots_interlace_with_poles(matrix):
    log_pole, weight = vectors(matrix)
    found = values(log_pole, weight)
    rounding = 1e-15 * (1 + float(weight.sum()))
    assert bool((found <= log_pole.exp() + rounding).all())
    assert bool((found[1:] >= log_pole[:-1].exp() - rounding).all())


@given(matrix=MATRICES)
def test_what_is_missing_to_one_against_many_digits(matrix):
    """1 - x is right relative to itself: I - A is a non-negative diagonal plus s s^T."""
    log_pole, weight = vectors(matrix)
    origin, offset = secular_roots(log_pole, weight)
    with mpmath.workdps(60):
        decay = [1 - mpmath.exp(mpmath.mpf(x)) for x in log_pole.tolist()]
        s = [mpmath.sqrt(mpmath.mpf(x)) for x in weight.tolist()]
        size = range(len(s))
        rest = mpmath.matrix([[(i == j) * decay[i] + s[i] * s[j] for j in size] for i in size])
        exact = [float(x) for x in mpmath.eigsy(rest, eigvals_only=True)]
    found = -torch.expm1(log_pole)[origin] - offset
    # Intervals below 1e-30 of all are taken for points.
    narrow = 1e-29 * (1 + float(weight.sum()))
    np.testing.assert_allclose(found.flip(-1), exact, rtol=1e-13, atol=narrow)


@given(powers=st.lists(st.integers(-28, -1), min_size=2, max_size=6, unique=True))
def test_poles_near_zero_keep_their_digits(powers):
    """Where only the first pole has weight, only its root is not a pole."""
    log_pole = torch.tensor(sorted(powers), dtype=torch.float64) * math.log(10)
    weight = torch.zeros_like(log_pole)
    weight[0] = log_pole[0].exp() / 2
    found = values(log_pole, weight)
    expected = log_pole.exp()
    expected[0] /= 2
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("size", [1, 2, 3, 64, 128])
def test_as_many_matrices_as_fill_several_blocks(size):
    log_pole, weight = random_matrices(2 * secular._BLOCK_ROOTS // size + 3, size)
    assert_right(log_pole[::50], weight[::50])
    found, alone = secular_roots(log_pole, weight), secular_roots(log_pole[-1], weight[-1])
    torch.testing.assert_close(found.offset[-1], alone.offset, rtol=1e-12, atol=0)


def test_equal_poles_are_roots_exactly():
    log_pole = torch.full((5, 7), -0.1, dtype=torch.float64)
    weight = torch.rand(5, 7, dtype=torch.float64)
    offset = secular_roots(log_pole, weight).offset
    assert bool((offset[:, 1:] == 0).all())
    torch.testing.assert_close(offset[:, 0], -weight.sum(-1), rtol=1e-15, atol=0)


def test_leading_axes_are_kept():
    log_pole, weight = random_matrices(6, 4)
    found = secular_roots(log_pole.view(2, 3, 4), weight.view(2, 3, 4))
    flat = secular_roots(log_pole, weight)
    assert torch.equal(found.offset, flat.offset.view(2, 3, 4))
    assert torch.equal(found.origin, flat.origin.view(2, 3, 4))


def counting(monkeypatch, name):
    """How many roots or matrices the function of `secular` is asked for, one number a call."""
    asked, function = [], getattr(secular, name)

    def counted(first, *rest):
        asked.append(rest[0][0].numel() if name == "_bracketed" else len(rest[0]))
        return function(first, *rest)

    monkeypatch.setattr(secular, name, counted)
    return asked


def test_few_roots_need_to_be_bracketed_and_no_matrix_a_dense_solver(monkeypatch):
    bracketed, dense = (counting(monkeypatch, name) for name in ("_bracketed", "_dense_offsets"))
    log_pole, weight = random_matrices(500, 32)
    assert_right(log_pole, weight)
    assert 0 < sum(bracketed) < 0.02 * log_pole.numel()
    assert not dense


def test_poles_closer_than_float32_tells_apart_are_bracketed(monkeypatch):
    """Powers of one over their distance overflow float32."""
    bracketed = counting(monkeypatch, "_bracketed")
    log_pole = -1e-15 * torch.arange(8, 0, -1, dtype=torch.float64).expand(3, 8)
    weight = torch.ones(3, 8, dtype=torch.float64)
    assert_right(log_pole, weight)
    assert sum(bracketed) > 12


def test_what_does_not_settle_goes_to_the_dense_solver(monkeypatch):
    log_pole, weight = random_matrices(5, 16)
    expected = values(log_pole, weight)
    dense = counting(monkeypatch, "_dense_offsets")
    monkeypatch.setattr(secular, "_SETTLED", -1.0)
    monkeypatch.setattr(secular, "_CAREFUL_STEPS", 2)
    torch.testing.assert_close(values(log_pole, weight), expected, rtol=0, atol=1e-14)
    assert dense == [5]


def test_roots_that_miss_the_trace_go_to_the_dense_solver(monkeypatch):
    log_pole, weight = random_matrices(5, 16)
    expected = values(log_pole, weight)
    dense, advanced = counting(monkeypatch, "_dense_offsets"), secular._advanced

    def with_one_wrong(block):
        found = advanced(block)
        found.offset[2, 7] *= 0.5
        return found._replace(settled=torch.ones_like(found.settled))

    monkeypatch.setattr(secular, "_advanced", with_one_wrong)
    torch.testing.assert_close(values(log_pole, weight)[2], expected[2], rtol=0, atol=1e-14)
    assert dense[0] >= 1
