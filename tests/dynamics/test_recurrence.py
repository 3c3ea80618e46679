"""The recurrence against its kernel form: y_t = sum_s C_t A_t ... A_{s+1} B_s u_s + D u_t."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.dynamics import (
    ConstantInput,
    ConstantOutput,
    Contraction,
    Dense,
    DiagonalDecay,
    DiscreteEigenvalues,
    OuterProduct,
    Recurrence,
)
from tests.dynamics.test_operators import OPERATORS


def random_recurrence(build, batch, tokens, groups, per_group, states, width):
    heads = groups * per_group
    return Recurrence(
        build((batch, tokens), heads, states, torch.float64),
        mode="data",
        gauge="unnormalised",
        head_axis="head",
        width=width,
        input_map=OuterProduct(
            torch.randn(batch, tokens, groups, states, dtype=torch.float64),
            gain=torch.rand(batch, tokens, heads, dtype=torch.float64),
        ),
        output_map=Contraction(torch.randn(batch, tokens, groups, states, dtype=torch.float64)),
        feedthrough=torch.randn(heads, dtype=torch.float64),
    )


def kernel_form(recurrence, inputs):
    """All pairs of tokens, with every matrix multiplied out."""
    tokens, heads = inputs.shape[1:3]
    a = recurrence.operator.dense()
    b = recurrence.input_map.matrix(heads).to(a.dtype)
    c = recurrence.output_map.matrix(heads).to(a.dtype)
    y = recurrence.feedthrough[:, None] * inputs
    y = y.to(a.dtype)
    for t in range(tokens):
        carried = c[:, t]  # C_t A_t ... A_{s+1}
        for s in range(t, -1, -1):
            weight = (carried * b[:, s]).sum(-1)
            y[:, t] += weight.unsqueeze(-1) * inputs[:, s]
            carried = torch.einsum("bhn,bhnm->bhm", carried, a[:, s])
    return y


shapes = st.tuples(
    st.integers(1, 2), st.integers(1, 9), st.integers(1, 2), st.integers(1, 3),
    st.integers(1, 4), st.integers(1, 3),
)  # fmt: skip


@pytest.mark.parametrize("name", [name for name in OPERATORS if name != "rotating"])
@given(shape=shapes, seed=st.integers(0, 2**16))
def test_run_is_the_kernel_form(name, shape, seed):
    torch.manual_seed(seed)
    recurrence = random_recurrence(OPERATORS[name], *shape)
    batch, tokens, groups, per_group, _, width = shape
    inputs = torch.randn(batch, tokens, groups * per_group, width, dtype=torch.float64)
    torch.testing.assert_close(
        recurrence.run(inputs), kernel_form(recurrence, inputs), rtol=1e-10, atol=1e-10
    )


def test_a_later_state_continues_the_sequence():
    torch.manual_seed(0)
    a = torch.diag(torch.tensor([0.9, 0.5], dtype=torch.float64)).expand(1, 6, 1, 2, 2)
    key, query = torch.randn(2, 1, 6, 1, 2, dtype=torch.float64)
    inputs = torch.randn(1, 6, 1, 1, dtype=torch.float64)

    def part(begin, end):
        return Recurrence(
            Dense(a[:, begin:end]),
            mode="data",
            gauge="unnormalised",
            head_axis="head",
            width=1,
            input_map=OuterProduct(key[:, begin:end]),
            output_map=Contraction(query[:, begin:end]),
        )

    state = torch.zeros(1, 1, 2, 1, dtype=torch.float64)
    for t in range(3):
        state = a[:, t] @ state + key[:, t, :, :, None] * inputs[:, t, :, None, :]
    whole = part(0, 6).run(inputs)
    torch.testing.assert_close(part(3, 6).run(inputs[:, 3:], state), whole[:, 3:])
    assert not torch.allclose(part(3, 6).run(inputs[:, 3:]), whole[:, 3:])


def test_a_recurrence_without_input_maps_says_so():
    recurrence = Recurrence(
        Dense(torch.eye(2).expand(1, 2, 2)),
        mode="nominal",
        gauge="unnormalised",
        head_axis="head",
        width=1,
    )
    with pytest.raises(ValueError, match="nominal recurrence has no input and output maps"):
        recurrence.run(torch.zeros(1, 3, 1, 1))


def test_domains_are_different_types():
    generator = torch.tensor([[-0.8], [-2.0]])
    recurrence = Recurrence(
        Dense(torch.eye(1).expand(2, 1, 1)),
        mode="nominal",
        gauge="unnormalised",
        head_axis="head",
        width=3,
        generator=generator,
    )
    continuous = recurrence.continuous_eigenvalues()
    assert continuous.multiplicity == 3
    assert continuous.spectral_abscissa.tolist() == pytest.approx([-0.8, -2.0])
    # The discrete test cannot even be asked of a continuous spectrum, nor the other way round.
    assert not hasattr(continuous, "spectral_radius")
    assert not hasattr(recurrence.eigenvalues(), "spectral_abscissa")


def test_a_static_recurrence_runs_without_leading_axes():
    """One diagonal complex system, driven and read by constant matrices: against its powers."""
    torch.manual_seed(5)
    decay = DiagonalDecay(-torch.rand(1, 3).double(), torch.randn(1, 3).double())
    b = torch.randn(1, 3, 2, dtype=torch.complex128)
    c = torch.randn(1, 2, 3, dtype=torch.complex128)
    d = torch.randn(1, 2, dtype=torch.float64)
    recurrence = Recurrence(
        decay, "static", "unnormalised", "head", 1,
        input_map=ConstantInput(b), output_map=ConstantOutput(c), feedthrough=d,
    )  # fmt: skip
    inputs = torch.randn(2, 6, 1, 2, dtype=torch.float64)
    matrix = decay.dense()[0]
    expected = inputs * d
    for t in range(6):
        for s in range(t + 1):
            kernel = (c[0] @ torch.linalg.matrix_power(matrix, t - s) @ b[0]).real
            expected[:, t, 0] += inputs[:, s, 0] @ kernel.T
    torch.testing.assert_close(recurrence.run(inputs), expected)


def test_a_feedthrough_may_vary():
    torch.manual_seed(6)
    recurrence = random_recurrence(OPERATORS["scalar"], 1, 4, 1, 2, 3, 2)
    inputs = torch.randn(1, 4, 2, 2, dtype=torch.float64)
    varying = torch.randn(1, 4, 2, 1, dtype=torch.float64)
    without = replace(recurrence, feedthrough=None).run(inputs)
    found = replace(recurrence, feedthrough=varying).run(inputs)
    torch.testing.assert_close(found, without + varying * inputs)


def test_unequal_multiplicities_are_counted_as_such():
    once_and_thrice = DiscreteEigenvalues(torch.tensor([[-1.0, -2.0]]), multiplicity=(1, 3)).times(
        2
    )
    assert once_and_thrice.multiplicities == (2, 6)
    parts = [(part.log_modulus.tolist(), n) for part, n in once_and_thrice.by_multiplicity()]
    assert parts == [([[-1.0]], 2), ([[-2.0]], 6)]


def test_eigenvalues_of_weights_are_computed_once_and_those_of_tokens_are_not_kept():
    observed = random_recurrence(OPERATORS["dense"], 1, 3, 1, 2, 4, 1)
    assert observed.eigenvalues() is not observed.eigenvalues()
    nominal = replace(observed, operator=observed.at(0), mode="nominal")
    assert nominal.eigenvalues() is nominal.eigenvalues()
    expected = nominal.operator.eigenvalues().log_modulus
    assert torch.equal(nominal.eigenvalues().log_modulus, expected)
