"""The `kernel` analysis: its bins, its averages, and layers known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import spectrakit as sk
from spectrakit.analyses.base import Request
from spectrakit.analyses.decay_kernel import DecayKernel, lag_bins, lag_edges
from spectrakit.architectures import Layer
from spectrakit.dynamics import Contraction, OuterProduct, Recurrence, ScalarDecay
from spectrakit.errors import AnalysisError
from spectrakit.tables import Manifest, MemorySink
from spectrakit.tokens import TokenOptions

LAYER = Layer(3, "layers.3.mixer", "mamba2")


def constant_decay(log_decay, batch, tokens, gauge="unnormalised"):
    """Every key, query and input of one: the kernel is exp(lag log_decay)."""
    ones = torch.ones(batch, tokens, 1, 1, dtype=torch.float64)
    decays = torch.tensor(log_decay, dtype=torch.float64).expand(batch, tokens, -1)
    return Recurrence(
        ScalarDecay(decays, 1), "data", gauge, "head", 1,
        input_map=OuterProduct(ones), output_map=Contraction(ones),
    )  # fmt: skip


def table(*batches):
    sink = MemorySink(Manifest(model_id="m", revision="r", mode="data"))
    analysis = DecayKernel(sink, Request())
    for recurrence, valid in batches:
        analysis.see(LAYER, recurrence, valid)
    analysis.finish()
    return sink.run.table("decay_kernel").to_pandas()


def test_every_lag_is_in_the_bin_that_says_so():
    lags = np.arange(200_000)
    low, high = lag_edges(lag_bins(lags))
    assert ((low <= lags) & (lags <= high)).all()
    bins = np.unique(lag_bins(lags))
    low, high = lag_edges(bins)
    assert (low[1:] == high[:-1] + 1).all()
    assert (high / np.maximum(low, 1) < 1.13).all()


def test_a_constant_decay_has_an_exponential_kernel():
    rates = [0.05, 0.3]
    rows = table((constant_decay([-r for r in rates], 2, 40), torch.ones(2, 40, dtype=torch.bool)))
    single = rows[rows.lag_high == rows.lag_low]
    for head, rate in enumerate(rates):
        mine = single[single["head"] == head]
        np.testing.assert_allclose(mine.kernel_mean, np.exp(-rate * mine.lag_low), rtol=1e-12)
        np.testing.assert_allclose(mine.log_decay_mean, -rate * mine.lag_low, atol=1e-12)
    whole = single[single["head"].isna()].set_index("lag_low")
    heads = single[single["head"].notna()].groupby("lag_low").kernel_mean.mean()
    np.testing.assert_allclose(whole.kernel_mean, heads, rtol=1e-12)
    assert rows.lag_low.max() <= 39 <= rows.lag_high.max()


def test_padding_on_either_side_is_not_counted():
    valid = torch.ones(2, 40, dtype=torch.bool)
    valid[0, 25:] = False
    valid[1, :10] = False
    rows = table((constant_decay([-0.1], 2, 40), valid))
    whole = rows[rows["head"].isna()]
    single = whole[whole.lag_high == whole.lag_low]
    np.testing.assert_allclose(single.kernel_mean, np.exp(-0.1 * single.lag_low), rtol=1e-12)
    assert whole.pairs.sum() < 2 * 32 * 40


def test_a_state_that_is_wiped_shrinks_without_end():
    rows = table((constant_decay([-math.inf], 1, 20), torch.ones(1, 20, dtype=torch.bool)))
    rows = rows[rows["head"] == 0]
    assert (rows.log_decay_mean[rows.lag_low > 0] == -math.inf).all()
    assert (rows.log_decay_mean[rows.lag_low == 0] == 0).all()
    assert (rows.kernel_mean[rows.lag_low > 0] == 0).all()


def test_batches_merge_to_their_average():
    ones = torch.ones(1, 30, dtype=torch.bool)
    parts = [(constant_decay([-0.1], 1, 30), ones), (constant_decay([-0.4], 1, 30), ones)]
    together = table(*parts)
    sink = MemorySink(Manifest(model_id="m", revision="r", mode="data"))
    one, other = (DecayKernel(sink, Request()) for _ in range(2))
    one.see(LAYER, *parts[0])
    other.see(LAYER, *parts[1])
    one.merge(other)
    one.finish()
    merged = sink.run.table("decay_kernel").to_pandas()
    np.testing.assert_allclose(merged.kernel_mean, together.kernel_mean, rtol=1e-12)
    single = merged[(merged.lag_low == 5) & merged["head"].isna()]
    assert single.kernel_mean.item() == pytest.approx((math.exp(-0.5) + math.exp(-2)) / 2)


def test_it_runs_from_a_checkpoint(tiny_folder):
    source = TokenOptions(seq_len=64, max_tokens=128, batch_size=2)
    run = sk.analyze(str(tiny_folder), analyses="kernel", mode="data", source=source)
    rows = run.table("decay_kernel").to_pandas()
    assert set(rows.layer) == {0, 1, 2}
    assert (rows.kernel_mean >= 0).all()
    assert (rows.log_decay_mean[rows.lag_low == 0] == 0).all()
    assert (rows.log_decay_mean[rows.lag_low > 0] < 0).all()


def test_weights_that_determine_no_kernel_say_so(tiny_mamba_folder):
    with pytest.raises(AnalysisError, match="B and C are not known"):
        sk.analyze(str(tiny_mamba_folder), analyses="kernel", mode="weights")
