"""Operators that spectrakit does not know: every function of them is right or says what is missing.

What is expected is computed from their matrices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spectrakit.dynamics import (
    ConstantInput,
    ConstantOutput,
    Contraction,
    Dense,
    LyapunovSum,
    OuterProduct,
    Poles,
    Recurrence,
    UnknownOperatorError,
    heads_of,
    in_double,
    poles_of,
    sequence_of,
)
from spectrakit.dynamics.delays import Delays
from spectrakit.dynamics.diagonal_products import products_to_last
from spectrakit.dynamics.fixed_memory import fixed_memory
from spectrakit.dynamics.kernel import kernel_rows, mean_log_modulus
from spectrakit.dynamics.observed_memory import observed_memories
from spectrakit.dynamics.part import some_heads
from spectrakit.errors import UnsupportedError
from spectrakit.extraction import Extraction
from spectrakit.testing.operator_checks import agrees_with_its_matrices, has_its_poles
from tests.dynamics.against_dense import assert_actions, assert_eigenvalues
from tests.dynamics.foreign_operators import (
    BATCH,
    HEADS,
    STATES,
    TOKENS,
    Listed,
    circulant,
    fresh,
    reflections,
    register,
)
from tests.dynamics.transitions import exact_growth

CHOSEN = [3, 1]

BUILDS = {f.__name__: f for f in (circulant, reflections)}
each_operator = pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)


def observed(operator, dtype=torch.float64, **more):
    torch.manual_seed(1)
    return Recurrence(
        operator,
        mode="data",
        gauge="unnormalised",
        head_axis="head",
        width=1,
        input_map=OuterProduct(torch.randn(BATCH, TOKENS, HEADS, STATES, dtype=dtype)),
        output_map=Contraction(torch.randn(BATCH, TOKENS, HEADS, STATES, dtype=dtype)),
        **more,
    )


def static(operator):
    return Recurrence(operator, "static", "unnormalised", "channel", width=1)


# ---- with nothing registered ------------------------------------------------------------------


@each_operator
def test_the_protocol_is_kept(build):
    """Otherwise the rest would say nothing."""
    assert_eigenvalues(build(), 1e-12)
    assert_actions(build(), TOKENS)


@each_operator
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_exponents_are_those_of_the_matrices(build, dtype):
    operator = build(dtype=dtype)
    growth = LyapunovSum()
    growth.add(operator, torch.ones(BATCH, TOKENS, dtype=torch.bool))
    found = growth.exponents()
    matrices = in_double(operator).dense()
    for head in range(HEADS):
        expected = sum(exact_growth(one[:, head], 60) for one in matrices) / (BATCH * TOKENS)
        every = found.exponents[head].repeat_interleave(found.multiplicity[head])
        np.testing.assert_allclose(every, expected, rtol=1e-8, atol=1e-8)


@each_operator
def test_kernels_are_products_of_the_matrices(build):
    recurrence = observed(build())
    times = [2, TOKENS - 1]
    found = kernel_rows(recurrence, times)
    matrices = recurrence.operator.dense()
    for index, t in enumerate(times):
        row = recurrence.output_map.query[:, t]
        for s in range(t, -1, -1):
            expected = (row * recurrence.input_map.key[:, s]).sum(-1)
            torch.testing.assert_close(found[:, index, :, s], expected, rtol=1e-10, atol=1e-12)
            row = torch.einsum("bhn,bhnm->bhm", row, matrices[:, s])
    expected = torch.linalg.slogdet(matrices).logabsdet / STATES
    torch.testing.assert_close(mean_log_modulus(recurrence.operator), expected)


@each_operator
@pytest.mark.parametrize("first", [0, 1])
def test_memory_at_a_token_is_that_of_the_matrices(build, first):
    recurrence = observed(build())
    t = TOKENS - 1
    found = observed_memories(recurrence, 1, t, first, ["bfloat16"])
    matrices = recurrence.operator.dense()
    for head in range(HEADS):
        carried, columns = torch.eye(STATES, dtype=torch.float64), []
        for s in range(t, first - 1, -1):
            columns.append(carried @ recurrence.input_map.key[1, s, head])
            carried = carried @ matrices[1, s, head]
        columns = torch.stack(columns, -1).numpy()
        expected = np.diagonal(np.linalg.pinv(columns) @ columns)
        np.testing.assert_allclose(found["exact"][head], expected, atol=1e-9)
    dense = observed(Dense(matrices))
    for reading, memory in observed_memories(dense, 1, t, first, ["bfloat16"]).items():
        np.testing.assert_allclose(found[reading], memory, atol=1e-9)


@each_operator
def test_memory_of_an_operator_without_tokens_at_a_token(build):
    one = build(lead=())
    every = Dense(one.dense().expand(BATCH, TOKENS, -1, -1, -1))
    found = observed_memories(replace(observed(one), mode="static"), 1, TOKENS - 1)
    expected = observed_memories(observed(every), 1, TOKENS - 1)
    np.testing.assert_allclose(found["exact"], expected["exact"], atol=1e-9)


@each_operator
def test_another_gauge_is_the_same_layer(build):
    torch.manual_seed(2)
    normaliser = torch.randn(BATCH, TOKENS, HEADS, dtype=torch.float64)
    recurrence = observed(build(), log_normaliser=normaliser)
    inputs = torch.randn(BATCH, TOKENS, HEADS, 1, dtype=torch.float64)
    found = recurrence.in_gauge("dsf").run(inputs)
    torch.testing.assert_close(found, recurrence.run(inputs), rtol=1e-10, atol=1e-10)


@each_operator
def test_it_has_no_logarithm_of_one_eigenvalue(build):
    """Which only a scalar A_t has."""
    odds = torch.zeros(BATCH, TOKENS, HEADS, dtype=torch.float64)
    recurrence = observed(build(), log_odds=odds, log_normaliser=odds)
    with pytest.raises(ValueError, match="A_t is no number: .* has several eigenvalues"):
        recurrence.in_gauge("retained")


@each_operator
def test_its_matrices_are_extracted(build):
    operator, extraction = build(), Extraction()
    extraction.add(SimpleNamespace(index=4), observed(operator), "a-bar")
    assert torch.equal(extraction.tensors["layers.4.A_bar"], operator.dense())


@each_operator
@pytest.mark.parametrize(
    ("function", "ask", "unknown"),
    [
        (heads_of, lambda o: some_heads(observed(o), CHOSEN), "which axes of its tensors"),
        (heads_of, lambda o: agrees_with_its_matrices(observed(o), 3, 1e-9), "which axes"),
        (products_to_last, lambda o: products_to_last(o, slice(None)), "eigenbasis of A"),
    ],
    ids=["some heads", "conformance", "products"],
)
def test_what_would_be_guessed_is_an_error_that_says_what_to_register(
    build, function, ask, unknown
):
    assert_raises(build(), function, ask, unknown)


@each_operator
@pytest.mark.parametrize(
    "ask",
    [lambda o: fixed_memory(static(o), Delays(64)), lambda o: has_its_poles(o, 1e-9)],
    ids=["memory", "conformance"],
)
def test_whether_it_has_jordan_blocks_is_not_guessed(build, ask):
    assert_raises(build(lead=()), poles_of, ask, "diagonalisable")


def assert_raises(operator, function, ask, unknown):
    with pytest.raises(UnknownOperatorError, match=unknown) as caught:
        ask(operator)
    error = caught.value
    assert isinstance(error, UnsupportedError)
    assert error.message.startswith(
        f"{function.__name__} has no implementation for the operator '{operator.structure}' "
        f"(tests.dynamics.foreign_operators.{type(operator).__name__}): "
    )
    assert error.hint == (
        f"in its plugin, @{function.__module__}.{function.__name__}.register"
        f"({type(operator).__name__}); docs/plugins.md, 'An operator of your own'"
    )


# ---- with what it takes registered ------------------------------------------------------------


@each_operator
def test_some_heads_behave_as_they_do_among_all(build):
    whole = observed(register(build()))
    some = some_heads(whole, CHOSEN)
    assert (some.operator.heads, some.operator.state_size) == (len(CHOSEN), STATES)
    assert torch.equal(some.operator.dense(), whole.operator.dense()[:, :, CHOSEN])
    torch.testing.assert_close(kernel_rows(some, [1, 4]), kernel_rows(whole, [1, 4])[:, :, CHOSEN])
    for reading, memory in observed_memories(some, 0, 4, 0, ["float16"]).items():
        expected = observed_memories(whole, 0, 4, 0, ["float16"])[reading][CHOSEN]
        np.testing.assert_allclose(memory, expected, atol=1e-10)


@pytest.mark.parametrize("past", ["infinite", "horizon"])
def test_fixed_memory_is_that_of_the_matrices(past):
    operator = register(circulant(lead=()))
    found = fixed_memory(static(operator), Delays(64), past, ["bfloat16"])
    assert found.rounded == {}  # in which basis its state is stored is not known
    expected = fixed_memory(static(Dense(operator.dense())), Delays(64), past)
    np.testing.assert_allclose(found.exact.memory, expected.exact.memory, atol=1e-9)


@each_operator
def test_it_passes_the_checks_of_the_kit(build):
    agrees_with_its_matrices(observed(register(build())), TOKENS - 1, 1e-9)
    one = register(build(lead=()))
    agrees_with_its_matrices(static(one), 0, 1e-9)
    has_its_poles(one, 1e-9)


@each_operator
def test_the_kit_sees_heads_that_are_not_those(build):
    """As the axis of a built-in operator's heads would give."""
    operator = build()
    kind = type(operator)

    @heads_of.register(kind)
    def _(operator, heads, *, by_token):
        here = list(heads)
        if operator.structure == "circulant":
            return kind(operator.taps[:, :, here])
        return kind(operator.keys[:, :, here], operator.strength[:, :, here])

    with pytest.raises(Exception, match="some heads|shape"):
        agrees_with_its_matrices(observed(operator), TOKENS - 1, 1e-9)


# ---- other layouts ----------------------------------------------------------------------------


def test_tensors_that_cannot_be_seen_are_not_left_in_single_precision():
    torch.manual_seed(0)
    matrices = torch.randn(BATCH, TOKENS, 2, 3, 3)
    operator = fresh(Listed)(list(matrices.unbind(2)))
    kind = type(operator)
    valid = torch.ones(BATCH, TOKENS, dtype=torch.bool)
    for ask in (
        in_double,
        lambda o: LyapunovSum().add(o, valid),
        lambda o: sequence_of(o, 0, slice(0, TOKENS), by_token=True).at(1),
    ):
        with pytest.raises(UnknownOperatorError, match="where it keeps its tensors"):
            ask(operator)
    in_double.register(kind, lambda o: kind([matrix.double() for matrix in o.matrices]))
    found, expected = LyapunovSum(), LyapunovSum()
    found.add(operator, valid)
    expected.add(Dense(matrices.double()), valid)
    torch.testing.assert_close(
        found.exponents().exponents, expected.exponents().exponents, rtol=1e-9, atol=1e-9
    )


def test_what_counts_something_is_not_made_a_fraction():
    @dataclass(frozen=True)
    class Permuted:
        order: torch.Tensor
        decay: torch.Tensor

    wide = in_double(Permuted(torch.tensor([1, 0]), torch.tensor([0.5])))
    assert (wide.order.dtype, wide.decay.dtype) == (torch.int64, torch.float64)


def test_jordan_blocks_count_every_time():
    """[a, 0; 1, a] remembers as the poles a, a do, not as one of them."""
    matrix = torch.tensor([[0.5, 0], [1, 0.5]], dtype=torch.float64)
    operator = fresh(Listed)([matrix])
    poles_of.register(type(operator), lambda o: Poles.every(o.eigenvalues()))
    found = fixed_memory(static(operator), Delays(256)).exact
    impulse = [torch.tensor([1.0, 0], dtype=torch.float64)]
    for _ in range(255):
        impulse.append(matrix @ impulse[-1])
    columns = torch.stack(impulse, -1).numpy()
    expected = np.diagonal(np.linalg.pinv(columns) @ columns)
    np.testing.assert_allclose(found.memory[0, :64], expected[:64], atol=1e-6)
    assert found.rank.tolist() == [2]


# ---- maps -------------------------------------------------------------------------------------


class OwnInput(SimpleNamespace):
    """An input map that has no more than `matrix`."""

    def matrix(self, heads):
        assert heads == HEADS
        return self.weight


class OwnOutput(OwnInput):
    """The same of an output map."""


@pytest.mark.parametrize("lead", [(BATCH, TOKENS), (1, 1)], ids=["by token", "constant"])
def test_heads_of_maps_of_a_plugin_are_those_of_their_matrices(lead):
    torch.manual_seed(3)
    write = OwnInput(weight=torch.randn(*lead, HEADS, STATES, dtype=torch.float64))
    read = OwnOutput(weight=torch.randn(*lead, HEADS, STATES, dtype=torch.float64))
    operator = register(circulant())
    some = some_heads(replace(observed(operator), input_map=write, output_map=read), CHOSEN)
    if lead == (1, 1):
        known = (
            ConstantInput(write.weight[0, 0].unsqueeze(-1)),
            ConstantOutput(read.weight[0, 0].unsqueeze(-2)),
        )
    else:
        known = OuterProduct(write.weight), Contraction(read.weight)
    whole = replace(observed(operator), input_map=known[0], output_map=known[1])
    expected = kernel_rows(whole, [1, 4])[:, :, CHOSEN]
    torch.testing.assert_close(kernel_rows(some, [1, 4]).expand_as(expected), expected)
    own = observed_memories(replace(whole, input_map=write), 1, 4)["exact"]
    np.testing.assert_allclose(own, observed_memories(whole, 1, 4)["exact"], atol=1e-12)
