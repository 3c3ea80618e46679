"""The memory of layers that vary by token: where it is looked at, and how that adds up."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spectrakit.dynamics import OuterProduct, ScalarDecay, SeparableDecay
from spectrakit.dynamics.observed_memory import observed_memory
from spectrakit.errors import AnalysisError
from tests.analyses.memory_layers import delta, every, recurrence, tables


def test_a_time_varying_layer_is_observed_at_tokens():
    one = delta()
    curves, summaries = tables((1, one, every(2, 30)), horizon=64, positions=3, precisions=())
    found = {t: [observed_memory(one, sequence, t) for sequence in range(2)] for t in (9, 19, 29)}
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


def mamba():
    torch.manual_seed(0)
    step = torch.rand(1, 64, 2).double()
    write = OuterProduct(torch.ones(1, 64, 1, 4).double())  # states that differ by decay alone
    return recurrence(SeparableDecay(step, torch.arange(1.0, 5).expand(2, -1) / 9), write=write)


@pytest.mark.parametrize(
    ("one", "lost"),
    [(mamba(), 0.03), (delta(batch=1, tokens=64), 1e-5)],
    ids=["Mamba", "DeltaNet"],
)
def test_an_observed_layer_is_there_for_rounded_states_too(one, lost):
    _, summaries = tables((0, one, every(1, 64)))
    means = {row["precision"]: row for row in summaries if row["head"] is None}
    assert set(means) == {"exact", "bfloat16", "float16", "float32"}
    assert {row["rank"] for row in means.values()} == {means["exact"]["rank"]}
    capacities = [means[name]["capacity"] for name in ("bfloat16", "float16", "float32", "exact")]
    assert capacities == sorted(capacities)
    assert capacities[0] < (1 - lost) * capacities[-1]
    assert [row["mean_delay"] is None for row in means.values()] == [False, True, True, True]


def test_longer_delays_are_means_up_to_the_next():
    one = delta(batch=1, tokens=60)
    curves, _ = tables((0, one, every(1, 60)), horizon=64, per_octave=4, positions=1)
    memory = observed_memory(one, 0, 59)
    row = next(row for row in curves if (row["head"], row["delay"]) == (1, 32))
    assert row["memory"] == pytest.approx(memory[1, 32:40].mean())
    assert row["capacity_below"] == pytest.approx(memory[1, :32].sum())


def test_padding_is_not_looked_at():
    one = delta(batch=1)
    valid = every(1, 30)
    valid[0, :4] = valid[0, 20:] = False
    _, summaries = tables((0, one, valid), positions=1)
    assert {row["horizon"] for row in summaries} == {16}
    curves, _ = tables((0, one, valid), positions=1, precisions=())
    expected = observed_memory(one, 0, 19, first=4)
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


def test_a_nan_names_its_layer_and_token():
    one = delta(batch=1)
    one.operator.key[0, 3, 0, 0] = math.nan
    with pytest.raises(
        AnalysisError, match=r"layer 5 \(layers.5\): .* sequence 0 of its batch, token 3"
    ):
        tables((5, one, every(1, 30)))


def test_no_token_at_all_is_an_error():
    with pytest.raises(AnalysisError, match="layer 0: no token was counted"):
        tables((0, delta(batch=1), ~every(1, 30)))
