"""The journal: each line whole on the disk, a torn one passed over, the last of each counts."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from spectrakit.errors import OutputError
from spectrakit.zoo.job import Outcome
from spectrakit.zoo.journal import Journal, Told, journal_lines, read_journals

FAILED = Outcome("a", failure="crashed", exit_code=1, reason="SIGSEGV")


def test_the_last_word_on_an_entry_counts(tmp_path):
    journal = Journal(tmp_path / "j", "host")
    journal.write("began", total=1)
    journal.write("started", name="a", model="m", key="k1")
    journal.write("failed", name="a", key="k1", state="s1", outcome=FAILED.record())
    journal.close()
    failed = read_journals(tmp_path / "j")["a"]
    assert failed == Told("m", "k1", 1, "s1", "k1", FAILED)
    journal = Journal(tmp_path / "j", "host")
    journal.write("started", name="a", model="m", key="k1")
    journal.write("finished", name="a", key="k1", state="s2", outcome={})
    journal.close()
    finished = read_journals(tmp_path / "j")["a"]
    assert (finished.attempts, finished.state, finished.failed) == (2, "s2", None)


def test_a_torn_last_line_is_passed_over(tmp_path):
    journal = Journal(tmp_path / "j", "host")
    journal.write("started", name="a", model="m", key="k")
    journal.write("started", name="b", model="m", key="k")
    journal.close()
    (path,) = (tmp_path / "j").iterdir()
    whole = path.read_bytes()
    for end in range(len(whole.splitlines(keepends=True)[0]), len(whole)):
        path.write_bytes(whole[:end])
        assert set(read_journals(tmp_path / "j")) == (
            {"a", "b"} if end >= len(whole) - 1 else {"a"}
        )


def test_later_drivers_count_for_more_whatever_the_clock_says(tmp_path):
    first, second = Journal(tmp_path / "j", "z"), Journal(tmp_path / "j", "a")
    first.open()
    second.open()
    assert (first.number, second.number) == (1, 2)
    second.write("failed", name="a", key="new", state="", outcome=FAILED.record())
    first.write("finished", name="a", key="old", state="", outcome={})
    assert read_journals(tmp_path / "j")["a"].key == "new"


def test_drivers_that_begin_at_once_have_numbers_of_their_own(tmp_path):
    journals = [Journal(tmp_path / "j", f"h{i}") for i in range(16)]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda journal: journal.open(), journals))
    assert sorted(journal.number for journal in journals) == sorted({j.number for j in journals})
    assert len(list((tmp_path / "j").iterdir())) == 16
    for journal in journals:
        journal.close()


def test_what_is_no_journal_is_not_read(tmp_path):
    (tmp_path / "notes.jsonl").write_text('{"event": "finished", "name": "x"}\n')
    (tmp_path / "0001-h-1.jsonl").write_text('[1]\n"text"\n\x00\n{"event": "started", "name": 3}\n')
    assert read_journals(tmp_path) == {}
    assert [line["event"] for line in journal_lines(tmp_path)] == ["started"]
    assert read_journals(tmp_path / "none") == {}


def test_every_line_is_json_with_a_time(tmp_path):
    journal = Journal(tmp_path / "j", "host")
    journal.write("started", name='a"\n\x1b', model="m", key="k")
    (line,) = journal_lines(tmp_path / "j")
    assert json.dumps(line)
    assert line["name"] == 'a"\n\x1b'
    assert line["at"].endswith("+00:00")


def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(tmp_path):
    (tmp_path / "j").write_text("a file")
    with pytest.raises(OutputError, match="not a folder"):
        Journal(tmp_path / "j", "host").open()
