"""Transitions whose products do not commute, and the exponents of products of them."""

from __future__ import annotations

import mpmath
import numpy as np
import torch

from spectrakit.dynamics import (
    DeltaProduct,
    DeltaRule,
    Dense,
    DiagonalPlusRankOne,
    LyapunovSum,
)


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


def exponents(operator, valid=None):
    lead = operator.dense().shape[:2]
    growth = LyapunovSum()
    growth.add(operator, torch.ones(lead, dtype=torch.bool) if valid is None else valid)
    return growth.exponents()


def exact_growth(matrices, digits=200):
    """log of the singular values of the product of matrices (T, N, N), the last one leftmost."""
    with mpmath.workdps(digits):
        product = mpmath.eye(matrices.shape[-1])
        for matrix in matrices.tolist():
            product = mpmath.matrix(matrix) * product
        values = mpmath.svd_c(product, compute_uv=False)
        return np.array([float(mpmath.log(value)) for value in values])
