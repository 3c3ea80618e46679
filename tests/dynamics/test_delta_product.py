"""Products of delta-rule factors against the matrices and against known products."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.dynamics import (
    Contraction,
    DeltaProduct,
    DeltaRule,
    OuterProduct,
    OuterProducts,
    Recurrence,
)
from tests.dynamics.against_dense import assert_actions, assert_eigenvalues

#: Batch, tokens, heads, factors, states: more factors than states, too.
shapes = st.tuples(*(st.integers(1, most) for most in (2, 3, 3, 4, 6)))


def delta_product(shape, seed, dtype=torch.float64):
    torch.manual_seed(seed)
    key = torch.randn(shape, dtype=dtype)
    beta = 2 * torch.rand(shape[:-1], dtype=dtype) / key.square().sum(-1)
    return DeltaProduct(-torch.rand(shape[:-2], dtype=dtype), beta, key)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@given(shape=shapes, seed=st.integers(0, 2**16))
def test_eigenvalues_are_those_of_the_matrix(dtype, shape, seed):
    operator = delta_product(shape, seed, dtype)
    assert (operator.heads, operator.factors, operator.state_size) == shape[-3:]
    assert sum(operator.eigenvalues().multiplicities) == shape[-1]
    # Two eigenvalues that all but meet move by the root of what rounding moves the matrix.
    assert_eigenvalues(operator, atol=2e-3 if dtype == torch.float32 else 1e-6)


@given(shape=shapes, seed=st.integers(0, 2**16))
def test_applying_is_multiplying_by_the_matrix(shape, seed):
    assert_actions(delta_product(shape, seed), tokens=shape[1])


def test_the_matrix_is_the_product_of_its_factors_the_first_applied_first():
    operator = delta_product((2, 3, 4, 3, 5), seed=0)
    zero = torch.zeros_like(operator.log_decay)
    factors = [
        DeltaRule(zero, operator.beta[..., j], operator.key[..., j, :]).dense() for j in range(3)
    ]
    product = operator.log_decay.exp()[..., None, None] * factors[2] @ factors[1] @ factors[0]
    torch.testing.assert_close(operator.dense(), product, rtol=1e-13, atol=1e-13)


@given(shape=st.tuples(*(st.integers(1, most) for most in (2, 3, 3, 6))), seed=st.integers(0, 99))
def test_one_factor_is_the_delta_rule(shape, seed):
    batch, tokens, heads, states = shape
    product = delta_product((batch, tokens, heads, 1, states), seed)
    rule = DeltaRule(product.log_decay, product.beta[..., 0], product.key[..., 0, :])
    found, expected = product.eigenvalues(), rule.eigenvalues()
    assert found.multiplicities == expected.multiplicities
    torch.testing.assert_close(found.values, expected.values, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("angle", [0.1, 0.7, 1.5])
def test_two_reflections_are_a_rotation_by_twice_the_angle_between_them(angle):
    key = torch.tensor(
        [[1.0, 0.0, 0.0], [math.cos(angle), math.sin(angle), 0.0]], dtype=torch.float64
    )
    decay = torch.tensor([-0.3], dtype=torch.float64)
    found = DeltaProduct(decay, torch.full((1, 2), 2.0, dtype=torch.float64), key[None])
    eigenvalues = found.eigenvalues()
    assert eigenvalues.multiplicities == (1, 1, 1)
    torch.testing.assert_close(eigenvalues.log_modulus, decay.expand(1, 3), rtol=1e-14, atol=1e-14)
    assert sorted(eigenvalues.phase[0].tolist()) == pytest.approx([-2 * angle, 0, 2 * angle])


@pytest.mark.parametrize("erased", [1e-12, 0.3, 1.9])
def test_the_logarithm_keeps_its_digits_near_the_unit_circle(erased):
    key = torch.eye(2, 4, dtype=torch.float64)[None]
    beta = torch.full((1, 2), erased, dtype=torch.float64)
    found = DeltaProduct(torch.zeros(1, dtype=torch.float64), beta, key).eigenvalues()
    expected = math.log1p(-erased) if erased < 1 else math.log(erased - 1)
    assert found.log_modulus[0].tolist() == pytest.approx([0.0, expected, expected], rel=1e-14)
    assert (found.phase is None) == (erased < 1)


def test_what_is_erased_whole_is_zero_and_nan_is_an_error():
    key = torch.eye(2, 3, dtype=torch.float64)[None]
    beta = torch.tensor([[1.0, 0.5]], dtype=torch.float64)
    found = DeltaProduct(torch.zeros(1, dtype=torch.float64), beta, key).eigenvalues()
    assert sorted(found.modulus[0].tolist()) == [0.0, 0.5, 1.0]
    broken = DeltaProduct(torch.zeros(1), torch.full((1, 2), math.nan), key.float())
    with pytest.raises(FloatingPointError, match="NaN or infinite"):
        broken.eigenvalues()


def several_a_token(tokens=7, heads=3, factors=2, states=5, width=4):
    operator = delta_product((2, tokens, heads, factors, states), seed=1)
    query = torch.randn(2, tokens, heads, states, dtype=torch.float64)
    inputs = torch.randn(2, tokens, heads, factors, width, dtype=torch.float64)
    recurrence = Recurrence(
        operator,
        mode="data",
        gauge="unnormalised",
        head_axis="head",
        width=width,
        input_map=OuterProducts(operator.write_keys()),
        output_map=Contraction(query),
    )
    return recurrence, inputs


def test_values_are_written_one_after_the_other():
    """As the delta rule on n times as many tokens, decayed at the first and read at the last."""
    recurrence, inputs = several_a_token()
    operator, tokens = recurrence.operator, inputs.shape[1]
    decay = torch.zeros_like(operator.beta)
    decay[..., 0] = operator.log_decay
    decay, beta, key, value = (
        part.transpose(2, 3).flatten(1, 2) for part in (decay, operator.beta, operator.key, inputs)
    )
    query = recurrence.output_map.query.repeat_interleave(2, 1)
    longer = Recurrence(
        DeltaRule(decay, beta, key),
        mode="data",
        gauge="unnormalised",
        head_axis="head",
        width=inputs.shape[-1],
        input_map=OuterProduct(key, gain=beta),
        output_map=Contraction(query),
    )
    found = recurrence.run(inputs.flatten(-2))
    expected = longer.run(value)[:, 1::2]
    assert found.shape == (2, tokens, 3, 4)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_several_inputs_are_a_matrix_that_rows_reach_by_its_length():
    recurrence, inputs = several_a_token()
    write = recurrence.input_map
    matrix = write.matrix(3)  # (B, T, H, n, N)
    added = write.at(4, inputs[:, 4].flatten(-2))
    expected = torch.einsum("bhjn,bhjp->bhnp", matrix[:, 4], inputs[:, 4])
    torch.testing.assert_close(added, expected, rtol=1e-13, atol=1e-13)
    rows = torch.randn(2, 6, 3, 5, dtype=torch.float64)
    reached = torch.einsum("brhn,bshjn->brhsj", rows, matrix[:, 2:5]).square().sum(-1).sqrt()
    found = write.reached_by(slice(2, 5), rows)
    torch.testing.assert_close(found, reached, rtol=1e-13, atol=1e-13)
