"""Observed memory: leverage scores of the columns of [Phi(t, s) B_s]."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.dynamics import (
    ConstantInput,
    DeltaProduct,
    DeltaRule,
    DiagonalDecay,
    DiagonalPlusRankOne,
    OuterProduct,
    OuterProducts,
    Recurrence,
    ScalarDecay,
    ScaledInput,
    SeparableDecay,
    ShiftRegister,
)
from spectrakit.dynamics.delays import Delays
from spectrakit.dynamics.fixed_memory import fixed_memory
from spectrakit.dynamics.key_kernel import key_kernel_rank
from spectrakit.dynamics.leverage import leverage
from spectrakit.dynamics.memory_function import memory_of_poles
from spectrakit.dynamics.observed_memory import observed_memories, observed_memory
from spectrakit.dynamics.poles import Poles
from spectrakit.dynamics.rounded_memory import rounding_variance

TOKENS, HEADS, STATES = 24, 2, 5


def recurrence(operator, write, mode="data", starts=None):
    return Recurrence(
        operator, mode=mode, gauge="unnormalised", head_axis="head", width=1,
        input_map=write, starts=starts,
    )  # fmt: skip


def decays(*shape, scale=1.0):
    return -scale * torch.rand(1, TOKENS, HEADS, *shape, dtype=torch.float64)


def keys(heads=1):
    return torch.randn(1, TOKENS, heads, STATES, dtype=torch.float64)


def unit_keys(*shape):
    return torch.nn.functional.normalize(
        torch.randn(1, TOKENS, HEADS, *shape, STATES, dtype=torch.float64), dim=-1
    )


OPERATORS = {
    "scalar": lambda: ScalarDecay(decays(), STATES),
    "diagonal": lambda: DiagonalDecay(decays(STATES)),
    "rotating": lambda: DiagonalDecay(decays(STATES), -3 * decays(STATES)),
    "separable": lambda: SeparableDecay(
        -decays(), torch.arange(1, STATES + 1, dtype=torch.float64).expand(HEADS, -1) / 4
    ),
    "delta": lambda: DeltaRule(decays(), -2 * decays(), unit_keys()),
    "product": lambda: DeltaProduct(decays(), -decays(2), unit_keys(2)),
    "kimi": lambda: DiagonalPlusRankOne.decay_then_erase(decays(STATES), -decays(), unit_keys()),
    "strong scalar": lambda: ScalarDecay(decays(scale=400), STATES),
    "strong delta": lambda: DeltaRule(decays(scale=400), -2 * decays(), unit_keys()),
}


def exactly(operator, written, head, t, digits=60):
    """Leverage in many digits: matrices and vectors multiplied out."""
    log_scale = [0.0] * (t + 1)
    if isinstance(operator, (ScalarDecay, DeltaRule)):  # its decay may underflow
        log_scale = operator.log_decay[0, :, head].tolist()
        operator = operator.scaled(-operator.log_decay)
    matrices = operator.dense()[0, :, head]
    with mp.workdps(digits):
        product, columns = mp.eye(STATES), []
        for s in range(t, -1, -1):
            vectors = np.atleast_2d(written[0, s, head].numpy()).tolist()
            columns += [product * mp.matrix(vector) for vector in vectors]
            factor = mp.exp(mp.mpf(log_scale[s]))
            product = product * mp.matrix(matrices[s].tolist()) * factor
        X = mp.matrix([[column[i] for column in columns] for i in range(STATES)])
        if X.cols <= STATES:
            return np.ones(t + 1)
        solved = mp.inverse(X * X.H) * X
        scores = [
            float(mp.re(sum(mp.conj(X[i, j]) * solved[i, j] for i in range(STATES))))
            for j in range(X.cols)
        ]
    return np.array(scores).reshape(t + 1, -1).sum(1)


@pytest.mark.parametrize("build", OPERATORS.values(), ids=OPERATORS)
@pytest.mark.parametrize("t", [2, TOKENS - 1])
def test_memory_is_that_of_many_digits(build, t):
    torch.manual_seed(0)
    operator, write = build(), OuterProduct(keys(), gain=-decays())
    strong = float(operator.eigenvalues().log_modulus.min()) < -50
    t, digits = (min(t, 8), 3000) if strong else (t, 60)
    found = observed_memory(recurrence(operator, write), 0, t)
    for head in range(HEADS):
        expected = exactly(operator, write.matrix(HEADS), head, t, digits)
        np.testing.assert_allclose(found[head], expected, atol=1e-10)
    np.testing.assert_allclose(found.sum(1), min(STATES, t + 1), atol=1e-10)


def test_several_inputs_of_a_token_count_together():
    torch.manual_seed(0)
    operator = ScalarDecay(decays(), STATES)
    write = OuterProducts(torch.randn(1, TOKENS, HEADS, 2, STATES, dtype=torch.float64))
    found = observed_memory(recurrence(operator, write), 0, TOKENS - 1)
    np.testing.assert_allclose(found[1], exactly(operator, write.key, 1, TOKENS - 1), atol=1e-12)
    assert found[1, 0] > 1


@pytest.mark.parametrize("build", [OPERATORS["scalar"], OPERATORS["delta"]])
def test_a_gauge_does_not_change_it(build):
    torch.manual_seed(0)
    operator, write = build(), OuterProduct(keys())
    log_scale = 30 * torch.randn(1, TOKENS, HEADS, dtype=torch.float64)
    change = torch.zeros_like(log_scale)
    change[:, 1:] = log_scale[:, 1:] - log_scale[:, :-1]
    turned = recurrence(operator.scaled(change), ScaledInput(write, log_scale))
    found = observed_memory(recurrence(operator, write), 0, TOKENS - 1)
    again = observed_memory(turned, 0, TOKENS - 1)
    np.testing.assert_allclose(found, again, atol=1e-9)


#: Rates of a system that does not vary.
RATES = torch.tensor([0.1, 0.4, 1.0, 2.0], dtype=torch.float64)


@pytest.mark.parametrize("form", ["separable", "diagonal", "fixed"])
def test_where_nothing_varies_it_is_the_fixed_memory_function(form):
    tokens = 400
    ones = torch.ones(1, tokens, 1, 4, dtype=torch.float64)
    operator = {
        "separable": SeparableDecay(ones[..., 0], RATES.unsqueeze(0)),
        "diagonal": DiagonalDecay(-ones * RATES),
        "fixed": DiagonalDecay(-RATES.unsqueeze(0)),
    }[form]
    one = recurrence(operator, OuterProduct(ones), "static" if form == "fixed" else "data")
    found = observed_memory(one, 0, tokens - 1)[0]
    poles = Poles.distinct(DiagonalDecay(-RATES.unsqueeze(0)).eigenvalues())
    (fixed,) = memory_of_poles(poles, Delays(256))
    np.testing.assert_allclose(found[fixed.delays], fixed.memory[0], atol=1e-12)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("several", [1, 2], ids=["one input", "two inputs"])
def test_rounding_is_noise_in_every_entry_at_every_token(name, several):
    """A second form: every rounding of every entry is an input of its own, beside the tokens'."""
    torch.manual_seed(0)
    operator = OPERATORS[name]()
    write = OuterProducts(torch.randn(1, TOKENS, HEADS, several, STATES, dtype=torch.float64))
    found = observed_memories(
        recurrence(operator, write), 0, TOKENS - 1, precisions=("bfloat16", "float32")
    )
    matrices, written = operator.dense()[0, :, 1].numpy(), write.key[0, :, 1].numpy()
    for precision in ("bfloat16", "float32"):
        inputs = np.zeros((STATES, 0))
        roundings = np.zeros((STATES, 0))
        for matrix, keys in zip(matrices, written, strict=True):
            inputs = np.hstack([matrix @ inputs, keys.T])
            deviation = np.linalg.norm(inputs, axis=1) * rounding_variance(precision) ** 0.5
            roundings = np.hstack([matrix @ roundings, np.diag(deviation)])
        basis = np.linalg.qr(np.vstack([inputs.conj().T, roundings.conj().T]))[0]
        expected = (np.abs(basis[: TOKENS * several]) ** 2).sum(1).reshape(TOKENS, -1).sum(1)
        np.testing.assert_allclose(found[precision][1], expected[::-1], rtol=0, atol=1e-8)


def test_rounded_where_nothing_varies_it_is_the_fixed_memory_of_rounded_states():
    tokens = 400
    operator = DiagonalDecay(-torch.ones(1, tokens, 1, 4, dtype=torch.float64) * RATES)
    one = recurrence(operator, OuterProduct(torch.ones(1, tokens, 1, 4, dtype=torch.float64)))
    precisions = ("bfloat16", "float16", "float32")
    found = observed_memories(one, 0, tokens - 1, precisions=precisions)
    fixed = fixed_memory(
        recurrence(DiagonalDecay(-RATES.unsqueeze(0)), None, "nominal"), Delays(256),
        precisions=precisions,
    )  # fmt: skip
    for precision in precisions:
        function = fixed.rounded[precision]
        np.testing.assert_allclose(
            found[precision][0][function.delays], function.memory[0], atol=1e-9
        )


@pytest.mark.parametrize("name", ["delta", "kimi"])
def test_a_diagonal_rule_written_as_a_delta_rule_is_rounded_alike(name):
    """Where nothing is erased a delta rule is a decay, and the two ways to the noise are one."""
    torch.manual_seed(0)
    nothing = torch.zeros(1, TOKENS, HEADS, dtype=torch.float64)
    if name == "delta":
        decay = decays()
        mixed, diagonal = DeltaRule(decay, nothing, unit_keys()), ScalarDecay(decay, STATES)
    else:
        decay = decays(STATES)
        mixed = DiagonalPlusRankOne.decay_then_erase(decay, nothing, unit_keys())
        diagonal = DiagonalDecay(decay)
    write = OuterProduct(keys(), gain=-decays())
    found, expected = (
        observed_memories(recurrence(one, write), 0, TOKENS - 1, precisions=("float16",))
        for one in (mixed, diagonal)
    )
    np.testing.assert_allclose(found["float16"], expected["float16"], atol=1e-10)


@pytest.mark.parametrize("left", [1e-3, 1e-9, 0.0])
def test_a_signal_that_is_erased_while_its_noise_stays_is_no_trouble(left):
    """The noise is then singular to float64: what lies beside it may be lost, not invented."""
    key = torch.full((1, TOKENS, HEADS, STATES), STATES**-0.5, dtype=torch.float64)
    gain = torch.ones(1, TOKENS, HEADS, dtype=torch.float64)
    nothing = torch.zeros(1, TOKENS, HEADS, STATES, dtype=torch.float64)
    operator = DiagonalPlusRankOne.decay_then_erase(nothing, gain, key)
    written = gain.clone()
    written[:, 9:] = left
    one = recurrence(operator, OuterProduct(key, gain=written))
    found = observed_memories(one, 0, TOKENS - 1, precisions=("float32",))
    assert np.isfinite(found["float32"]).all()
    assert (found["float32"] <= found["exact"] + 1e-9).all()
    assert (found["float32"] >= 0).all()


def test_the_noise_of_a_mixed_state_does_not_depend_on_a_gauge():
    torch.manual_seed(0)
    operator, write = OPERATORS["delta"](), OuterProduct(keys())
    log_scale = 30 * torch.randn(1, TOKENS, HEADS, dtype=torch.float64)
    change = torch.zeros_like(log_scale)
    change[:, 1:] = log_scale[:, 1:] - log_scale[:, :-1]
    turned = recurrence(operator.scaled(change), ScaledInput(write, log_scale))
    found, again = (
        observed_memories(one, 0, TOKENS - 1, precisions=("bfloat16",))
        for one in (recurrence(operator, write), turned)
    )
    np.testing.assert_allclose(found["bfloat16"], again["bfloat16"], atol=1e-9)


def test_a_shift_register_remembers_its_length():
    write = ConstantInput(torch.eye(4)[:1].mT.expand(2, 4, 1))
    one = recurrence(ShiftRegister(2, 4), write, "static")
    found = observed_memory(one, 0, 9)
    assert found.tolist() == [[1.0] * 4 + [0.0] * 6] * 2


def test_what_lies_before_a_start_is_gone():
    torch.manual_seed(0)
    operator, write = OPERATORS["scalar"](), OuterProduct(keys())
    starts = torch.zeros(1, TOKENS, dtype=torch.bool)
    starts[0, [0, 7]] = True
    found = observed_memory(recurrence(operator, write, starts=starts), 0, 16)
    since = observed_memory(recurrence(operator, write), 0, 16, first=7)
    np.testing.assert_array_equal(found[0, :10], since[0])
    assert found.shape == (HEADS, 17)
    assert found[0, 10:].tolist() == [0.0] * 7


def test_a_sequence_may_begin_later():
    torch.manual_seed(0)
    operator, write = OPERATORS["delta"](), OuterProduct(keys())
    found = observed_memory(recurrence(operator, write), 0, 12, first=5)
    part = DeltaRule(operator.log_decay[:, 5:], operator.beta[:, 5:], operator.key[:, 5:])
    later = recurrence(part, OuterProduct(write.key[:, 5:]))
    np.testing.assert_allclose(found, observed_memory(later, 0, 7), atol=1e-14)


def test_a_decay_to_nothing_leaves_the_last_input():
    log_decay = torch.full((1, 4, 1), -math.inf, dtype=torch.float64)
    key = torch.randn(1, 4, 1, 3, dtype=torch.float64)
    one = recurrence(ScalarDecay(log_decay, 3), OuterProduct(key))
    assert observed_memory(one, 0, 3).tolist() == [[1.0, 0.0, 0.0, 0.0]]


def test_inputs_that_are_not_known():
    one = recurrence(OPERATORS["scalar"](), None)
    with pytest.raises(ValueError, match="no input map"):
        observed_memory(one, 0, 3)


def test_a_nan_is_refused():
    key = keys()
    key[0, 3] = math.nan
    with pytest.raises(FloatingPointError, match="NaN or infinite"):
        observed_memory(recurrence(OPERATORS["scalar"](), OuterProduct(key)), 0, 5)


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 1000))
def test_leverage_is_the_diagonal_of_the_projector(rows, columns, seed):
    X = np.random.default_rng(seed).normal(size=(rows, columns))
    expected = np.diag(X @ np.linalg.pinv(X))
    np.testing.assert_allclose(leverage(X, np.zeros(rows)), expected, atol=1e-8)


def test_leverage_of_rows_that_differ_beyond_floating_point():
    """A direction that only a tiny row has belongs to that row."""
    X = np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0], [0.3, 0.4, 1], [5, 6, 1]])
    scores = leverage(X, np.array([0.0, -5000, -9000, -20000, -20000.0]))
    # The second row has all of its direction; the last two share what is left, evenly.
    np.testing.assert_allclose(scores, [1, 1, 0, 0.5, 0.5], atol=1e-12)


def test_leverage_of_rows_that_depend_on_each_other():
    X = np.outer([1.0, 2, 3], [1.0, 1, 1])
    np.testing.assert_allclose(leverage(X, np.zeros(3)), np.array([1, 4, 9]) / 14, atol=1e-14)
    assert leverage(np.zeros((3, 2)), np.zeros(3)).tolist() == [0, 0, 0]


def test_keys_are_told_apart():
    torch.manual_seed(0)
    keys = 10 * torch.randn(20, 8)
    assert key_kernel_rank(keys, 1.0) == 20
    assert key_kernel_rank(torch.cat([keys, keys[:5]]), 1.0) == 20
    assert key_kernel_rank(keys[:1].expand(7, -1), 0.3) == 1
    # A kernel that falls off slowly is a polynomial of low degree in its argument.
    line = torch.linspace(0, 1, 50).unsqueeze(-1)
    assert key_kernel_rank(line, 1.0) < 8
    with pytest.raises(FloatingPointError, match="a key is NaN"):
        key_kernel_rank(torch.tensor([[math.nan]]), 1.0)
