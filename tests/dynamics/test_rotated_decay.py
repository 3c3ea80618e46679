"""Rotated decays: their eigenvalues, and that all of them commute."""

from __future__ import annotations

import math

import pytest
import torch

from spectrakit.dynamics.lyapunov import LyapunovSum
from spectrakit.dynamics.product_growth import product_growth
from spectrakit.dynamics.rotated_decay import RotatedDecay


def random_operator(pairs=2, state_size=7, widest=9.0):
    generator = torch.Generator().manual_seed(0)
    log_decay = -torch.rand(3, 11, 4, generator=generator, dtype=torch.float64)
    angle = torch.randn(3, 11, 4, pairs, generator=generator, dtype=torch.float64) * widest
    return RotatedDecay(log_decay, angle, state_size)


@pytest.mark.parametrize(("pairs", "still"), [(2, 3), (2, 1), (3, 0)])
def test_eigenvalues_are_conjugate_pairs_on_one_circle_per_head(pairs, still):
    operator = random_operator(pairs, 2 * pairs + still)
    found = operator.eigenvalues()
    alpha = operator.log_decay.exp().unsqueeze(-1)
    torch.testing.assert_close(found.modulus, alpha.expand_as(found.modulus))
    of_pairs = found.values[..., : 2 * pairs]
    torch.testing.assert_close(of_pairs[..., ::2], of_pairs[..., 1::2].conj())
    torch.testing.assert_close(of_pairs[..., ::2], alpha * torch.exp(1j * operator.angle))
    assert found.phase.abs().max() <= math.pi
    assert sum(found.multiplicities) == operator.state_size
    if still:
        torch.testing.assert_close(found.values[..., -1].real, alpha.squeeze(-1))
        assert found.multiplicities[-1] == still


def test_a_small_angle_keeps_its_digits():
    angle = torch.full((1, 1), 1e-12)
    assert RotatedDecay(torch.zeros(1), angle, 2).eigenvalues().phase[0, 0] == angle[0, 0]


def test_nothing_turned_is_one_real_eigenvalue():
    operator = RotatedDecay(torch.tensor([-0.5, -0.1]), torch.zeros(2, 3), 8)
    found = operator.eigenvalues()
    assert found.phase is None
    assert found.multiplicities == (8,)
    torch.testing.assert_close(found.log_modulus, operator.log_decay.unsqueeze(-1))


def test_rows_are_pulled_back_by_the_transpose():
    operator = random_operator()
    row = torch.randn(3, 11, 5, 4, 7, dtype=torch.float64)
    expected = torch.einsum("btrhm,bthmn->btrhn", row, operator.dense())
    torch.testing.assert_close(operator.apply_left(row), expected)


def test_the_product_has_the_sums_of_log_decays_and_angles():
    operator = random_operator()
    product = torch.eye(7, dtype=torch.float64)
    for t in range(11):
        product = operator.at(t).dense() @ product
    whole = RotatedDecay(operator.log_decay.sum(1), operator.angle.sum(1), 7)
    torch.testing.assert_close(product, whole.dense())


def test_scaled_is_multiplied():
    operator, factor = random_operator(), torch.rand(3, 11, 4, dtype=torch.float64)
    expected = operator.dense() * factor.exp()[..., None, None]
    torch.testing.assert_close(operator.scaled(factor).dense(), expected)


def test_lyapunov_exponents_are_those_of_the_products_singular_values():
    operator = random_operator(widest=1.0)
    valid = torch.ones(3, 11, dtype=torch.bool)
    valid[1, 7:] = False
    total = LyapunovSum()
    total.add(operator, valid)
    found = total.exponents()
    assert found.multiplicity.tolist() == [[7]] * 4
    growth = product_growth(operator, valid).log_values
    expected = growth.sum(0) / int(valid.sum())
    torch.testing.assert_close(found.exponents.expand(4, 7), expected)
