"""The perturbation analysis, on streams whose gains are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spectrakit import analyze
from spectrakit.analyses.base import Request
from spectrakit.analyses.perturbation.analysis import LAGS, Perturbation
from spectrakit.analyses.perturbation.options import PerturbationOptions
from spectrakit.analyses.perturbation.tables import PERTURBATION
from spectrakit.errors import AnalysisError, UsageError
from spectrakit.tables import Manifest, MemorySink
from spectrakit.token_options import TokenOptions
from tests.tables.samples import ROOT

MANIFEST = Manifest(model_id="m", revision="r", mode="data")
GROWTH, DECAY = 3.0, 0.5


def every(h):
    return torch.ones(h.shape[:2], dtype=torch.bool)


def leaky(h):
    """A causal block: h_t -> GROWTH (h_t + DECAY h_{t-1} + DECAY^2 h_{t-2} + ...)."""
    lag = torch.arange(h.shape[1])[:, None] - torch.arange(h.shape[1])
    kernel = torch.where(lag >= 0, DECAY ** lag.clamp(min=0), 0.0)
    return GROWTH * torch.einsum("ts,bse->bte", kernel.to(h), h)


def run(analysis, start, block=leaky, blocks=2, valid=None):
    """A batch as the pipeline shows it."""
    valid = every(start) if valid is None else valid

    def forward(on_states):
        states = start
        for depth in range(blocks + 1):
            states = states if depth == 0 else block(states)
            changed = on_states(depth, states)
            states = states if changed is None else changed

    forward(lambda depth, states: analysis.see_states(depth, states, valid))
    analysis.end_batch()
    analysis.see_rerun(forward, valid)
    return analysis


def new(seed=0, size=1e-3):
    return Perturbation(MemorySink(MANIFEST), Request(PerturbationOptions(size), seed=seed))


def finished(analysis):
    analysis.finish()
    return analysis.sink.run.table("perturbation").to_pandas()


def start(batch=3, tokens=21, width=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, tokens, width, generator=generator, dtype=torch.float64)


def test_lags_are_dense_and_then_two_to_a_doubling():
    assert LAGS[:14] == (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48)
    assert list(LAGS) == sorted(set(LAGS))


def test_gains_of_a_linear_model_are_its_kernel():
    found = finished(run(new(), start())).set_index(["depth", "lag"])
    lags = [lag for lag in LAGS if lag <= 10]  # from the middle of 21 tokens
    for lag in lags:
        assert found.loc[(0, lag), "gain"] == pytest.approx(1.0 if lag == 0 else 0.0)
        assert found.loc[(1, lag), "gain"] == pytest.approx(GROWTH * DECAY**lag)
        # The kernel with itself: lag + 1 ways to get there.
        expected = GROWTH**2 * (lag + 1) * DECAY**lag
        assert found.loc[(2, lag), "gain"] == pytest.approx(expected)
    assert len(found) == 3 * len(lags)
    assert found["standard_error"].max() < 1e-9
    assert (found["sequences"] == 3).all()
    assert (found["seq_len"] == 21).all()


def test_the_relative_gain_is_over_what_the_states_are():
    h = start(batch=1)
    found = finished(run(new(), h)).set_index(["depth", "lag"])
    norms = [x[0].norm(dim=-1) for x in (h, leaky(h), leaky(leaky(h)))]
    for lag in (0, 3):
        ratio = float(norms[0][10] / norms[2][10 + lag])
        expected = found.loc[(2, lag), "gain"] * ratio
        assert found.loc[(2, lag), "relative_gain"] == pytest.approx(expected)
    assert found["standard_error"].isna().all()


def test_a_block_that_is_not_linear_is_seen_in_the_small():
    found = finished(run(new(size=1e-6), start(), block=lambda h: h + torch.sin(5 * h)))
    h = start()[:, 10]
    direction = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)).double()
    slope = (1 + 5 * torch.cos(5 * h)) * direction
    expected = float((slope.norm(dim=-1) / direction.norm(dim=-1)).mean())
    (row,) = found.query("depth == 1 and lag == 0").to_dict("records")
    assert row["gain"] == pytest.approx(expected, rel=1e-4)
    assert row["size"] == 1e-6


def test_sequences_of_unequal_length_change_in_their_own_middle():
    h = start(batch=2)
    valid = torch.arange(21) < torch.tensor([[21], [5]])
    h[~valid] = math.nan
    found = finished(run(new(), h, block=lambda x: 2 * x, valid=valid)).set_index(["depth", "lag"])
    assert found.loc[1, "sequences"].to_dict() == {
        lag: 2 if lag <= 2 else 1 for lag in LAGS if lag <= 10
    }
    assert found.loc[(1, 0), "gain"] == pytest.approx(2)


def test_the_seed_chooses_the_direction():
    def block(h):
        return h * torch.arange(1.0, 9)

    one, same, other = (finished(run(new(seed), start(), block)) for seed in (0, 0, 1))
    assert one.equals(same)
    assert not np.allclose(one["gain"], other["gain"], rtol=1e-3)


def test_batches_may_come_in_any_order():
    parts = [start(seed=seed, tokens=9 + seed) for seed in range(3)]
    one, other = new(), new()
    for part in parts:
        run(one, part, torch.sin)
    for part in reversed(parts):
        run(other, part, torch.sin)
    one, other = finished(one), finished(other)
    for column in ("gain", "standard_error", "relative_gain", "relative_standard_error"):
        np.testing.assert_allclose(other.pop(column), one.pop(column), rtol=1e-12, atol=1e-15)
    assert other.equals(one)


def test_a_state_of_zero_cannot_be_changed_by_a_share_of_itself():
    h = start(batch=2)
    h[0, 10] = 0
    found = finished(run(new(), h, block=lambda x: 2 * x))
    assert (found["sequences"] == 1).all()


def test_half_precision_is_refused():
    with pytest.raises(UsageError, match="lost in their rounding") as info:
        run(new(), start().bfloat16())
    assert info.value.hint == "dtype='float32'"


@pytest.mark.parametrize(
    ("size", "bound"), [(0.0, "above 0"), (2.0, "at most 1"), (math.nan, "above 0")]
)
def test_sizes_that_mean_nothing(size, bound):
    with pytest.raises(UsageError, match=f"perturbation_size must be {bound}, not {size:g}"):
        PerturbationOptions(size)


def test_a_nan_names_its_block():
    with pytest.raises(AnalysisError, match="NaN where it leaves block 0"):
        run(new(), start(), block=lambda h: h * math.nan)


def test_without_hidden_states_there_is_nothing_to_say():
    with pytest.raises(AnalysisError, match="none were seen"):
        new().finish()


def test_every_column_is_filled_or_may_be_empty():
    found = finished(run(new(), start()))
    empty = {c.name for c in PERTURBATION.columns if found[c.name].isna().any()}
    assert empty <= {c.name for c in PERTURBATION.columns if c.nullable}


@pytest.mark.parametrize("name", ["tiny-mamba", "tiny-llama"])
def test_a_bundled_model_carries_a_change_forward(name):
    source = TokenOptions(batch_size=2, seq_len=64, max_tokens=128)
    folder = ROOT / "catalog" / "checkpoints" / name
    made = analyze(str(folder), analyses="perturbation", source=source, device="cpu")
    found = made.table("perturbation").to_pandas().set_index(["depth", "lag"])["gain"]
    assert set(found.loc[0]) == {1.0, 0.0}
    assert (found.loc[[1, 2, 3], 0] > 0.1).all()
    assert found.loc[3, 1] > 1e-3
