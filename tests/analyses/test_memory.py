"""The memory analysis: what it writes at once, what it adds up, and what its rows say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spectrakit import analyze
from spectrakit.analyses.base import Request
from spectrakit.analyses.memory import Memory
from spectrakit.analyses.memory_options import MemoryOptions
from spectrakit.architectures import Layer
from spectrakit.dynamics import (
    ConstantInput,
    DeltaRule,
    DiagonalDecay,
    OuterProduct,
    Recurrence,
    ScalarDecay,
    SeparableDecay,
)
from spectrakit.dynamics.observed_memory import observed_memory
from spectrakit.errors import AnalysisError, UsageError
from spectrakit.mixers.attention_scores import Scores, ScoresOfWeights
from spectrakit.mixers.softmax_attention import SoftmaxAttention
from spectrakit.tables import Manifest, MemorySink
from spectrakit.tables.memory_schema import MEMORY_FUNCTION, MEMORY_SUMMARY
from spectrakit.tokens import TokenOptions

MANIFEST = Manifest(model_id="m", revision="r", mode="data")


def tables(*seen, **options):
    sink = MemorySink(MANIFEST)
    seen_by(Memory(sink, Request(memory=MemoryOptions(**options))), *seen).finish()
    run = sink.run
    return [
        run.table(name).to_pylist() if name in run.tables else []
        for name in ("memory_function", "memory_summary")
    ]


def seen_by(analysis, *seen):
    for layer, rec, valid in seen:
        analysis.see(Layer(layer, f"layers.{layer}", "test"), rec, valid)
    return analysis


def recurrence(operator, mode="data", axis="head", width=1, write=None, read=None, starts=None):
    return Recurrence(
        operator, mode=mode, gauge="unnormalised", head_axis=axis, width=width,
        input_map=write, output_map=read, starts=starts,
    )  # fmt: skip


def every(batch, tokens):
    return torch.ones(batch, tokens, dtype=torch.bool)


RATES = torch.tensor([[0.1, 0.3], [0.5, 1.5], [0.2, 0.2]], dtype=torch.float64)


def mamba_layer():
    """Three channels from weights, one of which holds one input only."""
    step = torch.ones(3, dtype=torch.float64)
    return recurrence(SeparableDecay(step, RATES), "nominal", "channel")


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


def delta(batch=2, tokens=30, heads=3, states=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    key = torch.randn(batch, tokens, heads, states, generator=generator, dtype=torch.float64)
    key = torch.nn.functional.normalize(key, dim=-1)
    beta, decay = torch.rand(2, batch, tokens, heads, generator=generator, dtype=torch.float64)
    return recurrence(DeltaRule(-decay / 9, beta, key), write=OuterProduct(key, gain=beta))


def test_a_time_varying_layer_is_observed_at_tokens():
    one = delta()
    curves, summaries = tables((1, one, every(2, 30)), horizon=64, positions=3)
    found = {
        t: [observed_memory(one, sequence, range(3), t) for sequence in range(2)]
        for t in (9, 19, 29)
    }
    for head in range(3):
        here = {row["delay"]: row for row in curves if row["head"] == head}
        for delay in (0, 5, 9, 15, 25):
            values = [m[head, delay] for t in found for m in found[t] if t >= delay]
            assert here[delay]["memory"] == pytest.approx(np.mean(values))
            assert here[delay]["samples"] == len(values)
    assert max(row["delay"] for row in curves) == 29
    (mean, *each) = summaries
    assert [row["head"] for row in each] == [0, 1, 2]
    assert {(row["past"], row["samples"], row["horizon"]) for row in summaries} == {
        ("sequence", 6, 30)
    }
    assert mean["rank"] == pytest.approx(4)
    moments = [m @ np.arange(m.shape[1]) for t in found for m in found[t]]
    assert mean["mean_delay"] == pytest.approx(np.mean(moments) / 4)


def test_an_observed_layer_is_there_for_rounded_states_too():
    torch.manual_seed(0)
    step = torch.rand(1, 64, 2).double()
    write = OuterProduct(torch.ones(1, 64, 1, 4).double())  # states that differ by decay alone
    one = recurrence(SeparableDecay(step, torch.arange(1.0, 5).expand(2, -1) / 9), write=write)
    _, summaries = tables((0, one, every(1, 64)))
    means = {row["precision"]: row for row in summaries if row["head"] is None}
    assert set(means) == {"exact", "bfloat16", "float16", "float32"}
    assert {row["rank"] for row in means.values()} == {means["exact"]["rank"]}
    capacities = [means[name]["capacity"] for name in ("bfloat16", "float16", "float32", "exact")]
    assert capacities == sorted(capacities)
    assert capacities[0] < 0.97 * capacities[-1]
    assert [row["mean_delay"] is None for row in means.values()] == [False, True, True, True]


def test_a_delta_rule_has_no_rounded_memory():
    torch.manual_seed(0)
    key = torch.nn.functional.normalize(torch.randn(1, 16, 1, 4).double(), dim=-1)
    strength = torch.rand(1, 16, 1).double()
    operator = DeltaRule(-0.1 * strength, strength, key)
    _, summaries = tables((0, recurrence(operator, write=OuterProduct(key)), every(1, 16)))
    assert {row["precision"] for row in summaries} == {"exact"}


def test_longer_delays_are_means_up_to_the_next():
    one = delta(batch=1, tokens=60)
    curves, _ = tables((0, one, every(1, 60)), horizon=64, per_octave=4, positions=1)
    memory = observed_memory(one, 0, range(3), 59)
    row = next(row for row in curves if (row["head"], row["delay"]) == (1, 32))
    assert row["memory"] == pytest.approx(memory[1, 32:40].mean())
    assert row["capacity_below"] == pytest.approx(memory[1, :32].sum())


def test_padding_is_not_looked_at():
    one = delta(batch=1)
    valid = every(1, 30)
    valid[0, :4] = valid[0, 20:] = False
    _, summaries = tables((0, one, valid), positions=1)
    assert {row["horizon"] for row in summaries} == {16}
    curves, _ = tables((0, one, valid), positions=1)
    expected = observed_memory(one, 0, [0], 19, first=4)
    assert [r["memory"] for r in curves if r["head"] == 0] == pytest.approx(expected[0])


def test_some_of_many_channels_are_looked_at():
    torch.manual_seed(0)
    step = torch.rand(1, 12, 40)
    rate = torch.arange(1.0, 5).expand(40, -1)
    write = OuterProduct(torch.randn(1, 12, 1, 4), gain=step)
    one = recurrence(SeparableDecay(step, rate), axis="channel", write=write)
    _, summaries = tables((0, one, every(1, 12)), heads=5, precisions=())
    assert [row["channel"] for row in summaries] == [None, 0, 10, 20, 29, 39]
    large = recurrence(ScalarDecay(-step, 128), write=OuterProduct(torch.randn(1, 12, 1, 128)))
    _, summaries = tables((0, large, every(1, 12)), precisions=())
    assert [row["head"] for row in summaries] == [None, 0, 39]


def test_batches_merged_across_workers_are_one_run():
    parts = [(layer, delta(seed=seed), every(2, 30)) for seed, layer in enumerate((0, 1, 0, 1, 0))]
    sinks = [MemorySink(MANIFEST) for _ in range(3)]
    one, worker, other = (Memory(sink, Request()) for sink in sinks)
    seen_by(one, *parts).finish()
    seen_by(worker, *parts[3:])
    seen_by(other, *parts[:3])
    worker.merge(other)
    worker.finish()
    for name in ("memory_function", "memory_summary"):
        whole, merged = (sink.run.table(name).to_pandas() for sink in sinks[:2])
        for column in whole.columns:
            if whole[column].dtype == float:
                np.testing.assert_allclose(merged[column], whole[column], rtol=1e-12)
            else:
                assert merged[column].equals(whole[column])


def attention(keys, tokens=9, weights=False):
    query = torch.randn(1, 4, tokens, 6)
    scores = Scores(query, keys, scale=0.4)
    normaliser = scores.rows(0, tokens).logsumexp(-1)
    shown = scores
    if weights:
        shown = ScoresOfWeights(scores.rows(0, tokens).softmax(-1), normaliser)
    return SoftmaxAttention(4).observed(shown, normaliser)


def test_softmax_attention_says_how_many_keys_are_different():
    torch.manual_seed(0)
    keys = 5 * torch.randn(1, 2, 9, 6)
    keys[0, 1, 4:] = keys[0, 1, 3]  # of the last two heads
    curves, summaries = tables((0, attention(keys), every(1, 9)), positions=1)
    assert curves == []
    assert [(row["head"], row["key_kernel_rank"], row["keys"]) for row in summaries] == [
        (None, 6.5, 9), (0, 9, 9), (3, 4, 9),
    ]  # fmt: skip
    assert all("keeps every key" in row["reason"] for row in summaries)
    assert {row["rank"] for row in summaries} == {None}


def test_attention_without_its_keys_says_so():
    torch.manual_seed(0)
    one = attention(torch.randn(1, 4, 9, 6), weights=True)
    _, (row,) = tables((0, one, every(1, 9)), (0, one, every(1, 9)))
    assert row["reason"] == "the model shows the weights of its attention, not the keys"


def test_layers_without_a_memory_function_say_why():
    bidirectional = recurrence(DiagonalDecay(-RATES[:1]), "static", "head")
    unknown = recurrence(ScalarDecay(-torch.rand(1, 3, 2), 4))
    _, rows = tables((0, bidirectional, None), (1, unknown, every(1, 3)))
    assert "depends on B" in rows[0]["reason"]
    assert "not known" in rows[1]["reason"]
    assert [row["rank"] for row in rows] == [None, None]


def test_a_nan_names_its_layer():
    one = delta(batch=1)
    one.operator.key[0, 3, 0, 0] = math.nan
    with pytest.raises(AnalysisError, match=r"layer 5 \(layers.5\)"):
        tables((5, one, every(1, 30)))


def test_no_token_at_all_is_an_error():
    with pytest.raises(AnalysisError, match="layer 0: no token was counted"):
        tables((0, delta(batch=1), ~every(1, 30)))


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
