"""The similarity analysis: which tokens it counts, and what its rows say."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise, permutations

import numpy as np
import pytest
import torch

import spectrakit as sk
from spectrakit.analyses.base import Request
from spectrakit.analyses.similarity.analysis import Similarity
from spectrakit.analyses.similarity.options import ESTIMATORS, SimilarityOptions
from spectrakit.analyses.similarity.tables import SIMILARITY
from spectrakit.errors import AnalysisError, UsageError
from spectrakit.representations.procrustes import procrustes_distance
from spectrakit.tables import Manifest, MemorySink
from spectrakit.token_options import TokenOptions
from tests.representations.feature_sets import direct_cka, gram

ONLY_CKA = SimilarityOptions(("cka",))
MIB = 1 << 20


def states(batch=3, tokens=40, widths=(12, 12, 12, 12), seed=0, dtype=torch.float64):
    """The residual stream of a made-up model: a matrix of its own at every depth, and noise."""
    g = torch.Generator().manual_seed(seed)
    found = [torch.randn(batch, tokens, widths[0], generator=g, dtype=dtype)]
    for depth, (width, following) in enumerate(pairwise(widths)):
        block = torch.randn(width, following, generator=torch.Generator().manual_seed(depth))
        noise = torch.randn(batch, tokens, following, generator=g, dtype=dtype)
        found.append(found[-1] @ block.to(dtype) / width**0.5 + 0.5 * noise)
    return found, torch.ones(batch, tokens, dtype=torch.bool)


def seen(*batches, options=ONLY_CKA, seed=0):
    analysis = Similarity(
        MemorySink(Manifest(model_id="m", revision="r", mode="data")),
        Request(options, seed=seed),
    )
    for at_depths, valid in batches:
        for depth, here in enumerate(at_depths):
            analysis.see_states(depth, here, valid)
        analysis.end_batch()
    return analysis


def table(analysis):
    analysis.finish()
    return analysis.sink.run.table("similarity").to_pandas()


def view(found, token_set="without_massive", coordinates="without_massive"):
    """The rows of some tokens and coordinates."""
    return found[(found["token_set"] == token_set) & (found["coordinates"] == coordinates)]


def matrix(found, estimator="cka", column="value"):
    rows = found[found["estimator"] == estimator]
    size = int(rows["other_depth"].max()) + 1
    values = np.full((size, size), np.nan)
    values[rows["depth"], rows["other_depth"]] = rows[column]
    return values


def expected(*batches):
    depths = range(len(batches[0][0]))
    whole = [torch.cat([at[depth][valid] for at, valid in batches]) for depth in depths]
    return np.triu(direct_cka([gram(own) for own in whole]).numpy())


def test_cka_is_exact_over_all_tokens_of_all_batches():
    batches = [states(seed=seed) for seed in range(3)]
    found = table(seen(*batches))
    np.testing.assert_allclose(np.nan_to_num(matrix(found)), expected(*batches), atol=1e-9)
    assert set(found["tokens"]) == set(found["tokens_seen"]) == {360}
    assert set(found["null_mean"]) == {0.0}
    np.testing.assert_allclose(found["null_std"], math.sqrt(2 / (360 * 357)), rtol=1e-9)
    np.testing.assert_allclose(found["null_z"], found["value"] / found["null_std"])


def test_padding_does_not_count():
    at_depths, valid = states()
    valid[1, 25:] = False
    for own in at_depths:
        own[1, 25:] = math.nan
    found = table(seen((at_depths, valid)))
    np.testing.assert_allclose(
        np.nan_to_num(matrix(found)), expected((at_depths, valid)), atol=1e-9
    )
    assert set(found["tokens"]) == {3 * 40 - 15}


def test_first_tokens_may_be_left_out():
    at_depths, valid = states()
    for own in at_depths[1:]:
        own[:, 0] = 1e4  # as attention models do
    rest = valid.clone()
    rest[:, 0] = False
    whole = table(seen((at_depths, valid)))
    found = table(seen((at_depths, valid), options=replace(ONLY_CKA, without_first=True)))
    np.testing.assert_allclose(np.nan_to_num(matrix(found)), expected((at_depths, rest)), atol=1e-9)
    assert matrix(view(whole, "all", "all"))[1, 3] > 0.99 > 0.8 > matrix(found)[1, 3]
    assert set(whole["token_set"]) == {"all", "without_massive"}
    assert set(found["token_set"]) == {"without_first", "without_massive"}


@pytest.mark.parametrize(
    "options",
    [
        SimilarityOptions(ESTIMATORS, permutations=2, sample_tokens=100, group_tokens=50),
        SimilarityOptions(ESTIMATORS, 160_000 / MIB, sample_tokens=300),  # a sample, and no sums
        SimilarityOptions(ESTIMATORS, sample_tokens=64),  # sums
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_may_come_in_any_order(options, dtype):
    batches = [states(batch=seed + 1, seed=seed, dtype=dtype) for seed in range(3)]
    found = [table(seen(*order, options=options)) for order in permutations(batches)]
    for other in found[1:]:
        for name in ("value", "null_mean", "null_std"):
            np.testing.assert_allclose(other[name], found[0][name], rtol=0, atol=1e-12)
        assert other.drop(columns=["value", "null_mean", "null_std", "null_z"]).equals(
            found[0].drop(columns=["value", "null_mean", "null_std", "null_z"])
        )


def test_every_estimator_has_its_pairs_and_its_numbers():
    options = SimilarityOptions(
        ESTIMATORS, sample_tokens=70, neighbours=4, group_tokens=32, bandwidth=0.5, permutations=3
    )
    found = view(table(seen(states(widths=(12, 12, 16)), options=options)))
    assert tuple(dict.fromkeys(found["estimator"])) == ESTIMATORS
    first = found.groupby("estimator").first()
    tokens = first["tokens"].to_dict()
    assert 70 <= tokens.pop("procrustes") <= 120  # as many as are kept
    assert tokens == {"cka": 120, "cka_minibatch": 120, "cka_rbf": 70, "mutual_knn": 70}
    assert (first["tokens_seen"] == 120).all()
    assert first["group_tokens"].dropna().to_dict() == {"cka_minibatch": 32}
    assert first["bandwidth"].dropna().to_dict() == {"cka_rbf": 0.5}
    assert first["neighbours"].dropna().to_dict() == {"mutual_knn": 4}
    assert first["permutations"].dropna().to_dict() == {"procrustes": 3}
    counts = found["estimator"].value_counts()
    assert counts.pop("procrustes") == 2
    assert set(counts) == {6}
    assert set(found["width"]) == {12, 16}
    assert found.loc[found["other_depth"] == 2, "other_width"].eq(16).all()
    assert found["reason"].isna().all()
    assert found[["value", "null_mean", "null_std", "null_z"]].notna().all().all()


def test_procrustes_is_of_neighbouring_depths():
    at_depths, valid = states()
    found = table(
        seen((at_depths, valid), options=SimilarityOptions(("procrustes",), permutations=0))
    )
    flat = [own.flatten(0, 1) for own in at_depths]
    for row in found.to_dict("records"):
        distance = procrustes_distance(flat[row["depth"]], flat[row["other_depth"]])
        assert row["value"] == pytest.approx(distance, rel=1e-9)
        assert row["other_depth"] == row["depth"] + 1
        assert row["reason"] == "no-permutations"
        assert math.isnan(row["null_z"])


def test_what_is_random_follows_the_seed():
    batch = states(batch=8)
    options = SimilarityOptions(("mutual_knn",), sample_tokens=50)
    one, same, other = (table(seen(batch, options=options, seed=seed)) for seed in (0, 0, 1))
    assert one.equals(same)
    assert not one["value"].equals(other["value"])


def test_the_sample_is_the_same_whatever_the_batches():
    at_depths, valid = states(batch=8)
    options = SimilarityOptions(("mutual_knn",), sample_tokens=50)
    halves = [([own[part] for own in at_depths], valid[part]) for part in (slice(4), slice(4, 8))]
    whole = table(seen((at_depths, valid), options=options))
    assert whole.equals(table(seen(*halves, options=options)))


def test_constant_features_have_a_reason_instead_of_a_value():
    at_depths, valid = states()
    at_depths[1][:] = 0.1
    found = table(seen((at_depths, valid), options=SimilarityOptions(ESTIMATORS, permutations=2)))
    touched = (found["depth"] == 1) | (found["other_depth"] == 1)
    assert found.loc[touched, "value"].isna().all()
    assert set(found.loc[touched, "reason"]) == {"no-variation"}
    assert found.loc[~touched, "value"].notna().all()
    assert found.loc[~touched, "reason"].isna().all()


@pytest.mark.parametrize("tokens", [0, 3])
def test_too_few_tokens_have_a_reason_instead_of_a_value(tokens):
    at_depths, valid = states(batch=1, tokens=4)
    valid[:, tokens:] = False
    found = view(table(seen((at_depths, valid), options=SimilarityOptions(ESTIMATORS))))
    assert found["value"].notna().sum() == (3 if tokens else 0)
    assert set(found.loc[found["value"].isna(), "reason"]) == {"too-few-tokens"}
    assert set(found.loc[found["value"].notna(), "estimator"]) <= {"procrustes"}
    assert set(found["tokens_seen"]) == {tokens}


def test_a_nan_is_named_by_its_block_and_token():
    batch, (at_depths, valid) = states(), states(seed=1)
    at_depths[2][1, 7, 3] = math.nan
    with pytest.raises(AnalysisError, match=r"NaN where it leaves block 1 .*sequence 4, token 7"):
        seen(batch, (at_depths, valid))


def test_too_little_memory_is_refused_with_the_numbers():
    with pytest.raises(UsageError, match="at 4 depths: 64 tokens of 384 bytes need 32,768") as info:
        seen(states(), options=replace(ONLY_CKA, memory_mib=20_000 / MIB))
    assert "similarity_memory" in info.value.hint


def test_no_states_at_all_is_an_error():
    with pytest.raises(AnalysisError, match="none were seen"):
        seen().finish()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"estimators": ("cca",)}, "unknown estimators 'cca'"),
        ({"estimators": ()}, "estimators must be one value or several"),
        ({"group_tokens": 3}, "similarity_group_tokens must be at least 4, not 3"),
        ({"neighbours": 0}, "similarity_neighbours must be at least 1, not 0"),
        ({"permutations": 1}, "two permutations"),
        ({"bandwidth": 0.0}, "similarity_bandwidth must be above 0"),
    ],
)
def test_options_that_mean_nothing(changed, message):
    with pytest.raises(UsageError, match=message):
        SimilarityOptions(**changed)


@pytest.mark.parametrize("model", ["tiny-mamba", "tiny-llama"])
def test_a_trained_model_has_a_value_for_every_pair(model):
    run = sk.analyze(
        model, analyses="similarity", source=TokenOptions(seq_len=64, max_tokens=512)
    )  # fmt: skip
    found = run.table("similarity").to_pandas()
    assert found["value"].notna().all()
    assert found["null_z"].notna().all()
    assert found["reason"].isna().all()
    assert set(found["tokens_seen"]) == {512}
    cka = matrix(found)
    assert np.nanmin(cka) > 0.05
    np.testing.assert_allclose(np.diagonal(cka), 1, rtol=1e-6)
    filled = {column.name for column in SIMILARITY.columns if found[column.name].notna().any()}
    assert {column.name for column in SIMILARITY.columns} - filled == {
        "other_model_id", "other_revision", "other_run", "group_tokens", "bandwidth",
        "permutations", "reason",
    }  # fmt: skip
