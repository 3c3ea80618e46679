"""The kv-retrieval prompt set: its text, its positions, its labels, and the files it takes."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from spectrakit.analyses.probe.options import ProbeOptions
from spectrakit.errors import MalformedError, UsageError
from spectrakit.prompt_sets import gold_positions
from spectrakit.prompt_sets.kv_retrieval import KeyValueRetrieval

RECORD = {
    "ordered_kv_records": [["a", "1x"], ["b", "2x"], ["c", "3x"]],
    "key": "b",
    "value": "2x",
}
PUBLIC = os.environ.get("SPECTRAKIT_TEST_LOST_IN_THE_MIDDLE")


def prompts(seed=0, **options):
    return KeyValueRetrieval(ProbeOptions(**options), seed).prompts()


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def pairs_of(prompt):
    data = prompt.text.partition("JSON data:\n")[2].partition("\n\nKey: ")[0]
    return list(json.loads(data).items())


def test_the_text_is_that_of_lost_in_the_middle(tmp_path):
    found = prompts(prompt_file=write(tmp_path / "f.jsonl", RECORD))
    assert [prompt.position for prompt in found] == [0, 1, 2]
    assert found[1].text == (
        "Extract the value corresponding to the specified key in the JSON object below.\n"
        "\n"
        "JSON data:\n"
        '{"a": "1x",\n'
        ' "b": "2x",\n'
        ' "c": "3x"}\n'
        "\n"
        'Key: "b"\n'
        "Corresponding value:"
    )
    assert [key for key, _ in pairs_of(found[2])] == ["a", "c", "b"]
    assert {prompt.answer for prompt in found} == {' "2x"'}
    assert {prompt.others for prompt in found} == {(' "1x"', ' "3x"')}
    assert found[2].labels == {"gold_position": "2", "answer_start": "2"}


@pytest.mark.parametrize(
    ("items", "most", "expected"),
    [
        (10, 3, (0, 4, 9)),  # the sweeps of the paper's own files
        (20, 5, (0, 4, 9, 14, 19)),
        (30, 7, (0, 4, 9, 14, 19, 24, 29)),
        (140, 5, (0, 34, 69, 104, 139)),
        (3, 5, (0, 1, 2)),
        (7, 1, (0,)),
    ],
)
def test_gold_positions(items, most, expected):
    assert gold_positions(items, most) == expected


def test_a_source_has_every_position_once_and_nothing_else_changes():
    found = prompts(pairs=6, prompts=17)
    assert Counter(prompt.source for prompt in found) == dict.fromkeys(
        {prompt.source for prompt in found}, 5
    )
    assert len(found) == 15
    for source in {prompt.source for prompt in found}:
        own = [prompt for prompt in found if prompt.source == source]
        assert [prompt.position for prompt in own] == [0, 1, 2, 3, 5]
        assert len({frozenset(pairs_of(prompt)) for prompt in own}) == 1
        assert len({len(prompt.text) for prompt in own}) == 1
        for prompt in own:
            key, value = pairs_of(prompt)[prompt.position]
            assert prompt.text.endswith(f'Key: "{key}"\nCorresponding value:')
            assert prompt.answer == f' "{value}"'
            assert prompt.labels == {
                "gold_position": str(prompt.position), "answer_start": value[0],
            }  # fmt: skip
        rest = [[key for key, _ in pairs_of(p) if key != source] for p in own]
        assert all(order == rest[0] for order in rest)


def test_no_key_or_value_is_in_two_sources():
    found = [prompt for prompt in prompts(pairs=4, prompts=40) if prompt.position == 0]
    words = [word for prompt in found for pair in pairs_of(prompt) for word in pair]
    assert len(words) == len(set(words)) == 10 * 8


def test_seeds_draw_other_data_and_the_same_seed_the_same():
    assert prompts(seed=1, prompts=20) == prompts(seed=1, prompts=20)
    assert not {p.text for p in prompts(seed=1)} & {p.text for p in prompts(seed=2)}


def test_packed_files_and_fewer_pairs(tmp_path):
    path = tmp_path / "f.jsonl.gz"
    path.write_bytes(gzip.compress(f"{json.dumps(RECORD)}\n\n{json.dumps(RECORD)}".encode()))
    found = prompts(prompt_file=path, pairs=2, prompts=2)
    assert [pairs_of(prompt) for prompt in found] == [
        [("b", "2x"), ("a", "1x")],
        [("a", "1x"), ("b", "2x")],
    ]
    assert len(prompts(prompt_file=path)) == 6


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"key": "z"}, "its key 'z' is not one of distinct keys"),
        ({"key": 3}, "its 'key' is '3'"),
        ({"ordered_kv_records": []}, "its 'ordered_kv_records' is"),
        ({"ordered_kv_records": [["a"]]}, "is no pair"),
        ({"ordered_kv_records": [["b", ""]]}, "is no pair"),
        ({"ordered_kv_records": [["b", "1"], ["b", "2"]]}, "not one of distinct keys"),
    ],
)
def test_a_record_that_is_none(tmp_path, change, says):
    path = write(tmp_path / "f.jsonl", RECORD, RECORD | change)
    with pytest.raises(MalformedError, match=f"record 2 of f.jsonl: .*{says}"):
        prompts(prompt_file=path)


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (None, UsageError, "cannot read the prompt file"),
        (b"", MalformedError, "holds no record"),
        (b"\xff\xfe", MalformedError, "neither UTF-8"),
        (b"\x1f\x8bnot really", MalformedError, "neither UTF-8"),
        (b"{", MalformedError, "record 1 of f.jsonl: no JSON"),
        (b"[1]", MalformedError, "record 1 of f.jsonl: no JSON object"),
    ],
)
def test_a_file_that_is_none(tmp_path, content, error, says):
    path = tmp_path / "f.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=says):
        prompts(prompt_file=path)


def test_more_pairs_than_a_record_has(tmp_path):
    with pytest.raises(UsageError, match="record 1 of f.jsonl has 3 pairs, not 4") as caught:
        prompts(prompt_file=write(tmp_path / "f.jsonl", RECORD), pairs=4)
    assert caught.value.hint == "pairs=3"


@pytest.mark.skipif(PUBLIC is None, reason="SPECTRAKIT_TEST_LOST_IN_THE_MIDDLE=FOLDER has the data")
@pytest.mark.parametrize("pairs", [75, 140])
def test_the_public_files(pairs):
    path = Path(PUBLIC) / f"kv-retrieval-{pairs}_keys.jsonl.gz"
    found = prompts(prompt_file=path, prompts=10_000)
    assert len(found) == 2500
    assert {prompt.items for prompt in found} == {pairs}
    assert {len(prompt.others) for prompt in found} == {pairs - 1}
    assert all(dict(pairs_of(p))[p.source] == p.answer[2:-1] for p in found[::25])
