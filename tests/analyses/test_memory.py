"""The memory analysis: what it writes at once, and what its rows say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spectrakit import analyze
from spectrakit.analyses.memory.options import MemoryOptions
from spectrakit.analyses.memory.tables import MEMORY_FUNCTION, MEMORY_SUMMARY
from spectrakit.dynamics import ConstantInput, DiagonalDecay, ScalarDecay
from spectrakit.errors import UsageError
from spectrakit.token_options import TokenOptions
from tests.analyses.memory_layers import RATES, delta, every, mamba_layer, recurrence, tables


def test_a_layer_of_channels_has_a_curve_and_a_summary_of_each():
    curves, summaries = tables((4, mamba_layer(), None), horizon=256)
    assert {row["precision"] for row in curves} == {"exact", "bfloat16", "float16", "float32"}
    assert {(row["layer"], row["head"], row["channel"], row["mode"]) for row in curves} == {
        (4, None, None, "nominal")
    }
    exact = [row for row in summaries if row["precision"] == "exact"]
    assert [(row["channel"], row["systems"], row["inputs"]) for row in exact] == [
        (None, 3, 1), (0, 1, 1), (1, 1, 1), (2, 1, 1),
    ]  # fmt: skip
    assert [row["rank"] for row in exact] == pytest.approx([5 / 3, 2, 2, 1])
    assert [row["capacity_within"] for row in exact] == pytest.approx([5 / 3, 2, 2, 1])
    assert {row["past"] for row in summaries} == {"infinite"}
    assert {row["samples"] for row in summaries} == {None}


def test_the_curve_of_one_decay_is_geometric():
    one = recurrence(DiagonalDecay(-RATES[2:]), "static", "channel")
    curves, (mean, channel, *_) = tables((0, one, None), horizon=100, precisions=())
    keep = math.exp(-2 * 0.2)
    for row in curves:
        assert row["memory"] == pytest.approx((1 - keep) * keep ** row["delay"], rel=1e-12)
    assert channel["delay_50"] == mean["delay_50"] == math.ceil(math.log(0.5) / math.log(keep)) - 1
    assert channel["last_delay_0p1"] == math.floor(math.log(0.1 / (1 - keep)) / math.log(keep))
    assert channel["last_delay_0p5"] is None
    assert channel["mean_delay"] == pytest.approx(keep / (1 - keep))


def test_curves_of_channels_are_written_when_asked_for():
    curves, _ = tables((0, mamba_layer(), None), horizon=64, precisions=(), curves=True)
    assert {row["channel"] for row in curves} == {None, 0, 1, 2}
    mean = [row["memory"] for row in curves if row["channel"] is None]
    each = [[r["memory"] for r in curves if r["channel"] == channel] for channel in range(3)]
    np.testing.assert_allclose(np.mean(each, 0), mean, rtol=1e-12)


def test_a_delay_beyond_the_horizon_is_null():
    rate = torch.tensor([[1e-5]], dtype=torch.float64)
    slow = recurrence(DiagonalDecay(-rate), "static", "channel")
    _, (row, *_) = tables((0, slow, None), horizon=1024)
    assert (row["delay_50"], row["delay_90"]) == (None, None)
    assert row["capacity_within"] == pytest.approx(-math.expm1(-0.02048), rel=1e-12)
    assert row["capacity"] == 1


def test_a_fixed_layer_is_written_once_whatever_the_batches():
    weight = torch.ones(3, 2, 1, dtype=torch.complex128)
    one = recurrence(DiagonalDecay(-RATES), "static", "channel", write=ConstantInput(weight))
    curves, summaries = tables((0, one, every(2, 5)), (0, one, every(2, 5)), precisions=())
    assert len(summaries) == 4
    assert len({row["delay"] for row in curves}) == len(curves)


def test_layers_without_a_memory_function_say_why():
    bidirectional = recurrence(DiagonalDecay(-RATES[:1]), "static", "head")
    unknown = recurrence(ScalarDecay(-torch.rand(1, 3, 2), 4))
    _, rows = tables((0, bidirectional, None), (1, unknown, every(1, 3)))
    assert "depends on B" in rows[0]["reason"]
    assert "not known" in rows[1]["reason"]
    assert [row["rank"] for row in rows] == [None, None]


@pytest.mark.parametrize("wrong", [
    {"horizon": 0}, {"per_octave": 3}, {"past": "never"}, {"precisions": ("float8",)},
    {"positions": 0}, {"heads": 0},
])  # fmt: skip
def test_options_that_mean_nothing(wrong):
    with pytest.raises(UsageError):
        MemoryOptions(**wrong)


@pytest.mark.parametrize(("model", "mode"), [("tiny-mamba", "weights"), ("tiny-mamba2", "data"),
                                             ("tiny-llama", "data")])  # fmt: skip
def test_bundled_models_have_their_memory(model, mode):
    source = TokenOptions(seq_len=24, max_tokens=48) if mode == "data" else None
    run = analyze(model, analyses="memory", mode=mode, source=source)
    rows = run.table("memory_summary").to_pylist()
    assert {row["layer"] for row in rows} == {0, 1, 2}
    known = "key_kernel_rank" if model == "tiny-llama" else "rank"
    assert all(row[known] > 0 for row in rows)


def test_every_column_is_filled_or_may_be_empty():
    curves, summaries = tables((0, mamba_layer(), None), (1, delta(), every(2, 30)))
    for schema, rows in ((MEMORY_FUNCTION, curves), (MEMORY_SUMMARY, summaries)):
        empty = {
            column.name
            for column in schema.columns
            if all(row[column.name] is None for row in rows)
        }
        assert empty <= {"channel", "key_kernel_rank", "keys", "reason"}
