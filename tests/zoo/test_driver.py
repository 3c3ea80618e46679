"""The driver against a workplace without processes: what is run, retried, told and left alone."""

from __future__ import annotations

import errno
import json
import os
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

import spectrakit as sk
from spectrakit.errors import NetworkError, OutputError, UsageError
from spectrakit.spec import RunSpec
from spectrakit.zoo import driver as module
from spectrakit.zoo.claims import Claims
from spectrakit.zoo.driver import Driver, Template
from spectrakit.zoo.entries import Entry
from spectrakit.zoo.folder import BatchFolder
from spectrakit.zoo.job import Job, Limits, Outcome
from spectrakit.zoo.journal import Journal, journal_lines
from spectrakit.zoo.keys import state_of
from spectrakit.zoo.sorting import sort_entries
from spectrakit.zoo.watch import Unwatched

from .killing import times


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Seconds that pass only where the driver sleeps."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.time, "sleep", lambda s: now.__setitem__(0, now[0] + s))
    return now


@pytest.fixture(scope="session")
def run_of_tiny(tmp_path_factory):
    """The files of a run of tiny-mamba."""
    folder = tmp_path_factory.mktemp("one") / "run"
    sk.analyze("tiny-mamba", out=folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Fake:
    """A workplace that has each job done at once, by what `fates` says of its entry in turn.

    A fate is an `Outcome`, or an exception of the future; where there is none left, the run is put
    into its folder.
    """

    def __init__(self, files, fates=None, slots=2):
        self.slots = slots
        self.jobs = []
        self.closed = 0
        self._files, self._fates = files, {name: list(each) for name, each in (fates or {}).items()}

    def submit(self, job, news):
        self.jobs.append(job)
        news("reading", 1, None, "B")
        future = Future()
        fate = (self._fates.get(job.name) or [None]).pop(0)
        if isinstance(fate, BaseException):
            future.set_exception(fate)
        else:
            future.set_result((self._run(job) if fate is None else fate).record())
        return future

    def outcome_of(self, name, error):
        if isinstance(error, UsageError):
            raise error
        return Outcome(name, failure="lost", exit_code=1, reason=str(error))

    def close(self):
        self.closed += 1

    def _run(self, job):
        folder = BatchFolder(Path(job.folder).parents[1])
        there = folder.finished(job.name, job.key) is not None
        if not there:
            write_run(folder, job.name, job.key, self._files)
        return Outcome(job.name, computed=not there)


def write_run(folder, name, key, files):
    (folder.runs / name).mkdir(exist_ok=True)
    for file, content in files.items():
        if file == "run.json":
            content = json.dumps(json.loads(content) | {"key": key}).encode()
        (folder.runs / name / file).write_bytes(content)


class Told(Unwatched):
    """A watch that remembers."""

    def __init__(self):
        self.events = []

    def started(self, name):
        self.events.append(("started", name))

    def ended(self, outcome, *, again):
        self.events.append(("again" if again else "ended", outcome.name))


def failed(name, failure="error", exit_code=3, **more):
    return Outcome(name, failure=failure, exit_code=exit_code, reason="no", **more)


def entries(*names, **changes):
    return [Entry(name, RunSpec(model="tiny-mamba", **changes)) for name in names]


@pytest.fixture
def batch(tmp_path, run_of_tiny):
    """`batch(names, fates)` runs them into one folder."""

    def run(asked, fates=None, *, retries=2, retry_failed=False, slots=2, limits=None):
        folder = BatchFolder(tmp_path / "D")
        found = sort_entries(folder, asked, retry_failed=retry_failed)
        place, told = Fake(run_of_tiny, fates, slots), Told()
        if not found.todo:
            return found, None, place, told
        folder.make()
        driver = Driver(
            folder, Template(Job("", {}, "", "", limits=limits or Limits()), retries), place, told
        )
        try:
            ended = driver.run(found.todo, "the command", len(asked))
        finally:
            assert place.closed == 1
            assert not folder.claims.exists()
        return found, ended, place, told

    run.folder = BatchFolder(tmp_path / "D")
    return run


def events(folder):
    return [(line["event"], line.get("name")) for line in journal_lines(folder.journal)]


def test_every_entry_is_run_once_and_the_journal_says_so(batch):
    _, ended, place, told = batch(entries("a", "b", "c"))
    assert (ended.computed, ended.kept, ended.failed) == (3, 0, {})
    assert [job.name for job in place.jobs] == ["a", "b", "c"]
    assert [job.folder for job in place.jobs] == [str(batch.folder.runs / n) for n in "abc"]
    assert told.events[-1] == ("ended", "c")
    lines = list(journal_lines(batch.folder.journal))
    assert (lines[0]["event"], lines[0]["command"], lines[0]["total"]) == (
        "began",
        "the command",
        3,
    )
    assert lines[-1]["event"] == "ended"
    of_b = [line for line in lines if line.get("name") == "b"]
    assert [line["event"] for line in of_b] == ["started", "finished"]
    assert of_b[0]["key"] == of_b[1]["key"] == place.jobs[1].key
    assert (of_b[0]["model"], of_b[0]["attempt"]) == ("tiny-mamba", 1)
    assert len(of_b[1]["state"]) == 16


def test_a_second_run_hands_in_nothing_and_touches_no_file(batch):
    batch(entries("a", "b"), {"b": [failed("b")]})
    before = times(batch.folder.path)
    found, ended, place, told = batch(entries("a", "b"))
    assert (found.finished, list(found.failed), found.todo) == (["a"], ["b"], [])
    assert (ended, place.jobs, told.events) == (None, [], [])
    assert times(batch.folder.path) == before


def test_what_failed_is_tried_again_only_when_asked_or_of_another_key(batch):
    batch(entries("a"), {"a": [failed("a")]})
    assert batch(entries("a"))[2].jobs == []
    assert len(batch(entries("a"), retry_failed=True, fates={"a": [failed("a")]})[2].jobs) == 1
    other = batch(entries("a", seed=1), {"a": [failed("a")]})
    assert len(other[2].jobs) == 1
    assert batch(entries("a", seed=1))[2].jobs == []


@pytest.mark.parametrize(
    ("outcome", "times_run"),
    [
        (failed("a", exit_code=NetworkError.exit_code), 3),
        (failed("a", failure="lost", exit_code=1), 3),
        (failed("a", failure="killed", exit_code=1), 3),
        (failed("a"), 1),
        (failed("a", failure="crashed", exit_code=1), 1),
        (failed("a", failure="time", exit_code=1), 1),
        (failed("a", failure="memory", exit_code=1), 1),
        (failed("a", failure="exited", exit_code=1), 1),
    ],
    ids=lambda what: getattr(what, "failure", ""),
)
def test_only_what_may_pass_is_tried_again(batch, clock, outcome, times_run):
    _, ended, place, told = batch(entries("a"), {"a": [outcome] * 9})
    assert len(place.jobs) == times_run
    assert ended.failed["a"].reason == "no"
    assert [name for name, _ in events(batch.folder)][1:-1] == [
        *["started", "retried"] * (times_run - 1), "started", "failed"]  # fmt: skip
    assert told.events.count(("again", "a")) == times_run - 1
    # Each pause is twice as long as the one before.
    assert clock[0] - 100 >= (module._PAUSE * 3 if times_run == 3 else 0)


def test_one_that_goes_better_later_is_no_failure(batch):
    _, ended, place, _ = batch(entries("a", "b"), {"a": [failed("a", "killed", 1)] * 2})
    assert (ended.computed, ended.failed) == (2, {})
    assert [job.name for job in place.jobs] == ["a", "b", "a", "a"]
    attempts = [line["attempt"] for line in journal_lines(batch.folder.journal)
                if line["event"] == "started" and line["name"] == "a"]  # fmt: skip
    assert attempts == [1, 2, 3]


def test_a_busy_folder_is_waited_for_however_long(batch):
    busy = failed("a", exit_code=1, busy=True)
    _, ended, place, _ = batch(entries("a"), {"a": [busy] * 20}, retries=0)
    assert (ended.computed, len(place.jobs)) == (1, 21)
    assert "retried" not in [name for name, _ in events(batch.folder)]


def test_a_full_disk_ends_the_batch_and_it_goes_on_where_it_was(batch):
    full = Outcome("b", failure="error", exit_code=1, reason="no space left", hint="free some",
                   folder_full=True)  # fmt: skip
    with pytest.raises(OutputError, match="no space left") as caught:
        batch(entries("a", "b", "c"), {"b": [full]}, slots=1)
    assert caught.value.hint == "free some"
    assert events(batch.folder)[-1] == ("stopped", None)
    found, ended, place, _ = batch(entries("a", "b", "c"))
    assert found.finished == ["a"]
    assert ([job.name for job in place.jobs], ended.computed) == (["b", "c"], 2)


def test_what_a_workplace_raises_ends_the_batch_or_is_the_entrys(batch):
    _, ended, place, _ = batch(entries("a"), {"a": [OSError("gone")]})
    assert (ended.computed, len(place.jobs)) == (1, 2)
    with pytest.raises(UsageError, match="other versions"):
        batch(entries("b"), {"b": [UsageError("other versions")]})
    assert events(batch.folder)[-1] == ("stopped", None)


@pytest.mark.parametrize(("error", "says"), [(KeyboardInterrupt, "interrupted"),
                                             (SystemExit, "interrupted"),
                                             (ZeroDivisionError, "stopped")])  # fmt: skip
def test_an_interrupt_is_written_down(batch, monkeypatch, error, says):
    monkeypatch.setattr(Told, "tick", lambda self: (_ for _ in ()).throw(error))
    with pytest.raises(error):
        batch(entries("a", "b"))
    assert events(batch.folder)[-1] == (says, None)


def test_what_another_driver_is_doing_is_left_to_it_until_it_is_done(
    batch, monkeypatch, run_of_tiny
):
    folder = batch.folder
    folder.make()
    asked = entries("a", "b")
    (key,) = {key for _, key in sort_entries(folder, asked).todo}
    folder.claims.mkdir()
    with Claims(folder.claims, 77) as other:
        assert other.take("a")
        looks = []

        def tick(self):
            looks.append([job.name for job in place.jobs])
            if len(looks) == 5:
                write_run(folder, "a", key, run_of_tiny)
                other.drop("a")

        monkeypatch.setattr(Told, "tick", tick)
        place = Fake(run_of_tiny)
        driver = Driver(folder, Template(Job("", {}, "", "")), place, Told())
        ended = driver.run(sort_entries(folder, asked).todo, "", 2)
        assert [job.name for job in place.jobs] == ["b", "a"]
        assert looks[4] == ["b"]
    assert (ended.computed, ended.kept) == (1, 1)


def test_a_driver_that_died_keeps_nobody_from_anything(batch):
    batch.folder.make()
    batch.folder.claims.mkdir()
    died = {"host": os.uname().nodename, "boot": "", "pid": 1 << 22, "began": "1", "beats": 3}
    (batch.folder.claims / "driver-4.json").write_text(json.dumps(died))
    (batch.folder.claims / "entry-a").write_text("4")
    (batch.folder.claims / "driver-5.new").write_text("{")
    (batch.folder.claims / "gone-4-entry-b").write_text("4")
    assert batch(entries("a"))[1].computed == 1
    batch.folder.claims.mkdir()
    (batch.folder.claims / "driver-4.json").write_text("{}")
    batch.folder.tidy()
    assert not batch.folder.claims.exists()


def test_the_run_of_other_settings_goes_when_the_new_ones_fail(batch):
    batch(entries("a"))
    batch(entries("a", seed=1), {"a": [failed("a")]})
    assert batch.folder.names() == []
    assert (batch.folder.stale / "a" / "run.json").exists()


def files_of(folder):
    return {Path(path).name: told for path, told in times(folder).items()}


def test_a_run_of_other_settings_is_set_aside_and_put_back(batch):
    batch(entries("a"))
    first = files_of(batch.folder.runs / "a")
    assert batch(entries("a", seed=1))[1].computed == 1
    second = files_of(batch.folder.runs / "a")
    assert files_of(batch.folder.stale / "a") == first
    for seed, expected in ((0, first), (1, second), (0, first)):
        _, ended, *_ = batch(entries("a", seed=seed))
        assert (ended.computed, ended.kept) == (0, 1)
        assert files_of(batch.folder.runs / "a") == expected
    assert len(list(batch.folder.stale.iterdir())) == 1


def test_those_that_take_the_place_of_others_are_told(batch):
    batch(entries("a", "b"))
    found = sort_entries(batch.folder, [*entries("a"), *entries("b", "c", seed=1)])
    assert (found.finished, found.replaced) == (["a"], ["b"])
    assert [entry.name for entry, _ in found.todo] == ["b", "c"]


@pytest.mark.parametrize(
    ("failure", "limits", "again"),
    [
        ("time", Limits(seconds=100), False),
        ("time", Limits(seconds=99), False),
        ("time", Limits(seconds=101), True),
        ("memory", Limits(seconds=100, memory=10), False),
        ("memory", Limits(seconds=100, memory=11), True),
        ("memory", Limits(seconds=100), True),
        ("error", Limits(seconds=101), False),
    ],
)
def test_what_ended_at_a_limit_is_run_again_where_that_is_raised(batch, failure, limits, again):
    before = Limits(seconds=100, memory=10)
    batch(entries("a"), {"a": [failed("a", failure)]}, limits=before)
    found = sort_entries(batch.folder, entries("a"), limits=limits)
    assert bool(found.todo) == again
    assert bool(found.failed) == (not again)


@pytest.mark.parametrize(
    "left", [[".spectrum.parquet.7.tmp", ".lock"], [".commit", "layers.parquet"]]
)
def test_half_a_run_is_taken_away_where_it_is_not_made(batch, left):
    batch.folder.make()
    (batch.folder.runs / "a").mkdir()
    for name in left:
        (batch.folder.runs / "a" / name).write_text('["layers.parquet"]')
    batch(entries("a"), {"a": [failed("a", "killed", 1)] * 3})
    assert not (batch.folder.runs / "a").exists()
    assert not batch.folder.stale.exists()


def test_a_run_whose_writer_died_at_the_last_step_is_looked_at_again(batch):
    batch(entries("a"))
    (batch.folder.runs / "a" / ".lock").write_text("1")
    assert [job.name for job in batch(entries("a"))[2].jobs] == ["a"]


def test_damage_and_an_older_schema_have_one_run_made_again(batch):
    asked = entries("a", "b", "c", "d", "e")
    batch(asked)
    runs = batch.folder.runs
    table = runs / "a" / "spectrum.parquet"
    os.truncate(table, table.stat().st_size - 1)
    (runs / "b" / "run.json").unlink()
    record = json.loads((runs / "c" / "run.json").read_text())
    (runs / "c" / "run.json").write_text(json.dumps(record | {"schema_version": 1}))
    (runs / "d" / "layers.parquet").unlink()
    assert [job.name for job in batch(asked)[2].jobs] == ["a", "b", "c", "d"]
    assert batch(asked)[2].jobs == []


def test_without_its_journal_a_batch_is_looked_at_and_nothing_is_computed(batch):
    batch(entries("a", "b"), {"b": [failed("b")]})
    for path in batch.folder.journal.iterdir():
        path.unlink()
    _, ended, place, _ = batch(entries("a", "b"), {"b": [failed("b")]})
    assert [job.name for job in place.jobs] == ["a", "b"]
    assert (ended.computed, ended.kept, list(ended.failed)) == (0, 1, ["b"])


def test_a_torn_journal_costs_a_look_and_no_more(batch):
    batch(entries("a", "b"))
    (path,) = batch.folder.journal.iterdir()
    lines = path.read_bytes().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if b'"finished"' in line and b'"name": "b"' in line)
    path.write_bytes(b"".join(lines[:at] + lines[at + 1 :]) + lines[at][:40])
    _, ended, place, _ = batch(entries("a", "b"))
    assert ([job.name for job in place.jobs], ended.kept) == (["b"], 1)


@pytest.mark.parametrize("line", [b"\xff\xfe", b"[" * 100_000, b'{"event": "failed", "name": "a"}',
                                  b'{"event": "failed", "name": "a", "outcome": 3}',
                                  b'{"event": ["finished"], "name": "a"}'])  # fmt: skip
def test_a_line_that_no_driver_wrote_is_passed_over(batch, line):
    batch(entries("a"))
    (batch.folder.journal / "0009-x-1.jsonl").write_bytes(line + b"\n")
    found, *_ = batch(entries("a"))
    assert found.finished == ["a"]


def test_a_clock_that_was_moved_back_changes_nothing(batch, monkeypatch):
    class Earlier(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(1999, 1, 1, tzinfo=tz)

    batch(entries("a", "b"), {"b": [failed("b")]})
    monkeypatch.setattr("spectrakit.zoo.journal.datetime", Earlier)
    assert batch(entries("a", "b"))[2].jobs == []
    batch(entries("b"), retry_failed=True)
    assert [line["at"][:4] for line in journal_lines(batch.folder.journal)][-1] == "1999"
    for path in batch.folder.path.rglob("*"):
        os.utime(path, (4e9, 4e9))  # the year 2096
    found, *_ = batch(entries("a", "b"))
    assert (found.finished, found.failed, found.todo) == (["a", "b"], {}, [])


def test_a_disk_that_is_full_for_a_moment_tears_no_line(batch, monkeypatch):
    from spectrakit.zoo.journal import Journal

    journal = Journal(batch.folder.journal, "h")
    batch.folder.make()
    journal.write("began", total=1)
    written = os.write

    def half(descriptor, data):
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "full")
        return written(descriptor, data[: len(data) - 10])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OutputError, match="no space left"):
        journal.write("started", name="a", model="m", key="k")
    monkeypatch.undo()
    journal.write("started", name="b", model="m", key="k")
    assert events(batch.folder) == [("began", None), ("started", "b")]


def test_jobs_are_of_the_template(batch, run_of_tiny):
    folder = batch.folder
    folder.make()
    job = replace(Job("", {}, "", ""), hub={"offline": True}, draw="a:b", flags=True)
    place = Fake(run_of_tiny)
    (entry,) = entries("a", seed=5)
    Driver(folder, Template(job), place, Unwatched()).run([(entry, "k")], "", 1)
    (given,) = place.jobs
    assert (given.hub, given.draw, given.flags, given.key) == ({"offline": True}, "a:b", True, "k")
    assert given.spec == entry.spec.record()
    assert given.claim == str(folder.claims / "entry-a")


def test_what_another_driver_has_done_meanwhile_is_not_done_again(batch, run_of_tiny):
    """One journal more, with a run, a failure, and one that is of other settings."""
    asked = entries("a", "b", "c", "d")
    folder = batch.folder
    folder.make()
    found = sort_entries(folder, asked)
    keys = {entry.name: key for entry, key in found.todo}
    other = Journal(folder.journal, "z")

    class Meanwhile(Fake):
        """As the first job is handed in, the other driver is done."""

        def submit(self, job, news):
            if not self.jobs:
                for name in "bcd":
                    other.write("started", name=name, model="m", key=keys[name])
                write_run(folder, "b", keys["b"], run_of_tiny)
                state = state_of("tiny-mamba")
                other.write("finished", name="b", key=keys["b"], state=state, outcome={})
                told = {"state": state, "outcome": failed("c").record()}
                other.write("failed", name="c", key=keys["c"], **told)
                other.write("failed", name="d", key="of others", **told)
            return super().submit(job, news)

    place = Meanwhile(run_of_tiny, slots=1)
    ended = Driver(folder, Template(Job("", {}, "", "")), place, Unwatched()).run(found.todo, "", 4)
    assert [job.name for job in place.jobs] == ["a", "d"]
    assert (ended.computed, ended.kept, list(ended.failed)) == (2, 1, ["c"])
