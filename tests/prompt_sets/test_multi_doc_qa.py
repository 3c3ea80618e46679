"""The multi-doc-qa prompt set: its text, and which passages stand beside the gold one."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from spectrakit.analyses.probe.options import ProbeOptions
from spectrakit.errors import MalformedError, UsageError
from spectrakit.prompt_sets.multi_doc_qa import MultiDocumentQA, normalised

PUBLIC = os.environ.get("SPECTRAKIT_TEST_LOST_IN_THE_MIDDLE")


def record(number, answers=None, ctxs=()):
    gold = {"title": f"T{number}", "text": f"Fact {number} says word{number}.", "isgold": True}
    return {
        "question": f"which word is number {number}",
        "answers": answers or [f"word{number}"],
        "ctxs": [gold, *ctxs],
    }


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def prompts(path, seed=0, **options):
    return MultiDocumentQA(ProbeOptions("multi-doc-qa", path, **options), seed).prompts()


def passages(prompt):
    return re.findall(r"^Document \[\d+\]\(Title: (\w+)\) (.*)$", prompt.text, re.MULTILINE)


def test_the_text_is_that_of_lost_in_the_middle(tmp_path):
    own = [{"title": "X", "text": "Beside.", "isgold": False}]
    found = prompts(write(tmp_path / "f.jsonl", [record(1, ctxs=own)]))
    assert found[1].text == (
        "Write a high-quality answer for the given question using only the provided search results "
        "(some of which might be irrelevant).\n"
        "\n"
        "Document [1](Title: X) Beside.\n"
        "Document [2](Title: T1) Fact 1 says word1.\n"
        "\n"
        "Question: which word is number 1\n"
        "Answer:"
    )
    assert (found[1].position, found[1].labels) == (1, {"gold_position": "1"})
    assert (found[1].answer, found[1].others) == (" word1\n", ())  # others have no answers


def test_passages_of_other_questions_are_used_once(tmp_path):
    path = write(tmp_path / "f.jsonl", [record(n) for n in range(100, 140)])
    found = prompts(path, pairs=5)
    assert len(found) == 8 * 5
    seen = []
    for source in {prompt.source for prompt in found}:
        own = [prompt for prompt in found if prompt.source == source]
        assert [prompt.position for prompt in own] == [0, 1, 2, 3, 4]
        assert len({frozenset(passages(prompt)) for prompt in own}) == 1
        number = source.split()[-1]
        assert all(passages(prompt)[prompt.position][0] == f"T{number}" for prompt in own)
        assert own[0].answer == f" word{number}\n"
        assert {f" word{title[1:]}\n" for title, _ in passages(own[0])} == {
            own[0].answer, *own[0].others,
        }  # fmt: skip
        seen += passages(own[0])
    assert len(seen) == len(set(seen)) == 40


def test_no_other_passage_holds_an_answer(tmp_path):
    # Every question but two is answered by a passage of any other.
    records = [record(n, answers=["the Word1!", f"word{n}"]) for n in (1, 10, 11, 12)]
    records += [record(n) for n in (20, 30)]
    for seed in range(5):
        for prompt in prompts(write(tmp_path / "f.jsonl", records), seed, pairs=2):
            golden = normalised(prompt.answer)
            texts = [normalised(text) for _, text in passages(prompt)]
            assert [golden in text for text in texts].count(True) == 1


def test_a_passage_of_two_questions_counts_once(tmp_path):
    records = [record(1), record(1) | {"question": "again?"}, record(2)]
    found = prompts(write(tmp_path / "f.jsonl", records), pairs=2)
    assert len({prompt.source for prompt in found}) == 1


def test_answers_are_compared_as_squad_does():
    assert normalised("The  Mandate, of a Heaven!") == "mandate of heaven"


def test_seeds_choose_other_questions(tmp_path):
    path = write(tmp_path / "f.jsonl", [record(n) for n in range(100, 140)])
    assert prompts(path, 1, prompts=10) == prompts(path, 1, prompts=10)
    assert prompts(path, 1, prompts=10) != prompts(path, 2, prompts=10)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"question": ""}, "its 'question' is"),
        ({"answers": [" "]}, "its 'answers' are"),
        ({"ctxs": [{"title": "t", "text": "x"}]}, "0 of its passages are gold"),
        ({"ctxs": ["x"]}, "a passage is"),
        ({"ctxs": [{"title": "t"}]}, "its 'text' is"),
    ],
)
def test_a_record_that_is_none(tmp_path, change, says):
    path = write(tmp_path / "f.jsonl", [record(1) | change])
    with pytest.raises(MalformedError, match=f"record 1 of f.jsonl: {says}"):
        prompts(path)


def test_there_must_be_a_file_with_enough_passages(tmp_path):
    with pytest.raises(UsageError, match="needs questions") as caught:
        prompts(None)
    assert "prompt_file=" in caught.value.hint
    own = [{"title": "X", "text": "Beside."}]
    with pytest.raises(UsageError, match="2 passages, not 3"):
        prompts(write(tmp_path / "f.jsonl", [record(1, ctxs=own)]), pairs=3)


@pytest.mark.skipif(PUBLIC is None, reason="SPECTRAKIT_TEST_LOST_IN_THE_MIDDLE=FOLDER has the data")
def test_the_public_file():
    path = Path(PUBLIC) / "nq-open-oracle.jsonl.gz"
    found = prompts(path, pairs=10, prompts=1000)
    assert len(found) == 1000
    assert len({prompt.source for prompt in found}) == 200
    assert {prompt.position for prompt in found} == {0, 2, 4, 6, 9}
    assert min(len(prompt.others) for prompt in found) >= 8
