"""Runs that die at a chosen moment; run as a program, so that only its own processes are killed.

python -m tests.tables.crashing points FOLDER      # dies at every step of the file system once
python -m tests.tables.crashing loop FOLDER        # writes two runs in turn until it is killed
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pyarrow.parquet  # noqa: F401  (once, before the forks)

from spectrakit.errors import SpectrakitError
from spectrakit.tables import RunWriter, read_run
from tests.tables.samples import fill, manifest

OLD, NEW = "an/old-model", "a/new-model"
_STEPS = {"open", "os.rename", "os.remove", "os.mkdir", "os.listdir", "os.scandir"}


def write(folder: Path, model: str) -> None:
    made = manifest(model, created_at="2026-01-01T00:00:00+00:00")
    with RunWriter(folder, made) as writer:
        fill(writer, layers=2 if model == OLD else 3)
        if model == OLD:
            writer.add_file("old.png", b"old")
        writer.add_file("spectrum.png", model.encode())


def die_at(step: int, folder: Path) -> None:
    """Kill this process at its `step`-th access to `folder`."""
    count = itertools.count()

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in _STEPS and str(arguments[0]).startswith(str(folder)) and next(count) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def in_child(work) -> int:
    """Do `work` in a forked process; the signal that killed it, or 0."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status)
    assert os.WEXITSTATUS(status) == 0
    return 0


def what_a_reader_sees(folder: Path) -> str:
    try:
        run = read_run(folder)
        for name in run.tables:
            run.table(name)
    except SpectrakitError:
        return "no run"
    assert (folder / "spectrum.png").read_text() == run.manifest.model_id
    assert run.table("layers").num_rows == (2 if run.manifest.model_id == OLD else 3)
    return run.manifest.model_id


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def points(folder: Path) -> None:
    """Print, for each step, what a reader sees after death there and whether a re-run mends it."""
    undisturbed = folder / "undisturbed"
    write(undisturbed, NEW)
    for step in itertools.count():
        place = folder / "run"
        shutil.rmtree(place, ignore_errors=True)
        write(place, OLD)

        def dying(step: int = step, place: Path = place) -> None:
            die_at(step, place)
            write(place, NEW)

        killed = in_child(dying)
        seen = what_a_reader_sees(place)
        write(place, NEW)
        mended = contents(place) == contents(undisturbed)
        sys.stdout.write(json.dumps({"killed": killed, "seen": seen, "mended": mended}) + "\n")
        if not killed:
            return


def loop(folder: Path) -> None:
    for model in itertools.cycle((OLD, NEW)):
        write(folder, model)
        sys.stdout.write("written\n")
        sys.stdout.flush()


if __name__ == "__main__":
    {"points": points, "loop": loop}[sys.argv[1]](Path(sys.argv[2]))
