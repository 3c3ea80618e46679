"""The propagation analysis: what it averages, what its rows say, and what it cannot say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from spectrakit import analyze
from spectrakit.analyses.base import Request
from spectrakit.analyses.propagation.analysis import Propagation
from spectrakit.analyses.propagation.options import PropagationOptions
from spectrakit.analyses.propagation.tables import METRICS, PROPAGATION, SEQUENCE_METRICS
from spectrakit.errors import AnalysisError, UsageError
from spectrakit.tables import Manifest, MemorySink
from spectrakit.token_options import TokenOptions
from tests.tables.samples import ROOT

MANIFEST = Manifest(model_id="m", revision="r", mode="data")


def walk(batch=3, tokens=11, width=8, depths=4, seed=0):
    """A residual stream (depths, B, T, E) that drifts."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(depths, batch, tokens, width, generator=generator).cumsum(0) + 0.3


def every(states):
    return torch.ones(states.shape[1:3], dtype=torch.bool)


def seen_by(analysis, *batches):
    for states, valid in batches:
        for depth, h in enumerate(states):
            analysis.see_states(depth, h, valid)
        analysis.end_batch()
    return analysis


def finished(analysis):
    analysis.finish()
    return analysis.sink.run.table("propagation").to_pandas()


def new(**options):
    return Propagation(MemorySink(MANIFEST), Request(PropagationOptions(**options)))


def table(*batches, **options):
    return finished(seen_by(new(**options), *batches))


def value(found, metric, depth, of="stream", token_set="all", position=None, coordinates="all"):
    rows = found.query("metric == @metric and depth == @depth and of == @of")
    rows = rows[(rows["token_set"] == token_set) & (rows["coordinates"] == coordinates)]
    where = rows["position_low"].isna() if position is None else rows["position_low"] == position
    (row,) = rows[where].to_dict("records")
    return row["value"]


def test_every_depth_has_every_metric_a_value_or_a_reason():
    states = walk()
    found = table((states, every(states)))
    assert set(found["coordinates"]) == {"all", "without_massive"}
    found = found[found["coordinates"] == "all"]
    whole = found[found["position_low"].isna()]
    expected = [
        (depth, of, metric, token_set)
        for depth in range(4)
        for of in (METRICS if depth else ("stream",))
        for metric in METRICS[of]
        for token_set in ("all", "without_first", "without_massive")
    ]
    keys = whole[["depth", "of", "metric", "token_set"]].itertuples(index=False, name=None)
    assert list(keys) == expected
    assert (whole["value"].isna() == whole["reason"].notna()).all()
    missing = whole[whole["value"].isna()]
    assert set(missing[["depth", "metric", "reason"]].itertuples(index=False, name=None)) == {
        (0, "curvature", "no block before it"),
        (0, "straightness", "no token has moved"),
        (3, "curvature", "no block after it"),
        (3, "cosine_next", "no block after it"),
    }
    assert (found["seq_len"] == 11).all()


def test_values_are_means_over_tokens_and_positions():
    states = walk()
    found = table((states, every(states)))
    h = states.double()
    cosine = torch.nn.functional.cosine_similarity(h[1], h[2], dim=-1).numpy()
    assert value(found, "cosine_next", 1) == pytest.approx(cosine.mean(), rel=1e-6)
    rest = value(found, "cosine_next", 1, token_set="without_first")
    assert rest == pytest.approx(cosine[:, 1:].mean(), rel=1e-6)
    for low, high in ((0, 0), (1, 1), (2, 3), (4, 7), (8, 10)):
        here = value(found, "cosine_next", 1, position=low)
        assert here == pytest.approx(cosine[:, low : high + 1].mean(), rel=1e-6)
    u = h[1:] - h[:-1]
    angle = np.arccos(torch.nn.functional.cosine_similarity(u[0], u[1], dim=-1).numpy())
    assert value(found, "curvature", 1) == pytest.approx(np.degrees(angle).mean(), rel=1e-5)
    turn = value(found, "cosine_next", 1, of="update")
    assert turn == pytest.approx(np.cos(angle).mean(), rel=1e-5)
    assert value(found, "norm", 2, of="update") == pytest.approx(
        float(u[1].norm(dim=-1).mean()), rel=1e-6
    )
    centred = u[2] - u[2].mean(1, keepdim=True)
    assert value(found, "token_variance", 3, of="update") == pytest.approx(
        float(centred.square().sum(-1).mean()), rel=1e-5
    )


def test_a_sequence_counts_as_much_as_it_has_tokens():
    states = walk(batch=2)
    valid = torch.arange(11) < torch.tensor([[11], [4]])
    found = table((states, valid))
    norm = states[1].double().norm(dim=-1)
    expected = float(norm[valid].mean())
    assert value(found, "norm", 1) == pytest.approx(expected, rel=1e-6)
    (row,) = found.query("metric == 'norm' and depth == 1 and of == 'stream'").to_dict("records")[
        :1
    ]
    assert (row["tokens"], row["sequences"]) == (15, 2)
    means = np.array([float(norm[0].mean()), float(norm[1, :4].mean())])
    error = math.sqrt(np.average((means - expected) ** 2, weights=[11, 4]))
    assert row["standard_error"] == pytest.approx(error, rel=1e-5)


def test_the_first_token_can_be_left_out():
    states = walk()
    sink = states.clone()
    sink[:, :, 0] = 1e4
    ours, plain = (table((h, every(h))) for h in (sink, states))
    for metric in (*SEQUENCE_METRICS, "norm"):
        without = value(ours, metric, 2, token_set="without_first")
        assert without == pytest.approx(
            value(plain, metric, 2, token_set="without_first"), rel=1e-4
        )
        assert value(ours, metric, 2) != pytest.approx(value(plain, metric, 2), rel=0.05)


def test_batches_may_come_in_any_order():
    batches = [(walk(b, t, seed=t), None) for b, t in ((3, 11), (1, 5), (2, 8))]
    batches = [(states, every(states)) for states, _ in batches]
    whole = table(*batches)
    for order in itertools.permutations(batches):
        again = table(*order)
        np.testing.assert_allclose(again.pop("value"), whole["value"], rtol=1e-12)
        np.testing.assert_allclose(
            again.pop("standard_error"), whole["standard_error"], rtol=1e-9, atol=1e-15
        )
        assert again.equals(whole.drop(columns=["value", "standard_error"]))


def test_half_precision_is_widened():
    states = walk().bfloat16()
    narrow, wide = (table((h, every(h))) for h in (states, states.float()))
    assert narrow.equals(wide)


def test_ranks_are_bounded_by_the_tokens_taken():
    states = walk(batch=2, tokens=40, width=30)
    found = table((states, every(states)), rank_tokens=6)
    rows = found[found["metric"].isin(["effective_rank", "participation_ratio"])]
    assert rows["value"].max() <= 5
    assert set(rows["tokens"]) == {12, 10}


def test_one_block():
    states = walk(depths=2)
    found = table((states, every(states)))
    missing = found[found["value"].isna()]
    reasons = missing.groupby(["depth", "of"])["metric"].agg(set).to_dict()
    assert reasons == {
        (0, "stream"): {"straightness", "curvature"},
        (1, "stream"): {"cosine_next", "curvature"},
        (1, "update"): {"cosine_next"},
    }


def test_fewer_tokens_than_a_metric_needs():
    states = walk(tokens=1)
    found = table((states, every(states)))
    rows = found[found["metric"].isin(list(SEQUENCE_METRICS))]
    assert rows["value"].isna().all()
    assert set(rows["reason"]) == {
        "every sequence has fewer than 2 tokens", "every sequence has fewer than 3 tokens",
    }  # fmt: skip
    norms = found[found["metric"] == "norm"].set_index("token_set")
    assert norms.loc["all", "value"].notna().all()
    assert set(norms.loc["without_first", "reason"]) == {"every sequence has fewer than 2 tokens"}


def test_constant_features():
    states = torch.ones(3, 2, 5, 4)
    found = table((states, every(states)))
    whole = found[found["position_low"].isna() & (found["depth"] == 1)]
    reasons = whole.set_index(["of", "metric"])["reason"].dropna().to_dict()
    assert reasons["stream", "effective_rank"] == "the tokens are all the same"
    assert reasons["stream", "straightness"] == "no token has moved"
    assert reasons["stream", "curvature"] == "the states are 0"  # of the updates
    assert reasons["update", "inter_token_cosine"] == "the states are 0"
    assert value(found, "inter_token_cosine", 1) == pytest.approx(1)
    assert value(found, "token_variance", 1, of="update") == 0


@pytest.mark.parametrize(("bad", "what"), [(math.nan, "NaN"), (math.inf, "Inf")])
def test_a_state_that_is_no_number_names_its_block_and_token(bad, what):
    first, states = walk(), walk(seed=1)
    states[2, 1, 4, 0] = bad
    states[3, 0, 0, 0] = math.nan
    analysis = seen_by(new(), (first, every(first)))
    message = f"the residual stream is {what} where it leaves block 1 .*: sequence 4, token 4"
    with pytest.raises(AnalysisError, match=message) as info:
        seen_by(analysis, (states, every(states)))
    assert "--check-values" in info.value.hint
    states[0, 0, 0, 0] = bad
    with pytest.raises(AnalysisError, match="enters the first block: sequence 0, token 0"):
        seen_by(new(), (states, every(states)))


def test_nan_on_padding_is_no_error():
    states = walk()
    valid = every(states)
    valid[:, 8:] = False
    expected = table((states, valid))
    states[:, :, 8:] = math.nan
    assert table((states, valid)).equals(expected)


def test_without_hidden_states_there_is_nothing_to_say():
    with pytest.raises(AnalysisError, match="of hidden states, and none were seen") as info:
        new().finish()
    assert info.value.hint == "mode='data'"


def test_options_that_mean_nothing():
    with pytest.raises(UsageError, match="rank_tokens must be at least 3, not 2"):
        PropagationOptions(rank_tokens=2)


def test_every_column_is_filled_or_may_be_empty():
    states = walk()
    found = table((states, every(states)))
    empty = {c.name for c in PROPAGATION.columns if found[c.name].isna().any()}
    assert empty <= {c.name for c in PROPAGATION.columns if c.nullable}


@pytest.mark.parametrize("name", ["tiny-mamba", "tiny-llama"])
def test_a_bundled_model_fills_the_table(name):
    source = TokenOptions(batch_size=2, seq_len=48, max_tokens=150)
    folder = ROOT / "catalog" / "checkpoints" / name
    run = analyze(str(folder), analyses="propagation", source=source, device="cpu")
    found = run.table("propagation").to_pandas()
    assert set(found["depth"]) == {0, 1, 2, 3}
    assert found["value"].notna().sum() > 300
    cosine = found[found["metric"].str.contains("cosine")]["value"].dropna()
    assert cosine.between(-1, 1).all()
    length = [value(found, "path_length", depth) for depth in range(4)]
    assert length == sorted(length)
    assert length[0] == 0
