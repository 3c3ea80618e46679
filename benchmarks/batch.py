"""A batch of many: what it adds to each, what a second worker brings, what ten thousand cost."""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Row, python, run_process, timed

if TYPE_CHECKING:  # it imports torch, which a driver does not
    from benchmarks.checkpoints import Checkpoints

_MODELS, _EQUAL, _TIMES = 100, 8, 3
_MANY, _FEW = 10_000, 100


def rows(checkpoints: Checkpoints) -> Iterator[Row]:  # noqa: ARG001  (they bring their own)
    os.environ["SPECTRAKIT_LOAD_PLUGINS"] = ""
    yield from _added_to_each()
    yield _two_workers()
    yield _memory()
    yield _resumed()


def _added_to_each() -> Iterator[Row]:
    """What a batch of tiny models takes beyond `analyze` for each of them in this process."""
    import spectrakit as sk

    spec = sk.RunSpec(model="tiny-mamba2", mode="weights")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        sk.analyze(spec, out=place / "warm")

        def alone() -> None:
            where = Path(tempfile.mkdtemp(dir=place))
            for seed in range(_MODELS):
                sk.analyze(replace(spec, seed=seed), out=where / str(seed))

        for jobs, said in ((None, "as it comes"), (1, "one at a time")):
            added = []
            for _ in range(_TIMES):
                own = timed(alone).seconds
                whole = timed(lambda jobs=jobs: _batch(place, spec, _MODELS, jobs)).seconds
                added.append(1000 * (whole - own) / _MODELS)
            most = statistics.median(added)
            what = f"batch of {_MODELS} tiny models in weights mode, {said}: what it adds to each"
            figure = f"{most:.0f} ms (API alone {1000 * own / _MODELS:.0f} ms)"
            yield Row(what, figure, "<= 60 ms", most <= 60)


def _batch(place: Path, spec, count: int, jobs: int | None) -> None:
    """A new batch, from the start of its fork server to its end, without the leaderboard."""
    from spectrakit.zoo.batch import Invocation, run_batch
    from spectrakit.zoo.options import BatchOptions
    from spectrakit.zoo.watch import Unwatched

    folder = Path(tempfile.mkdtemp(dir=place)) / "zoo"
    entries = [_entry(f"n{seed}", replace(spec, seed=seed)) for seed in range(count)]
    done = run_batch(entries, folder, BatchOptions(jobs=jobs), Invocation(), Unwatched())
    if done.failed or done.ended.computed != count:
        raise RuntimeError(done.failed)


def _two_workers() -> Row:
    """How much faster data-mode runs of equal size are with two workers than with one."""
    import spectrakit as sk
    from spectrakit.zoo.supervisor import end_children

    source = sk.TokenOptions(max_tokens=65_536, seq_len=512)
    spec = sk.RunSpec(model="tiny-mamba2", mode="data", source=source)
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        _driven(Path(folder), spec, 2, 2)  # starts the fork server
        for _ in range(_TIMES):
            one, two = (
                timed(lambda jobs=jobs: _driven(Path(folder), spec, _EQUAL, jobs)).seconds
                for jobs in (1, 2)
            )
            ratios.append(one / two)
    end_children()
    ratio = statistics.median(ratios)
    what = f"{_EQUAL} runs in data mode, two workers against one"
    figure = f"{ratio:.2f}x ({one / _EQUAL:.1f} s a model with one)"
    return Row(what, figure, ">= 1.8x", ratio >= 1.8)


def _driven(place: Path, spec, count: int, jobs: int) -> None:
    """A new batch on a fork server that stays."""
    from spectrakit.zoo.driver import Driver, Template
    from spectrakit.zoo.executors import Local
    from spectrakit.zoo.folder import BatchFolder
    from spectrakit.zoo.job import Job
    from spectrakit.zoo.sorting import sort_entries
    from spectrakit.zoo.watch import Unwatched

    class Kept(Local):
        def close(self):
            self._executor.shutdown(wait=True)

    folder = BatchFolder(Path(tempfile.mkdtemp(dir=place)) / "zoo")
    folder.make()
    entries = [_entry(f"n{seed}", replace(spec, seed=seed)) for seed in range(count)]
    todo = sort_entries(folder, entries).todo
    driver = Driver(folder, Template(Job("", {}, "", "")), Kept(jobs), Unwatched())
    if driver.run(todo, "", count).computed != count:
        raise RuntimeError("not all were run")


def _memory() -> Row:
    """How much more memory a driver takes with more entries; its workplace is simulated."""
    few, many = (
        statistics.median(
            run_process(python(f"from benchmarks.batch import simulated; simulated({count})"))
            .peak_bytes
            for _ in range(_TIMES)
        )
        for count in (_FEW, _MANY)
    )  # fmt: skip
    grown = (many - few) / 1e6
    what = f"driver's memory, {_MANY:,} entries against {_FEW}"
    return Row(what, f"+{grown:.1f} MB (of {many / 1e6:.0f})", "<= 20 MB", grown <= 20)


def simulated(count: int) -> None:
    """A batch of so many entries from its list to its end, where nothing is really run."""
    from spectrakit.spec import RunSpec
    from spectrakit.zoo.driver import Driver, Template
    from spectrakit.zoo.folder import BatchFolder
    from spectrakit.zoo.job import Job, Outcome
    from spectrakit.zoo.selection import select
    from spectrakit.zoo.sorting import sort_entries
    from spectrakit.zoo.watch import Unwatched

    class Simulated:
        slots = 2

        def submit(self, job, news):  # noqa: ARG002
            done: Future = Future()
            done.set_result(Outcome(job.name).record())
            return done

        def outcome_of(self, name, error):  # noqa: ARG002
            raise error

        def close(self):
            pass

    os.fsync = lambda _: None  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as place:
        listed = Path(place) / "zoo.txt"
        listed.write_text("\n".join(f"organisation/model-{number:05}" for number in range(count)))
        folder = BatchFolder(Path(place) / "zoo")
        folder.make()
        entries = select([str(listed)], RunSpec(model="", mode="weights"))
        found = sort_entries(folder, entries)
        driver = Driver(folder, Template(Job("", {}, "", "")), Simulated(), Unwatched())
        if driver.run(found.todo, "", count).computed != count:
            raise RuntimeError("not all were run")


def _resumed() -> Row:
    """The same command over ten thousand runs that are finished, its summary among them."""
    with tempfile.TemporaryDirectory() as place:
        command = python(f"from benchmarks.batch import resumed; resumed({str(place)!r})")
        make_finished(Path(place), _MANY)
        run_process(command)  # writes the summary
        seconds = statistics.median(run_process(command).seconds for _ in range(_TIMES))
    what = f"resume of {_MANY:,} finished models"
    return Row(what, f"{seconds:.1f} s", "<= 10 s", seconds <= 10)


def make_finished(place: Path, count: int) -> None:
    """A batch of so many runs, all copies of one, as it is when it is done."""
    import spectrakit as sk
    from spectrakit.zoo.folder import BatchFolder
    from spectrakit.zoo.journal import Journal
    from spectrakit.zoo.keys import key_of, state_of

    fsync, os.fsync = os.fsync, lambda _: None  # type: ignore[assignment]
    sk.analyze("tiny-mamba2", mode="weights", out=place / "one")
    record = json.loads((place / "one" / "run.json").read_text())
    tables = list((place / "one").glob("*.parquet"))
    folder = BatchFolder(place / "zoo")
    folder.make()
    journal = Journal(folder.journal, "host")
    journal.write("began", command="", total=count)
    for entry in _many(count):
        key, state = key_of(entry.spec), state_of(entry.spec.model)
        run = folder.runs / entry.name
        run.mkdir()
        for table in tables:
            (run / table.name).hardlink_to(table)
        (run / "run.json").write_text(json.dumps(record | {"key": key}))
        told = {"name": entry.name, "key": key}
        journal.write("started", **told, model=entry.spec.model, attempt=1)
        outcome = {"name": entry.name, "failure": None, "exit_code": 0, "computed": True}
        journal.write("finished", **told, state=state, outcome=outcome)
    journal.write("ended")
    journal.close()
    os.fsync = fsync


def resumed(place: str) -> None:
    """Run again what is finished, as the command line does; fails where anything is computed."""
    from spectrakit.zoo.batch import Invocation, run_batch, summarise
    from spectrakit.zoo.options import BatchOptions
    from spectrakit.zoo.watch import Unwatched

    done = run_batch(_many(_MANY), Path(place) / "zoo", BatchOptions(), Invocation(), Unwatched())
    summarise(done, None, Unwatched())
    if done.before != _MANY:
        sys.exit(f"{done.before} of {_MANY} are finished")


def _many(count: int):
    from spectrakit.spec import RunSpec

    spec = RunSpec(model="tiny-mamba2", mode="weights")
    return [_entry(f"n{number:05}", replace(spec, seed=number)) for number in range(count)]


def _entry(name: str, spec):
    from spectrakit.zoo.entries import Entry

    return Entry(name, spec)
