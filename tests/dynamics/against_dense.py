"""An operator's own algorithms against the matrices that `dense` says it stands for."""

from __future__ import annotations

import mpmath
import numpy as np
import torch
from scipy.optimize import linear_sum_assignment


def with_multiplicity(found):
    """All N eigenvalues (..., H, N) as complex numbers."""
    return found.values.repeat_interleave(torch.tensor(found.multiplicities), -1)


def paired(found, expected):
    """`expected` in the order of `found` that brings the two sets closest: (N,) each."""
    distance = np.abs(np.subtract.outer(np.asarray(found), np.asarray(expected)))
    return np.asarray(expected)[linear_sum_assignment(distance)[1]]


def assert_eigenvalues(operator, atol):
    found = with_multiplicity(operator.eigenvalues()).to(torch.complex128)
    dense = operator.dense()
    wide = torch.promote_types(dense.dtype, torch.float64)
    expected = torch.linalg.eigvals(dense.to(wide))
    assert found.shape == expected.shape
    for one, other in zip(found.flatten(0, -2), expected.flatten(0, -2), strict=True):
        np.testing.assert_allclose(one, paired(one, other), atol=atol, rtol=0)


def assert_actions(operator, tokens):
    """apply, apply_left, at and scaled of an operator with leading axes (B, T)."""
    dense = operator.dense().to(torch.complex128)
    batch, _, heads, states, _ = dense.shape
    state = torch.randn(batch, heads, states, 3, dtype=torch.complex128)
    row = torch.randn(batch, 2, heads, states, dtype=torch.complex128)
    factor = torch.randn(batch, tokens, heads, dtype=torch.float64)
    scaled = operator.scaled(factor)
    for t in range(tokens):
        matrix = dense[:, t]
        one = operator.at(t)
        assert_close(one.dense(), matrix)
        assert_close(one.apply(state), matrix @ state)
        assert_close(one.apply_left(row), torch.einsum("brhn,bhnm->brhm", row, matrix))
        assert_close(scaled.at(t).dense(), factor[:, t].exp()[..., None, None] * matrix)


def assert_close(found, expected):
    torch.testing.assert_close(
        found.to(torch.complex128), expected.to(torch.complex128), rtol=1e-11, atol=1e-11
    )


def exact_eigenvalues(matrix, digits=60):
    """Eigenvalues of a matrix of mpmath numbers, as complex numbers rounded from many digits."""
    with mpmath.workdps(digits):
        return mpmath.eig(mpmath.matrix(matrix), left=False, right=False)
