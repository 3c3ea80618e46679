"""The probe analysis, on a model whose states say exactly what they are meant to say."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
import torch

import spectrakit as sk
from spectrakit.analyses.base import Request
from spectrakit.analyses.probe.analysis import Probe
from spectrakit.analyses.probe.options import ProbeOptions
from spectrakit.errors import AnalysisError, UsageError
from spectrakit.progress import Silent
from spectrakit.prompts import PromptRunner
from spectrakit.tables import Manifest, MemorySink

MANIFEST = Manifest(model_id="m", revision="r", mode="data")
MIB = 1 << 20
FEW = ProbeOptions(prompts=120, pairs=4, folds=3)


class Retriever:
    """Reads the prompt as we do. Its states at the last token:

    0  the token alone       1  which source it is      2  the position it found      3  the value
    """

    vocabulary_size = 256
    width = 40

    def __init__(self, found=lambda text, data, key: list(data).index(key)):
        self.found = found
        self.lengths = []

    def run(self, tokens, on_layer=None, valid=None, on_states=None):
        batch, length = tokens.shape
        ends = []
        states = torch.zeros(4, batch, length, self.width)
        states[0] = tokens[..., None]
        for row in range(batch):
            text = bytes(tokens[row].tolist()).rstrip(b"\0").decode()
            data, key = parsed(text)
            noise = torch.Generator().manual_seed(hash_of(key))
            own = torch.randn(self.width, generator=noise)
            end = len(text) - 1
            ends.append(end)
            states[1:, row, end] = own
            states[2, row, end, self.found(text, data, key)] += 8
            states[3, row, end, int(data[key][0], 16)] += 16
        self.lengths += [end + 1 for end in ends]
        for depth in range(4):
            on_states(depth, states[depth])

    def logits(self, tokens, places):
        """Copies the value that it looks up, but for positions 2 and 3."""
        scores = torch.zeros(*places.shape, 256)
        for row, line in enumerate(tokens.tolist()):
            text = bytes(line).rstrip(b"\0").decode()
            data, key = parsed(text)
            begin = text.index("value:") + len("value:")
            wanted = key if list(data).index(key) < 2 else next(iter(data))
            answer = f' "{data[wanted]}"'.encode()
            for column, place in enumerate(places[row].tolist()):
                if place + 1 >= begin:  # the others stand for none
                    scores[row, column, answer[place + 1 - begin]] = 1
        return scores


def parsed(text):
    data = json.loads(text.partition("JSON data:\n")[2].partition("\n\nKey: ")[0])
    return data, re.search(r'Key: "(.*)"', text)[1]


def hash_of(key):
    return int(key.replace("-", "")[:12], 16)


def running(model, batch_size=7):
    return PromptRunner(model, str.encode, batch_size, Silent())


def new(options=FEW, seed=0):
    return Probe(MemorySink(MANIFEST), Request(options, seed=seed))


def finished(analysis):
    analysis.finish()
    return analysis.sink.run.table("probe").to_pandas()


def run(model=None, options=FEW, seed=0):
    analysis = new(options, seed)
    analysis.see_prompts(running(model or Retriever()))
    return analysis


@pytest.fixture(scope="module")
def table():
    return finished(run())


def pooled(table, target):
    return table[(table["target"] == target) & table["gold_position"].isna()].set_index("depth")


def test_finds_the_position_where_it_is_and_nowhere_else(table):
    found = pooled(table, "gold_position")
    assert found["accuracy"][2] == 1
    assert found["accuracy"][0] == found["chance"][0] == 0.25  # the same state everywhere
    for depth in (1, 3):
        assert found["accuracy_low"][depth] < 0.25 < found["accuracy_high"][depth]
    assert (found["shuffled_accuracy"] - 0.25).abs().max() < 0.13
    assert (found["accuracy_low"] <= found["accuracy"]).all()
    assert found["accuracy_high"][2] == 1 > found["accuracy_low"][2] > 0.8


def test_finds_the_value_where_it_is_though_prompts_of_a_source_share_it(table):
    """Depth 1 tells the source, and so the value, of all prompts but those held out."""
    found = pooled(table, "answer_start")
    assert found["accuracy"][3] > 0.5
    assert found["accuracy"][1] < 0.25
    assert found["accuracy"][2] < 0.25
    assert found["shuffled_accuracy"].max() < 0.3
    assert (found["chance"] < 0.25).all()


def test_has_a_row_for_every_position(table):
    rows = table[(table["target"] == "gold_position") & (table["depth"] == 2)]
    assert rows["gold_position"].tolist()[1:] == [0, 1, 2, 3]
    assert rows["prompts"].tolist() == [120, 30, 30, 30, 30]
    assert (rows["sources"] == 30).all()
    assert (rows["items"] == 4).all()
    assert (rows["features"] == 40).all()
    assert rows["accuracy"].tolist() == [1] * 5
    assert len(table) == 2 * 4 * 5
    assert table["reason"].isna().all()


def test_says_beside_it_where_the_model_itself_is_right(table):
    for _, rows in table.groupby(["target", "depth"]):
        by = rows.set_index("gold_position")["model_accuracy"]
        assert by[[0, 1, 2, 3]].tolist() == [1, 1, 0, 0]
        assert rows["model_accuracy"].iloc[0] == 0.5
    assert table["model_reason"].isna().all()
    assert (table["model_accuracy_low"] <= table["model_accuracy"]).all()


def test_prompts_are_run_in_no_order_that_tells_a_label():
    analysis = new()
    labels = np.array([int(prompt.labels["gold_position"]) for prompt in analysis._prompts])
    in_batch = np.arange(120) % 4
    assert abs((labels == in_batch).mean() - 0.25) < 0.13


def test_a_model_that_knows_sources_but_no_position_is_at_chance():
    found = pooled(finished(run(Retriever(lambda text, data, key: hash_of(key) % 4))),
                   "gold_position")  # fmt: skip
    for depth in (1, 2):
        assert found["accuracy_low"][depth] < 0.25 < found["accuracy_high"][depth]


def test_a_model_without_a_head_is_probed_all_the_same():
    class Headless(Retriever):
        def logits(self, tokens, places):
            return None

    found = finished(run(Headless()))
    assert (found["model_reason"] == "no_head").all()
    assert found["model_accuracy"].isna().all()
    assert pooled(found, "gold_position")["accuracy"][2] == 1


def question(number):
    own = [{"title": f"t{number}{k}", "text": "beside"} for k in range(2)]
    gold = {"title": "gold", "text": f"word{number}", "isgold": True}
    return {"question": f"q{number}", "answers": [f"word{number}"], "ctxs": [gold, *own]}


def test_where_others_have_no_answers_the_model_has_no_choice(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text("".join(json.dumps(question(number)) + "\n" for number in range(12)))
    options = ProbeOptions("multi-doc-qa", path)
    run = sk.analyze("tiny-llama", analyses="probe", options=[options])
    found = run.table("probe").to_pandas()
    assert set(found["target"]) == {"gold_position"}
    assert (found["model_reason"] == "no_candidates").all()
    assert found["accuracy"].notna().all()
    assert run.manifest.settings()["probe.prompt_set"] == "multi-doc-qa"
    assert run.manifest.settings()["probe.prompt_file"] == str(path)
    assert len(run.manifest.contents["probe.prompt_file"]) == 64


def test_states_that_do_not_fit_are_projected():
    options = ProbeOptions(prompts=120, pairs=4, folds=3, memory_mib=120 * 4 * 4 * 30 / MIB)
    found = finished(run(options=options))
    assert (found["features"] == 30).all()
    assert pooled(found, "gold_position")["accuracy"][2] > 0.9


def test_one_seed_gives_one_table(table):
    assert finished(run()).equals(table)
    assert not finished(run(seed=5)).equals(table)


def test_states_that_are_no_numbers_are_named():
    class Broken(Retriever):
        def run(self, tokens, on_layer=None, valid=None, on_states=None):
            added = (0, 0, math.inf, 0)
            super().run(tokens, on_states=lambda depth, h: on_states(depth, h + added[depth]))

    with pytest.raises(AnalysisError, match="where it leaves block 1"):
        run(Broken())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"prompt_set": "no-such"},
            "unknown prompt set 'no-such'; one of: kv-retrieval, multi-doc-qa",
        ),
        ({"prompts": 16, "pairs": 4}, "16 prompts of 4 sources are too few for 5 folds"),
        ({"prompts": 3}, "0 prompts of 0 sources are too few"),
    ],
)
def test_what_cannot_be_asked(options, says):
    with pytest.raises(UsageError, match=says):
        new(ProbeOptions(**options))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"pairs": 1}, "pairs must be at least 2, not 1"),
        ({"prompts": 0}, "prompts must be at least 1"),
        ({"positions": 1}, "probe_positions must be at least 2"),
        ({"folds": 1}, "probe_folds must be at least 2"),
    ],
)
def test_options_that_mean_nothing(options, says):
    with pytest.raises(UsageError, match=says):
        ProbeOptions(**options)


def test_too_little_memory():
    with pytest.raises(UsageError, match="1,000 B are too little for 120 states at each of 4"):
        run(options=ProbeOptions(prompts=120, pairs=4, memory_mib=1000 / MIB))


def test_needs_a_forward_pass():
    with pytest.raises(AnalysisError, match="none were seen"):
        new().finish()
    with pytest.raises(UsageError, match="weights mode"):
        sk.analyze("tiny-mamba", analyses="probe", mode="weights")


def test_a_trained_transformer_in_full():
    options = ProbeOptions(prompts=27, pairs=3, folds=3)
    run = sk.analyze("tiny-llama", analyses="probe", options=[options])
    found = run.table("probe").to_pandas()
    assert len(found) == 2 * 4 * (1 + 3)
    assert found["accuracy"].notna().all()
    assert found["model_accuracy"].notna().all()
    assert pooled(found, "gold_position")["accuracy"][0] == pytest.approx(1 / 3)
    assert run.table("layers")["status"].to_pylist() == ["analysed"] * 3
