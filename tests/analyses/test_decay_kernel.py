"""The `kernel` analysis: its sums, and layers known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

import spectrakit as sk
from spectrakit.analyses.base import Request
from spectrakit.analyses.kernel.analysis import DecayKernel
from spectrakit.architectures import Layer
from spectrakit.dynamics import (
    ConstantInput,
    ConstantOutput,
    Contraction,
    DiagonalDecay,
    OuterProduct,
    Recurrence,
    ScalarDecay,
)
from spectrakit.errors import AnalysisError
from spectrakit.tables import Manifest, MemorySink
from spectrakit.token_options import TokenOptions

LAYER = Layer(3, "layers.3.mixer", "mamba2")


def constant_decay(log_decay, batch, tokens, gauge="unnormalised"):
    """Every key, query and input of one: the kernel is exp(lag log_decay)."""
    ones = torch.ones(batch, tokens, 1, 1, dtype=torch.float64)
    decays = torch.tensor(log_decay, dtype=torch.float64).expand(batch, tokens, -1)
    return Recurrence(
        ScalarDecay(decays, 1), "data", gauge, "head", 1,
        input_map=OuterProduct(ones), output_map=Contraction(ones),
    )  # fmt: skip


def tables(*batches):
    sink = MemorySink(Manifest(model_id="m", revision="r", mode="data"))
    analysis = DecayKernel(sink, Request())
    for recurrence, valid in batches:
        analysis.see(LAYER, recurrence, valid)
    analysis.finish()
    return [sink.run.table(f"decay_kernel{name}").to_pandas() for name in ("", "_summary")]


def table(*batches):
    rows, _ = tables(*batches)
    return rows[rows.token_set == "all"]


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
    assert rows.lag_low.max() <= 38 <= rows.lag_high.max()  # the last two outputs are one group


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


def test_batches_add_up_in_any_order():
    valid = [torch.ones(1, 30, dtype=torch.bool), torch.ones(2, 70, dtype=torch.bool)]
    parts = [(constant_decay([-0.1], 1, 30), valid[0]), (constant_decay([-0.4], 2, 70), valid[1])]
    together = tables(*parts)
    for found, expected in zip(tables(*reversed(parts)), together, strict=True):
        pd.testing.assert_frame_equal(found, expected, rtol=1e-12)
    rows = together[0]
    (five,) = rows[
        (rows.lag_low == 5) & rows["head"].isna() & (rows.token_set == "all")
    ].kernel_mean
    # 25 outputs of the one and 2 x 65 of the others are five tokens in.
    assert five == pytest.approx((25 * math.exp(-0.5) + 130 * math.exp(-2)) / 155, rel=1e-12)


def test_it_runs_from_a_checkpoint(tiny_folder):
    source = TokenOptions(seq_len=64, max_tokens=128, batch_size=2)
    run = sk.analyze(str(tiny_folder), analyses="kernel", mode="data", source=source)
    rows = run.table("decay_kernel").to_pandas()
    assert set(rows.layer) == {0, 1, 2}
    assert (rows.kernel_mean >= 0).all()
    assert (rows.log_decay_mean[rows.lag_low == 0] == 0).all()
    assert (rows.log_decay_mean[rows.lag_low > 0] < 0).all()
    assert set(rows.token_set) == {"all", "without_first"}


def test_a_sequence_of_one_token_has_no_output():
    with pytest.raises(AnalysisError, match="layer 3: no output has a token before it"):
        table((constant_decay([-0.1], 2, 1), torch.ones(2, 1, dtype=torch.bool)))


def test_lags_within_which_a_share_lies_are_those_of_the_sum():
    """e^{-r lag} over 1,000 tokens of one sequence: sums in closed form."""
    tokens, rate = 1000, 0.02
    _, summary = tables(
        (constant_decay([-rate], 1, tokens), torch.ones(1, tokens, dtype=torch.bool))
    )
    (row,) = summary[summary["head"].isna() & (summary.token_set == "all")].to_dict("records")
    lags = np.arange(tokens)
    # Every output but the first, with all the lags that it has.
    mass = np.exp(-rate * lags) * np.where(lags == 0, tokens - 1, tokens - lags) / (tokens - 1)
    assert row["mass"] == pytest.approx(mass.sum(), rel=2e-3)
    assert row["mass_lag_0"] == pytest.approx(1, rel=1e-12)
    assert row["mass_lag_1"] == pytest.approx(math.exp(-rate), rel=1e-12)
    upto = mass.cumsum() / mass.sum()
    for name, share in (("lag_50", 0.5), ("lag_90", 0.9)):
        assert abs(row[name] - int(np.searchsorted(upto, share))) <= 1
    of_first = np.exp(-rate * lags[1:]).sum() / (tokens - 1)
    assert row["first_token_share"] == pytest.approx(of_first / mass.sum(), rel=0.02)
    assert row["outputs"] == tokens - 1
    assert math.isnan(row["learned_sink_share"])  # it is no softmax attention


def test_a_kernel_of_weights_is_of_lags_and_has_no_first_token():
    decay, weight = (
        torch.tensor([[math.log(0.9)]], dtype=torch.float64),
        torch.ones(1, 1, 1).double(),
    )
    recurrence = Recurrence(
        DiagonalDecay(decay), "static", "unnormalised", "head", 1,
        input_map=ConstantInput(weight), output_map=ConstantOutput(weight),
    )  # fmt: skip
    rows, summary = tables((recurrence, None))
    assert set(rows.token_set) == set(summary.token_set) == {"all"}
    whole = summary[summary["head"].isna()].iloc[0]
    assert whole["mass"] == pytest.approx(10)  # 1 / (1 - 0.9)
    assert whole["lag_50"] == 6  # 0.9^7 < 1 / 2
    assert whole["lag_90"] == 21  # 0.9^22 < 1 / 10
    assert summary.first_token_share.isna().all()
    assert summary.outputs.isna().all()


def test_weights_that_determine_no_kernel_say_so(tiny_mamba_folder):
    with pytest.raises(AnalysisError, match="B and C are not known"):
        sk.analyze(str(tiny_mamba_folder), analyses="kernel", mode="weights")
