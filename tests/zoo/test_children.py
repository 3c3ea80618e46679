"""A model in a child: its tables are those of the same process, and nothing it does is ours."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import spectrakit as sk
from spectrakit.spec import RunSpec
from spectrakit.zoo.job import Job, Limits, Outcome

from .hurting import WAYS, hurting_model


def job(model, folder, **changes):
    spec = changes.pop("spec", RunSpec(model=str(model)))
    return Job("it", spec.record(), str(folder), "k", **changes)


def content(folder):
    return {path.name: path.read_bytes() for path in Path(folder).glob("*.parquet")}


@pytest.mark.parametrize("own", [False, True], ids=["forked", "afresh"])
def test_the_tables_are_those_of_this_process(children, tmp_path, own):
    spec = RunSpec(model="tiny-llama", mode="data", seed=3)
    outcome = children.run(job("tiny-llama", tmp_path / "child", spec=spec, own=own))
    assert outcome.finished, outcome
    assert outcome.computed
    assert outcome.peak_memory > 50e6
    sk.analyze(spec, out=tmp_path / "here")
    assert content(tmp_path / "child") == content(tmp_path / "here")
    assert len(content(tmp_path / "here")) >= 4


def test_a_run_that_is_there_is_not_made_again(children, tmp_path):
    first = children.run(job("tiny-mamba", tmp_path / "a"))
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    second = children.run(job("tiny-mamba", tmp_path / "a"))
    assert (first.computed, second.computed) == (True, False)
    assert times == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    # Other weights under the same name and key.
    (tmp_path / "m").mkdir()
    for path in (Path(sk.open_checkpoint("tiny-mamba2").checkpoint._store.folder)).iterdir():
        (tmp_path / "m" / path.name).write_bytes(path.read_bytes())
    assert children.run(job(tmp_path / "m", tmp_path / "a")).computed


def test_errors_of_spectrakit_keep_their_exit_code(children, tmp_path):
    outcome = children.run(job("no/such model", tmp_path / "a"))
    assert (outcome.failure, outcome.exit_code) == ("error", 2)
    assert "no/such model" in outcome.reason
    assert outcome.hint == "spectrakit catalog list"
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("flags", [True, False])
def test_errors_name_flags_or_keywords_as_the_batch_was_begun(children, tmp_path, flags):
    spec = RunSpec(model="tiny-llama", mode="weights")
    outcome = children.run(job("tiny-llama", tmp_path / "a", spec=spec, flags=flags))
    assert outcome.exit_code == 3
    assert ("--mode data" in outcome.hint) == flags, outcome


@pytest.mark.parametrize("way", WAYS)
def test_what_a_model_does_is_its_own(hurting_children, tmp_path, way):
    model = hurting_model(tmp_path / "m", way)
    limits = Limits(seconds=1.5 if way in ("hang", "spin") else 60, memory=400 << 20)
    outcome = hurting_children.run(job(model, tmp_path / "out", limits=limits))
    failure, reason = WAYS[way]
    assert outcome.failure == failure, outcome
    assert reason in outcome.reason
    assert outcome.exit_code == 1
    assert not (tmp_path / "out").exists()
    if way == "raise":
        assert outcome.log == "\\x1b[31mprinted by the plugin"


def test_one_that_crashes_does_not_end_its_neighbour(hurting_children, tmp_path):
    bad = [hurting_model(tmp_path / f"m{i}", "segfault") for i in range(4)]
    jobs = [job(model, tmp_path / f"out{i}") for i, model in enumerate(bad)]
    jobs.insert(2, job("tiny-mamba", tmp_path / "good"))
    with ThreadPoolExecutor(5) as threads:
        outcomes = list(threads.map(hurting_children.run, jobs))
    assert [outcome.finished for outcome in outcomes] == [False, False, True, False, False]


def test_what_a_child_started_ends_with_it(hurting_children, tmp_path):
    model = hurting_model(tmp_path / "m", "leaves")
    outcome = hurting_children.run(job(model, tmp_path / "out"))
    assert outcome.failure == "crashed"
    assert is_gone(int(hurting_children.left.read_text()))


def test_a_child_that_is_killed_is_told_from_one_that_crashed(hurting_children, tmp_path):
    model = hurting_model(tmp_path / "m", "hang")
    found = []
    thread = threading.Thread(
        target=lambda: found.append(hurting_children.run(job(model, tmp_path / "out")))
    )
    thread.start()
    os.kill(child_of(server_of(hurting_children)), signal.SIGKILL)
    thread.join()
    assert (found[0].failure, found[0].passing) == ("killed", True)


def test_a_lost_server_loses_its_children_and_another_is_started(hurting_children, tmp_path):
    model = hurting_model(tmp_path / "m", "hang")
    found = []
    thread = threading.Thread(
        target=lambda: found.append(hurting_children.run(job(model, tmp_path / "out")))
    )
    thread.start()
    server = server_of(hurting_children)
    child = child_of(server)
    os.kill(server, signal.SIGKILL)
    thread.join()
    assert (found[0].failure, found[0].passing) == ("lost", True)
    assert is_gone(child)
    assert hurting_children.run(job("tiny-mamba", tmp_path / "good")).finished


def test_a_child_that_nobody_wants_any_more_is_ended(hurting_children, tmp_path):
    model = hurting_model(tmp_path / "m", "hang")
    outcome = hurting_children.run(job(model, tmp_path / "out"), wanted=lambda: False)
    assert outcome.failure == "lost"


def test_progress_reaches_who_waits(children, tmp_path):
    told = []
    spec = RunSpec(model="tiny-llama", mode="data")
    children.run(job("tiny-llama", tmp_path / "a", spec=spec), news=lambda *news: told.append(news))
    kinds = {(what, total, unit) for what, _, total, unit in told}
    assert ("running the model", 8192, "token") in kinds


def test_measuring_writes_nothing_and_tells_both_modes(children, tmp_path):
    weights = children.run(job("tiny-mamba", tmp_path / "a", task="measure")).cost
    spec = RunSpec(model="tiny-mamba", mode="data")
    data = children.run(job("tiny-mamba", tmp_path / "a", task="measure", spec=spec)).cost
    assert (weights.mode, data.mode) == ("weights", "data")
    assert weights.download == data.download == 0
    assert weights.read < data.read
    # Estimates, not times: more bytes and a forward pass add to the same beginning, however fast.
    assert weights.seconds < data.seconds
    assert not (tmp_path / "a").exists()


def test_outcomes_and_jobs_survive_their_journey():
    before = job("tiny-mamba", "x", limits=Limits(3.0, 5, 2), hub={"token": "t"})
    assert Job.of(before.record()) == before
    outcome = Outcome("a", failure="time", exit_code=1, reason="r", seconds=2.0)
    assert Outcome.of(outcome.record() | {"of a newer version": 1}) == outcome


def server_of(children):
    """The process id of the fork server, once it has a child."""
    while children._server is None:
        pass
    return children._server._process.pid


def child_of(pid):
    """The process id of the first child of a process, once it is there."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    while not path.read_text().split():
        pass
    return int(path.read_text().split()[0])


def is_gone(pid):
    """Whether the process ends; it was killed, which may take the system a moment."""
    for _ in range(1000):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False
