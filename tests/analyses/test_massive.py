"""Planted massive tokens and coordinates: found, listed, left out; values against NumPy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

import spectrakit as sk
from spectrakit.analyses.base import Request
from spectrakit.analyses.massive.lines import massive_lines
from spectrakit.analyses.massive.options import MassiveOptions
from spectrakit.analyses.massive.tables import MASSIVE
from spectrakit.analyses.propagation.analysis import Propagation
from spectrakit.analyses.similarity.analysis import Similarity
from spectrakit.analyses.similarity.options import ESTIMATORS, SimilarityOptions
from spectrakit.errors import UsageError
from spectrakit.tables import Manifest, MemorySink
from spectrakit.token_options import TokenOptions
from tests.representations.test_huge_tokens import in_extended_precision

MANIFEST = Manifest(model_id="m", revision="r", mode="data")
KEEP = MassiveOptions(float("inf"), float("inf"))
USUAL = ("without_massive", "without_massive")
#: Sequence and position of the massive token, and the coordinates that are.
TOKEN, OFFSET, LOUD = (1, 1), 5, 11


def stream(batch=3, tokens=40, width=24, depths=4, seed=0, planted=True):
    """A residual stream (depths, B, T, E), with what is massive from depth 1 or 2 on."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(depths, batch, tokens, width, generator=generator).cumsum(0)
    if planted:
        states[1:, :, :, OFFSET] += 50.0  # the same in all tokens: it makes their cosines
        states[1:, :, :, LOUD] *= 20.0
        states[2:, TOKEN[0], TOKEN[1]] = 3e4 * states[2:, TOKEN[0], TOKEN[1]].sign()
    return states


def run_of(kind, *batches, massive=None, similarity=None):
    """The tables of one analysis."""
    request = Request(massive or MassiveOptions(), similarity or SimilarityOptions(("cka",)))
    analysis = kind(MemorySink(MANIFEST), request)
    for states in batches:
        for depth, here in enumerate(states):
            analysis.see_states(depth, here, torch.ones(here.shape[:2], dtype=torch.bool))
        analysis.end_batch()
    analysis.finish()
    return analysis.sink.run


def view(frame, token_set, coordinates):
    return frame[(frame["token_set"] == token_set) & (frame["coordinates"] == coordinates)]


def kept(states):
    """The states (depths, n, E') without the massive token and coordinates."""
    valid = torch.ones(states.shape[1:3], dtype=torch.bool)
    valid[TOKEN] = False
    return np.delete(states[:, valid].numpy().astype(np.float64), [OFFSET, LOUD], axis=-1), valid


def test_what_was_planted_is_listed():
    found = run_of(Similarity, stream()).table("massive").to_pandas()
    tokens = found[found["kind"] == "token"]
    assert set(zip(tokens["sequence"], tokens["position"], strict=True)) == {TOKEN}
    assert sorted(tokens["depth"]) == [2, 3]
    norms = stream().double().norm(dim=-1)
    for row in tokens.to_dict("records"):
        own = norms[row["depth"], TOKEN[0]].numpy()
        assert row["value"] == pytest.approx(own[TOKEN[1]], rel=1e-12)
        lower_median = np.sort(own)[(len(own) - 1) // 2]
        assert row["ratio"] == pytest.approx(own[TOKEN[1]] / lower_median, rel=1e-12)
    coordinates = found[found["kind"] == "coordinate"]
    assert set(coordinates["coordinate"]) == {OFFSET, LOUD}
    assert set(coordinates["depth"]) == {1, 2, 3}
    assert set(coordinates["sequences"]) == {3}
    assert set(found["limit"]) == {20.0}


def test_cka_with_and_without_them():
    states = stream()
    found = run_of(Similarity, states).table("similarity").to_pandas()
    ordinary, valid = kept(states)
    cases = {
        USUAL: list(torch.from_numpy(ordinary)),
        ("without_massive", "all"): list(states[:, valid]),
        ("all", "all"): list(states.flatten(1, 2)),
    }
    for sets, features in cases.items():
        rows = view(found, *sets)
        expected = in_extended_precision(features)
        for row in rows.to_dict("records"):
            assert row["value"] == pytest.approx(
                float(expected[row["depth"], row["other_depth"]]), abs=1e-9
            )
        assert set(rows["tokens"]) == {len(features[0])}
    pair = "depth == 1 and other_depth == 2"
    usual, everything = (
        float(view(found, *sets).query(pair)["value"].iloc[0]) for sets in (USUAL, ("all", "all"))
    )
    assert usual > 0.3 > 0.1 > everything  # one token of 120 had decided it


def test_flow_with_and_without_them():
    states = stream()
    found = run_of(Propagation, states).table("propagation").to_pandas()
    ordinary, valid = kept(states)
    place = np.cumsum([0, *valid.sum(1).tolist()])

    def value(metric, depth, sets=USUAL, of="stream"):
        rows = view(found, *sets).query("metric == @metric and depth == @depth and of == @of")
        return float(rows[rows["position_low"].isna()]["value"].iloc[0])

    def over_sequences(depth, measure):
        x = ordinary[depth]
        parts = [x[a:b] for a, b in pairwise(place)]
        return np.average([measure(part) for part in parts], weights=[len(p) for p in parts])

    def cosine(x):
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        n = len(x)
        return ((unit @ unit.T).sum() - n) / (n * (n - 1))

    def rank(x):
        share = np.linalg.eigvalsh(np.cov(x.T)).clip(1e-300)
        share = share / share.sum()
        return np.exp(-(share * np.log(share)).sum())

    for depth in range(4):
        assert value("inter_token_cosine", depth) == pytest.approx(over_sequences(depth, cosine))
        variance = over_sequences(depth, lambda x: x.var(0).sum())
        assert value("token_variance", depth) == pytest.approx(variance)
        assert value("effective_rank", depth) == pytest.approx(
            over_sequences(depth, rank), rel=1e-6
        )
    a, b = ordinary[1], ordinary[2]
    next_cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert value("cosine_next", 1) == pytest.approx(next_cosine.mean())
    assert value("norm", 2, of="update") == pytest.approx(np.linalg.norm(b - a, axis=1).mean())
    assert (
        value("inter_token_cosine", 2) < 0.1 < 0.5 < value("inter_token_cosine", 2, ("all", "all"))
    )


@pytest.mark.parametrize("kind", [Similarity, Propagation])
def test_batches_find_what_one_batch_finds(kind):
    batches = [stream(seed=seed) for seed in range(4)]
    options = SimilarityOptions(ESTIMATORS, sample_tokens=64, group_tokens=60, permutations=2)
    names = ["kind", "depth", "sequence", "position", "coordinate", "ratio"]
    found, one = (
        run_of(kind, *of, similarity=options).table("massive").to_pandas()[names]
        for of in (batches, [torch.cat(batches, 1)])
    )
    np.testing.assert_array_equal(one.iloc[:, 1:-1], found.iloc[:, 1:-1])
    np.testing.assert_allclose(one["ratio"], found["ratio"], rtol=1e-12)


def test_every_estimator_has_values_with_and_without():
    options = SimilarityOptions(ESTIMATORS, sample_tokens=64, permutations=2)
    planted = run_of(Similarity, stream(), similarity=options).table("similarity").to_pandas()
    for estimator in ESTIMATORS:
        rows = planted[planted["estimator"] == estimator]
        pair = rows.query("depth == 1 and other_depth == 2")
        assert len(pair) == 3
        assert pair["value"].notna().all()
        # Where only one in two tokens is sampled the massive one need not be among them.
        assert pair["value"].nunique() > 1


def test_nothing_is_left_out_of_ordinary_states():
    run = run_of(Similarity, stream(planted=False))
    assert MASSIVE.name not in run.tables
    assert massive_lines(run) == []
    found = run.table("similarity").to_pandas()
    assert (
        view(found, *USUAL)["value"].to_numpy() == view(found, "all", "all")["value"].to_numpy()
    ).all()


@pytest.mark.parametrize("kind", [Similarity, Propagation])
def test_all_may_be_kept(kind):
    run = run_of(kind, stream(), massive=KEEP)
    assert MASSIVE.name not in run.tables
    found = run.table(kind.__name__.lower()).to_pandas()
    usual, whole = (view(found, *sets)["value"].to_numpy() for sets in (USUAL, ("all", "all")))
    if kind is Similarity:
        np.testing.assert_array_equal(usual, whole)


def test_a_short_sequence_judges_no_coordinate():
    run = run_of(Similarity, stream(batch=4, tokens=8, planted=False))
    assert MASSIVE.name not in run.tables


@pytest.mark.parametrize("name", ["tokens", "coordinates"])
@pytest.mark.parametrize("limit", [1.0, -3.0, float("nan")])
def test_limits_that_mean_nothing(name, limit):
    with pytest.raises(UsageError, match=f"massive_{name} must be above 1, not {limit:g}"):
        MassiveOptions(**{name: limit})


def test_the_lines_say_what_was_left_out():
    lines = massive_lines(run_of(Similarity, stream()))
    assert lines[0].startswith("massive tokens: 1 (token 1 of sequence 1), at depths 2-3; norms")
    assert lines[1].startswith("massive coordinates: 2 (")
    assert lines[2].startswith("with them: CKA to the next depth ")


def test_a_model_whose_second_token_is_massive(tmp_path):
    """Through the whole of `analyze`: found, and CKA is that of the other tokens."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2, n_positions=48,
                        bos_token_id=0, eos_token_id=0)  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
        model.transformer.wpe.weight[1] *= 1e4
    model.save_pretrained(tmp_path / "model")
    tokens = torch.randint(0, 64, (3, 48), generator=torch.Generator().manual_seed(1))
    np.save(tmp_path / "tokens.npy", tokens.numpy())
    run = sk.analyze(
        str(tmp_path / "model"), analyses=("similarity", "propagation"), device="cpu",
        source=TokenOptions(tokens=tmp_path / "tokens.npy", seq_len=48),
    )  # fmt: skip
    with torch.no_grad():
        states = []
        blocks = model.transformer.h
        blocks[0].register_forward_pre_hook(lambda _, args, kwargs: states.append(
            args[0] if args else kwargs["hidden_states"]), with_kwargs=True)  # fmt: skip
        for block in blocks:
            block.register_forward_hook(
                lambda _, __, out: states.append(out if torch.is_tensor(out) else out[0])
            )
        model(tokens)
    massive = run.table("massive").to_pandas()
    places = massive[massive["kind"] == "token"][["sequence", "position"]].to_numpy().tolist()
    assert {tuple(place) for place in places} == {(0, 1), (1, 1), (2, 1)}
    rest = [0, *range(2, 48)]
    features = [own[:, rest].flatten(0, 1) for own in states]
    expected = in_extended_precision(features)
    found = view(run.table("similarity").to_pandas(), "without_massive", "all")
    for row in found[found["estimator"] == "cka"].to_dict("records"):
        assert row["value"] == pytest.approx(
            float(expected[row["depth"], row["other_depth"]]), abs=1e-5
        )
