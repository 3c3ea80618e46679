"""Attention in two gauges: what is written by default, and two checkpoints of one function."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import spectrakit as sk
from spectrakit.analyses.spectrum.query_factor import QueryFactor
from spectrakit.comparison import compare_runs
from spectrakit.dynamics import Recurrence, ScalarDecay
from spectrakit.errors import UsageError
from spectrakit.tables import MemorySink
from spectrakit.tables.summaries import layer_summaries, summaries_in_gauges
from spectrakit.token_options import TokenOptions

ANALYSES = ("spectrum", "lyapunov", "kernel")
SIZES = {"vocab_size": 31, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32,
         "bos_token_id": 0, "eos_token_id": 0}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two checkpoints that differ by a bias on their keys, and tokens."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("gauges")
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**SIZES)).eval()
    tokens = torch.randint(0, 31, (3, 32))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.15 * torch.randn_like(parameter)
        model.save_pretrained(folder / "a")
        before = model(tokens).logits
        for block in model.transformer.h:
            block.attn.c_attn.bias[16:32] += 4 * torch.randn(16)
        torch.testing.assert_close(model(tokens).logits, before, rtol=1e-4, atol=1e-5)
    model.save_pretrained(folder / "b")
    np.save(folder / "tokens.npy", tokens.numpy())
    return folder


def run_of(folders, name, **options):
    source = TokenOptions(tokens=folders / "tokens.npy", seq_len=32)
    return sk.analyze(str(folders / name), source=source, **options)


@pytest.fixture(scope="module")
def runs(folders):
    return [run_of(folders, name, analyses=ANALYSES) for name in ("a", "b")]


def rows_of(run, table, gauge):
    return [row for row in run.table(table).to_pylist() if row["gauge"] == gauge]


def test_attention_is_written_in_both_gauges(runs):
    for run in runs:
        gauges = [row["gauge"] for row in summaries_in_gauges(run)]
        assert gauges == ["dsf", "retained"] * 2
        assert {row["gauge"] for row in layer_summaries(run)} == {"retained"}
        assert run.table("layers")["gauge"].to_pylist() == ["retained"] * 2
        for table in ("lyapunov", "decay_kernel"):
            assert set(run.table(table)["gauge"].to_pylist()) == {"retained"}
        # 31 of the 32 tokens of three sequences have one before them.
        for gauge in ("dsf", "retained"):
            rows = rows_of(run, "spectrum_summary", gauge)
            assert [row["count"] for row in rows] == [3 * 31 * 2, 3 * 31, 3 * 31] * 2
            counts = [row["count"] for row in rows_of(run, "spectrum_histogram", gauge)]
            assert sum(counts) == 2 * 2 * 3 * 31 * 2


def test_checkpoints_of_one_function_have_one_spectrum_in_gauge_retained(runs):
    one, other = (rows_of(run, "spectrum_summary", "retained") for run in runs)
    for row, its in zip(one, other, strict=True):
        assert its["spectral_radius"] == pytest.approx(row["spectral_radius"], rel=1e-4)
        for name in ("modulus_q05", "modulus_q50", "timescale_q50", "mean_modulus"):
            # A rate may cross into the next bin, one percent on.
            assert its[name] == pytest.approx(row[name], rel=0.011)
    largest = [row["spectral_radius"] for row in one]
    assert max(largest) <= 1
    for table, value in (("lyapunov", "exponent"), ("decay_kernel", "log_decay_mean")):
        one, other = ([row[value] for row in rows_of(run, table, "retained")] for run in runs)
        assert other == pytest.approx(one, rel=1e-4, abs=1e-6)


def test_and_others_in_gauge_dsf(runs):
    one, other = (rows_of(run, "spectrum_summary", "dsf")[0] for run in runs)
    assert other["spectral_radius"] > 10 * one["spectral_radius"]
    assert other["share_modulus_0_0p1"] > one["share_modulus_0_0p1"] + 0.05


def test_every_eigenvalue_is_the_same_to_four_digits(folders):
    from tests.families.base import observe

    found = []
    tokens = torch.from_numpy(np.load(folders / "tokens.npy"))
    for name in ("a", "b"):
        with sk.open_checkpoint(str(folders / name)) as model:
            seen = observe(model, tokens)
        found.append([observation.recurrence for _, observation in seen])
    for one, other in zip(*found, strict=True):
        mine, its = (r.in_gauge("retained").log_decay[:, 1:].exp() for r in (one, other))
        torch.testing.assert_close(its, mine, rtol=1e-4, atol=0)


def test_the_factor_between_the_gauges_is_in_a_table(runs):
    for run in runs:
        rows = run.table("query_factor").to_pylist()
        assert [row["head"] for row in rows] == [None, 0, 1] * 2
        lyapunov = rows_of(run, "lyapunov", "retained")
        for row in rows:
            both = row["mean_log_query_factor"] + row["mean_log_retained"]
            assert both == pytest.approx(row["mean_log_dsf"], abs=1e-9)
            if row["head"] is not None:
                (exponent,) = (
                    found["exponent"] for found in lyapunov
                    if (found["layer"], found["head"]) == (row["layer"], row["head"])
                )  # fmt: skip
                assert row["mean_log_retained"] == pytest.approx(exponent, rel=1e-6)
        whole = [row for row in rows if row["head"] is None]
        assert [(row["count"], row["left_out"]) for row in whole] == [(3 * 31 * 2, 0)] * 2
    # The bias on the keys is in the factor: it spreads, and what is retained does not move.
    one, other = (run.table("query_factor").to_pylist()[0] for run in runs)
    assert other["log_query_factor_q95"] > 2 * one["log_query_factor_q95"]
    assert other["mean_log_retained"] == pytest.approx(one["mean_log_retained"], rel=1e-4)


@pytest.mark.parametrize("gauge", ["dsf", "retained", "unnormalised"])
def test_one_gauge_alone_can_be_asked_for(folders, runs, gauge):
    run = run_of(folders, "a", gauge=gauge, analyses=ANALYSES)
    for table in ("spectrum_summary", "spectrum_histogram", "lyapunov", "decay_kernel", "layers"):
        assert set(run.table(table)["gauge"].to_pylist()) == {gauge}
    assert ("query_factor" in run.tables) == (gauge == "retained")
    if gauge != "unnormalised":
        rows = rows_of(run, "spectrum_summary", gauge)
        assert rows == rows_of(runs[0], "spectrum_summary", gauge)
    kernels = [each.table("decay_kernel")["kernel_mean"].to_numpy() for each in (run, runs[0])]
    np.testing.assert_allclose(kernels[0], kernels[1], rtol=1e-9)


def test_a_gauge_that_there_is_not_is_refused(folders):
    with pytest.raises(UsageError, match="unknown gauge 'nu'") as caught:
        run_of(folders, "a", gauge="nu")
    assert caught.value.hint == "one of: dsf, retained, unnormalised"


def test_a_layer_without_the_gauge_that_is_asked_for_keeps_its_own():
    run = sk.analyze("tiny-mamba2", gauge="retained", source=TokenOptions(max_tokens=256))
    assert set(run.table("spectrum_summary")["gauge"].to_pylist()) == {"unnormalised"}
    assert "query_factor" not in run.tables


def compared(*runs):
    sink = MemorySink(runs[0].manifest)
    compare_runs(runs, sink)
    return sink.run


def test_attention_is_compared_in_gauge_retained(runs):
    found = compared(*runs)
    for row in found.table("decay_distance").to_pylist():
        assert (row["gauge"], row["other_gauge"], row["reason"]) == ("retained", "retained", None)
        assert row["wasserstein_decades"] < 0.005
    differences = {
        row["metric"]: row["difference"]
        for row in found.table("summary_difference").to_pylist()
        if row["layer"] == 0
    }
    assert differences["spectral_radius discrete"] == pytest.approx(0, abs=1e-4)
    assert differences["largest_exponent"] == pytest.approx(0, abs=1e-5)


def test_a_run_from_before_is_compared_in_gauge_dsf(folders, runs):
    before = run_of(folders, "b", gauge="dsf")
    for row in compared(runs[0], before).table("decay_distance").to_pylist():
        assert (row["gauge"], row["other_gauge"], row["reason"]) == ("dsf", "dsf", None)
        assert row["wasserstein_decades"] > 0.1


def test_gauges_are_not_subtracted_from_each_other(folders):
    one, other = (
        run_of(folders, "a", gauge=gauge, analyses=ANALYSES) for gauge in ("dsf", "retained")
    )
    found = compared(one, other)
    for row in found.table("decay_distance").to_pylist():
        assert row["wasserstein_decades"] is None
        assert row["uncertainty_decades"] is None
        assert row["reason"] == "in gauges dsf and retained, which are not compared"
    for row in found.table("summary_difference").to_pylist():
        if row["metric"].startswith(("kernel", "mass")):  # the same in every gauge
            assert row["difference"] == pytest.approx(0, abs=1e-9)
        else:
            assert (row["difference"], row["reason"]) == (None, "other-gauge")


def test_sums_of_the_factor_leave_out_what_has_none():
    """Two tokens that read nothing before them; two batches give what one does."""
    generator = torch.Generator().manual_seed(0)
    odds = 3 * torch.randn(2, 10, 2, generator=generator, dtype=torch.float64)
    odds[:, 4, 1] = math.inf
    decays = torch.randn(2, 10, 2, generator=generator, dtype=torch.float64)
    valid = torch.ones(2, 10, dtype=torch.bool)
    valid[0, 7:] = False

    def recurrence(part):
        operator = ScalarDecay(decays[part], 1)
        return Recurrence(operator, "data", "dsf", "head", 1, log_normaliser=decays[part],
                          log_odds=odds[part]).in_gauge("retained")  # fmt: skip

    whole = QueryFactor(2)
    whole.add(recurrence(slice(None)), valid)
    batches = QueryFactor(2)
    batches.add(recurrence(slice(0, 1)), valid[:1])
    batches.add(recurrence(slice(1, 2)), valid[1:])
    found, halves = whole.columns(), batches.columns()
    assert found["count"].tolist() == [32, 17, 15]
    assert found["left_out"].tolist() == [2, 0, 2]
    for name, values in found.items():
        if name != "head":
            np.testing.assert_allclose(values, halves[name], rtol=1e-12)
    logs = -np.logaddexp(odds[valid].numpy(), 0)
    factor = decays[valid].numpy() - logs
    kept = np.isfinite(factor)
    assert found["mean_log_retained"][0] == pytest.approx(logs[kept].mean())
    assert found["mean_log_query_factor"][0] == pytest.approx(factor[kept].mean())
    median = np.quantile(factor[kept], 0.5, method="inverted_cdf")
    assert found["log_query_factor_q50"][0] == pytest.approx(median, rel=0.01)
