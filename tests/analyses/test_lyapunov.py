"""The lyapunov analysis: what it counts, and what its rows say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spectrakit.analyses.base import Request
from spectrakit.analyses.lyapunov.analysis import Lyapunov
from spectrakit.analyses.lyapunov.tables import LYAPUNOV
from spectrakit.analyses.spectrum.options import SpectrumOptions
from spectrakit.architectures import Layer
from spectrakit.dynamics import (
    DeltaRule,
    DiagonalDecay,
    LyapunovSum,
    Recurrence,
    ScalarDecay,
    SeparableDecay,
    ShiftRegister,
)
from spectrakit.errors import AnalysisError, UsageError
from spectrakit.tables import Manifest, MemorySink

MANIFEST = Manifest(model_id="m", revision="r", mode="data")


def recurrence(operator, mode="data", head_axis="head", width=1, starts=None):
    return Recurrence(
        operator,
        mode=mode,
        gauge="unnormalised",
        head_axis=head_axis,
        width=width,
        starts=starts,
    )


def seen_by(analysis, *seen):
    for layer, rec, valid in seen:
        analysis.see(Layer(layer, f"layers.{layer}", "test"), rec, valid)
    return analysis


def rows(*seen):
    sink = MemorySink(MANIFEST)
    seen_by(Lyapunov(sink, Request()), *seen).finish()
    return sink.run.table("lyapunov").to_pylist()


def delta(batch, tokens, heads=2, states=3):
    key = torch.nn.functional.normalize(torch.randn(batch, tokens, heads, states), dim=-1)
    log_decay, beta = torch.rand(2, batch, tokens, heads)
    return DeltaRule(-log_decay, beta, key)


def every(batch, tokens):
    return torch.ones(batch, tokens, dtype=torch.bool)


def test_a_channel_layer_has_a_row_per_channel_and_state():
    step, rate = torch.rand(2, 5, 3), torch.tensor([[1.0, 2], [4, 3], [5, 6]])
    found = rows((7, recurrence(SeparableDecay(step, rate), head_axis="channel"), every(2, 5)))
    mean = step[:, 1:].double().mean((0, 1))
    expected = [
        (7, None, channel, index, 8, 1, "data", "unnormalised")
        for channel in range(3)
        for index in range(2)
    ]
    names = ("layer", "head", "channel", "index", "tokens", "multiplicity", "mode", "gauge")
    assert [tuple(row[name] for name in names) for row in found] == expected
    for row in found:
        rates = rate[row["channel"]].sort().values  # slowest first
        exponent = -float(mean[row["channel"]] * rates[row["index"]])
        assert row["exponent"] == pytest.approx(exponent)
        assert row["timescale_steps"] == pytest.approx(-1 / exponent)


def test_a_scalar_layer_has_a_row_per_head_for_its_whole_state():
    log_decay = -torch.rand(1, 6, 2)
    found = rows((0, recurrence(ScalarDecay(log_decay, 8), width=4), every(1, 6)))
    assert [(row["head"], row["channel"], row["multiplicity"]) for row in found] == [
        (0, None, 32), (1, None, 32),
    ]  # fmt: skip
    np.testing.assert_allclose(
        [row["exponent"] for row in found], log_decay[:, 1:].double().mean((0, 1)), rtol=1e-6
    )


def test_a_delta_layer_has_a_row_per_direction():
    torch.manual_seed(0)
    operator = delta(2, 7)
    found = rows((0, recurrence(operator, width=5), every(2, 7)))
    growth = LyapunovSum()
    carrying = every(2, 7)
    carrying[:, 0] = False
    growth.add(operator, carrying)
    assert [(row["head"], row["index"]) for row in found] == [
        (head, index) for head in range(2) for index in range(3)
    ]
    assert {row["multiplicity"] for row in found} == {5}
    np.testing.assert_array_equal(
        [row["exponent"] for row in found], growth.exponents().exponents.flatten()
    )


def test_padding_and_starts_are_left_out():
    log_decay = torch.tensor([[[-math.inf], [-1.0], [-50.0], [-3.0], [-50.0]]])
    valid = torch.tensor([[True, True, True, True, False]])
    starts = torch.tensor([[False, False, True, False, False]])
    (row,) = rows((0, recurrence(ScalarDecay(log_decay, 1), starts=starts), valid))
    assert (row["exponent"], row["tokens"], row["sequences"]) == (-2, 2, 2)


def test_what_comes_before_a_start_is_no_part_of_the_product_after_it():
    torch.manual_seed(0)
    operator, starts = delta(1, 9), torch.zeros(1, 9, dtype=torch.bool)
    starts[0, 4] = True
    found = rows((0, recurrence(operator, starts=starts), every(1, 9)))
    cut = LyapunovSum()
    for first, last in ((1, 4), (5, 9)):
        part = [getattr(operator, name)[:, first:last] for name in ("log_decay", "beta", "key")]
        cut.add(DeltaRule(*part), every(1, last - first))
    expected = cut.exponents().exponents.flatten()
    np.testing.assert_allclose([row["exponent"] for row in found], expected, rtol=1e-9)
    whole = rows((0, recurrence(operator), every(1, 9)))
    assert abs(whole[0]["exponent"] - found[0]["exponent"]) > 1e-3


def test_an_operator_that_does_not_vary_is_written_once():
    operator = DiagonalDecay(torch.tensor([[-0.2, -0.1]]), torch.tensor([[0.0, 1.0]]))
    static = recurrence(operator, "static", "channel")
    found = rows((3, static, None), (3, static, every(1, 4)))
    assert [(r["channel"], r["index"], r["mode"], r["tokens"]) for r in found] == [
        (0, 0, "static", None), (0, 1, "static", None),
    ]  # fmt: skip
    assert [r["exponent"] for r in found] == pytest.approx([-0.1, -0.2])


def test_a_shift_register_forgets_everything():
    found = rows((0, recurrence(ShiftRegister(2, 3), "static", "channel"), None))
    assert [(r["exponent"], r["timescale_steps"], r["multiplicity"]) for r in found] == [
        (-math.inf, 0, 3)
    ] * 2


def test_multiplicities_add_up_to_the_state():
    one = delta(1, 1, heads=2, states=6)
    nominal = DeltaRule(one.log_decay[0, 0], one.beta[0, 0], one.key[0, 0])
    found = rows((0, recurrence(nominal, "nominal", width=4), None))
    assert sum(row["multiplicity"] for row in found) == 2 * 6 * 4
    assert all(row["exponent"] < 0 for row in found)


def test_a_nan_names_its_layer():
    operator = ScalarDecay(torch.full((1, 2, 1), math.nan), 1)
    with pytest.raises(AnalysisError, match=r"layer 4 \(layers.4\): a transition is NaN") as info:
        rows((4, recurrence(operator), every(1, 2)))
    assert "--check-values" in info.value.hint


def test_no_token_at_all_is_an_error():
    operator = ScalarDecay(torch.zeros(1, 1, 1), 1)
    with pytest.raises(AnalysisError, match="layer 0: no token has a token before it"):
        rows((0, recurrence(operator), every(1, 1)))


def test_there_are_no_continuous_exponents():
    with pytest.raises(UsageError, match="products over tokens"):
        Lyapunov(MemorySink(MANIFEST), Request(SpectrumOptions("continuous")))


def test_every_column_is_filled_or_may_be_empty():
    (row, *_) = rows((0, recurrence(delta(1, 4)), every(1, 4)))
    assert {column.name for column in LYAPUNOV.columns if row[column.name] is None} == {"channel"}
