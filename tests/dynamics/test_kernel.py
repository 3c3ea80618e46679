"""The end-to-end kernel: against matrices multiplied out, and against the recurrence itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from spectrakit.dynamics import (
    ConstantInput,
    ConstantOutput,
    Contraction,
    DiagonalDecay,
    OuterProduct,
    Recurrence,
)
from spectrakit.dynamics.kernel import kernel_rows, mean_log_modulus
from tests.dynamics.test_operators import OPERATORS
from tests.dynamics.test_recurrence import random_recurrence

TIMES = [0, 3, 8]


def multiplied_out(recurrence, heads):
    """k(t, s) of all pairs: (B, H, T, T)."""
    a = recurrence.operator.dense()
    b = recurrence.input_map.matrix(heads).to(a.dtype)
    c = recurrence.output_map.matrix(heads).to(a.dtype)
    batch, tokens = b.shape[:2]
    kernel = torch.zeros(batch, heads, tokens, tokens, dtype=torch.float64)
    for t in range(tokens):
        carried = c[:, t]
        for s in range(t, -1, -1):
            kernel[:, :, t, s] = (carried * b[:, s]).sum(-1).real
            carried = (carried.unsqueeze(-2) @ a[:, s]).squeeze(-2)
    return kernel


@pytest.mark.parametrize("build", OPERATORS.values(), ids=OPERATORS)
@pytest.mark.parametrize("times", [TIMES, [6], [0], list(range(9)), [1, 2, 7]], ids=str)
def test_the_rows_are_those_of_the_matrices_multiplied_out(build, times):
    torch.manual_seed(0)
    recurrence = random_recurrence(build, 2, 9, 2, 3, 4, 1)
    expected = multiplied_out(recurrence, 6)
    found = kernel_rows(recurrence, times)
    assert found.shape == (2, len(times), 6, times[-1] + 1)
    for index, t in enumerate(times):
        torch.testing.assert_close(found[:, index], expected[:, :, t, : times[-1] + 1])


@pytest.mark.parametrize("name", ["diagonal", "rotating", "separable"])
def test_a_constant_and_complex_b_and_c_are_those_of_every_token(name):
    torch.manual_seed(0)
    recurrence = random_recurrence(OPERATORS[name], 2, 9, 2, 3, 4, 1)
    b, c = torch.randn(2, 6, 4, dtype=torch.complex128)
    constant = replace(
        recurrence,
        input_map=ConstantInput(b.unsqueeze(-1)),
        output_map=ConstantOutput(c.unsqueeze(-2)),
    )
    matrices = recurrence.operator.dense().to(torch.complex128)
    found = kernel_rows(constant, [3, 8])
    for index, t in enumerate([3, 8]):
        row = c
        for s in range(t, -1, -1):
            expected = (row * b).sum(-1).real
            torch.testing.assert_close(found[:, index, :, s], expected.expand(2, -1))
            row = (row.unsqueeze(-2) @ matrices[:, s]).squeeze(-2)


def test_decays_far_below_what_floating_point_holds_leave_zeros():
    log_decay = torch.full((1, 9, 1, 2), -400.0, dtype=torch.float64)
    log_decay[..., 1] = -0.1
    ones = torch.ones(1, 9, 1, 2, dtype=torch.float64)
    recurrence = Recurrence(
        DiagonalDecay(log_decay), "data", "unnormalised", "head", 1,
        input_map=OuterProduct(ones), output_map=Contraction(ones),
    )  # fmt: skip
    (row,) = kernel_rows(recurrence, [8])[0, :, 0]
    lags = torch.arange(8, -1, -1).double()
    torch.testing.assert_close(row, torch.exp(-0.1 * lags) + torch.exp(-400 * lags))


def test_the_kernel_is_the_answer_to_an_impulse():
    """A second form: the recurrence run on one non-zero token."""
    torch.manual_seed(1)
    recurrence = random_recurrence(OPERATORS["scalar"], 1, 9, 2, 3, 4, 1)
    rows = kernel_rows(recurrence, TIMES)
    for s in range(9):
        inputs = torch.zeros(1, 9, 6, 1, dtype=torch.float64)
        inputs[:, s] = 1
        without_feedthrough = recurrence.run(inputs) - recurrence.feedthrough[:, None] * inputs
        for index, t in enumerate(TIMES):
            torch.testing.assert_close(rows[0, index, :, s], without_feedthrough[0, t, :, 0])


def test_the_kernel_does_not_depend_on_the_gauge_and_the_eigenvalues_do():
    torch.manual_seed(2)
    recurrence = random_recurrence(OPERATORS["scalar"], 2, 9, 2, 3, 4, 1)
    normalised = Recurrence(
        **{**vars(recurrence), "log_normaliser": torch.randn(2, 9, 6, dtype=torch.float64)}
    )
    other = normalised.in_gauge("dsf")
    assert other.gauge == "dsf"
    torch.testing.assert_close(kernel_rows(other, TIMES), kernel_rows(normalised, TIMES))
    moved = other.eigenvalues().log_modulus - normalised.eigenvalues().log_modulus
    assert moved[:, 1:].abs().min() > 0
    back = other.in_gauge("unnormalised")
    torch.testing.assert_close(back.eigenvalues().log_modulus, normalised.eigenvalues().log_modulus)


def test_a_constant_system_needs_no_tokens():
    torch.manual_seed(3)
    heads, states = 3, 4
    decay = DiagonalDecay(-torch.rand(heads, states).double(), torch.randn(heads, states).double())
    b = torch.randn(heads, states, 1, dtype=torch.complex128)
    c = torch.randn(heads, 1, states, dtype=torch.complex128)
    recurrence = Recurrence(
        decay, "static", "unnormalised", "channel", 1,
        input_map=ConstantInput(b), output_map=ConstantOutput(c),
    )  # fmt: skip
    (row,) = kernel_rows(recurrence, [7])[0]
    powers = decay.eigenvalues().values[:, None] ** torch.arange(8)[:, None]
    expected = (c.squeeze(1)[:, None] * powers * b.squeeze(-1)[:, None]).sum(-1).real
    torch.testing.assert_close(row.flip(-1), expected)


@pytest.mark.parametrize("build", OPERATORS.values(), ids=OPERATORS)
def test_the_mean_log_modulus_is_that_of_the_determinant(build):
    operator = build((2, 5), 3, 4, torch.float64)
    log_determinant = torch.linalg.slogdet(operator.dense()).logabsdet.real
    torch.testing.assert_close(mean_log_modulus(operator), log_determinant / 4)


@pytest.mark.parametrize("name", ["scalar", "diagonal"])
def test_nothing_is_carried_through_a_decay_to_nothing(name):
    torch.manual_seed(3)
    recurrence = random_recurrence(OPERATORS[name], 2, 9, 2, 3, 4, 1)
    recurrence.operator.log_decay[:, 4] = -torch.inf
    found = kernel_rows(recurrence, TIMES)
    expected = multiplied_out(recurrence, 6)
    for index, t in enumerate(TIMES):
        torch.testing.assert_close(found[:, index], expected[:, :, t, :9])
    assert not found[:, 2, :, :4].any()
