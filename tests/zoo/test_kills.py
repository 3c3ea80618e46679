"""A batch whose driver, fork server or child is killed at any moment, and which is begun again.

`make test` runs a tenth of the cases, which their seeds choose; `make test-all` all of them.
`python -m tests.zoo.test_kills FILE` runs all, and writes what became of each kill into a table.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from .killing import (
    Command,
    Kill,
    assert_as_undisturbed,
    finished_times,
    left_running,
    random_kills,
    times,
)
from .small import write_list

pytestmark = pytest.mark.slow

ALL = os.environ.get("SPECTRAKIT_TEST_ALL") == "1"
#: Batches; each suffers a kill of its driver, one of its fork server and one of a child.
CASES = 20


@dataclass(frozen=True)
class Undisturbed:
    """A batch that nothing happened to, its list, and the seconds it took."""

    folder: Path
    listed: Path
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run_undisturbed(tmp_path_factory.mktemp("undisturbed"))


def run_undisturbed(folder):
    listed = write_list(folder)
    began = time.monotonic()
    done = Command([str(listed)], folder / "zoo").run()
    assert done.returncode == 0, done.stderr
    return Undisturbed(folder / "zoo", listed, time.monotonic() - began)


def suffer(undisturbed, salvos, scratch):
    """Run a batch that suffers these kills, and again to its end; those that came about.

    salvos: the kills of one start of the command each.
    """
    command = Command([str(undisturbed.listed), "--retries", "9"], scratch / "zoo")
    happened = []
    for kills in [*salvos, []]:
        before = finished_times(command.folder)
        code, came = command.killed(kills, scratch)
        assert code in ([0, -signal.SIGKILL] if kills else [0]), f"{kills} left with {code}"
        happened += came
        assert before.items() <= finished_times(command.folder).items(), "made again"
    assert_as_undisturbed(command.folder, undisturbed.folder)
    return command, happened


@pytest.mark.parametrize("seed", range(CASES if ALL else CASES // 10))
def test_a_batch_that_is_killed_comes_to_the_same(undisturbed, tmp_path, seed):
    command, happened = suffer(undisturbed, random_kills(seed, undisturbed.seconds), tmp_path)
    assert happened
    before = times(command.folder)
    assert command.run().returncode == 0
    assert times(command.folder) == before


@pytest.mark.parametrize(
    "lines", [(2, 4), *([(1, 1), (5, 9), (8, 3), (12, 5)] if ALL else [])], ids=str
)
def test_a_batch_that_is_told_to_end_leaves_no_process_and_goes_on(undisturbed, tmp_path, lines):
    command = Command([str(undisturbed.listed), "--retries", "0"], tmp_path / "zoo")
    for number, line in zip((signal.SIGINT, signal.SIGTERM), lines, strict=True):
        kill = Kill("driver", ("lines", line), number)
        code, happened = command.killed([kill], tmp_path)
        assert (code, happened) == (128 + number, [kill])
        assert left_running(str(tmp_path)) == []
        assert not (command.folder / ".claims").exists()
        assert not list(command.folder.glob("runs/*/.*"))
    assert command.run().returncode == 0
    assert_as_undisturbed(command.folder, undisturbed.folder)


def main(file):
    """See the module."""
    rows, counts = [], Counter()
    with tempfile.TemporaryDirectory() as folder:
        undisturbed = run_undisturbed(Path(folder))
        for seed in range(CASES):
            salvos = random_kills(seed, undisturbed.seconds)
            scratch = Path(folder) / str(seed)
            scratch.mkdir()
            try:
                _, happened = suffer(undisturbed, salvos, scratch)
                outcome = "the same"
            except AssertionError as error:
                happened, outcome = [], f"**{error}**"
            for kill in [kill for kills in salvos for kill in kills]:
                counts[kill.role] += kill in happened
                came = "killed" if kill in happened else "had ended by then"
                rows.append(f"| {seed} | {kill.role} | {kill.said()} | {came} | {outcome} |")
                sys.stdout.write(rows[-1] + "\n")
    told = ", ".join(f"{count} of a {role}" for role, count in sorted(counts.items()))
    text = [
        f"{sum(counts.values())} kills -9 ({told}) in {CASES} batches of ten models, each of which",
        "is then run again. The same: every table of every run and of the summary is, byte for",
        "byte, that of a batch that nothing happened to; there is no other file; no run that was",
        f"finished was made again. Python {platform.python_version()}, Linux {platform.release()}.",
        "",
        "| batch | who | when | and was | the dataset is then |",
        "| --- | --- | --- | --- | --- |",
        *rows,
    ]
    Path(file).write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
