"""What is left when a writer is killed, the disk is full, or two writers meet."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time

import pytest

from spectrakit.errors import OutputError
from spectrakit.tables import RunWriter, read_run
from spectrakit.tables.folders import plain_errors
from tests.tables.crashing import NEW, OLD, contents, what_a_reader_sees, write
from tests.tables.samples import ROOT, fill, manifest

CRASHING = [sys.executable, "-m", "tests.tables.crashing"]


def test_killed_at_any_step_a_run_is_old_or_new_or_none_and_a_rerun_mends_it(tmp_path):
    done = subprocess.run(
        [*CRASHING, "points", tmp_path], capture_output=True, text=True, check=True, cwd=ROOT
    )
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(steps) > 15
    assert [step["killed"] for step in steps] == [signal.SIGKILL] * (len(steps) - 1) + [0]
    assert all(step["mended"] for step in steps)
    # The old run stands until the commit, then there is none, then the new one.
    seen = [step["seen"] for step in steps]
    assert seen == sorted(seen, key=[OLD, "no run", NEW].index)
    assert set(seen) == {OLD, "no run", NEW}


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_time_a_run_is_whole_or_none(tmp_path, seed):
    folder = tmp_path / "run"
    with subprocess.Popen([*CRASHING, "loop", folder], stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(random.Random(seed).uniform(0, 0.1))
        child.kill()
    assert what_a_reader_sees(folder) in {OLD, NEW, "no run"}
    write(folder, NEW)
    write(tmp_path / "undisturbed", NEW)
    assert contents(folder) == contents(tmp_path / "undisturbed")


@pytest.fixture
def small_disk():
    """Files end at 40 kB, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def big_run(folder):
    with RunWriter(folder, manifest(NEW)) as writer:
        fill(writer, layers=1, channels=20_000)


def big_picture(folder):
    with RunWriter(folder, manifest(NEW)) as writer:
        fill(writer, layers=1)
        writer.add_file("spectrum.png", bytes(50_000))


def late_table(folder):
    """Too large only when its row group is flushed, at the commit."""
    with RunWriter(folder, manifest(NEW)) as writer:
        fill(writer, layers=1, channels=8_000)


@pytest.mark.parametrize("attempt", [big_run, big_picture, late_table])
def test_a_full_disk_is_an_error_of_one_line_and_leaves_no_trace(tmp_path, small_disk, attempt):
    with pytest.raises(OutputError, match="no space left") as caught:
        attempt(tmp_path / "runs" / "new")
    assert "another folder with out" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("attempt", [big_run, big_picture, late_table])
def test_a_full_disk_leaves_the_run_that_was_there(tmp_path, small_disk, attempt):
    write(tmp_path, OLD)
    before = contents(tmp_path)
    with pytest.raises(OutputError, match="no space left"):
        attempt(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("below", ["", "runs/new"])
def test_a_file_in_the_folders_place_is_an_error_of_one_line(tmp_path, below):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(OutputError, match="is not a folder"):
        write(file / below, NEW)
    assert file.read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_an_error_of_one_line():
    with pytest.raises(OutputError, match="cannot be written to /proc/") as caught:
        write("/proc/spectrakit/run", NEW)
    assert "another folder with out" in str(caught.value)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "no space left"),
        (errno.EROFS, "cannot be written"),
        (errno.EACCES, "cannot be written"),
        (errno.EIO, "cannot be written"),
    ],
)
def test_errors_of_the_disk_are_one_line_with_a_hint(tmp_path, number, message):
    with pytest.raises(OutputError, match=message) as caught, plain_errors(tmp_path):
        raise OSError(number, os.strerror(number))
    assert caught.value.hint is not None
    assert os.strerror(number) in caught.value.message


def test_a_second_writer_is_refused_while_the_first_writes(tmp_path):
    with RunWriter(tmp_path, manifest(OLD)) as first:
        fill(first, layers=2)
        with pytest.raises(OutputError, match=f"process {os.getpid()} is writing"):
            write(tmp_path, NEW)
        first.add_file("spectrum.png", OLD.encode())
    assert what_a_reader_sees(tmp_path) == OLD
    write(tmp_path, NEW)
    assert what_a_reader_sees(tmp_path) == NEW


def test_a_writer_in_another_process_is_refused_until_it_dies(tmp_path):
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from spectrakit.tables import RunWriter\n"
        "from tests.tables.samples import fill, manifest\n"
        "with RunWriter(Path(sys.argv[1]), manifest()) as writer:\n"
        "    fill(writer, layers=1, channels=20_000)\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(600)\n"
    )
    arguments = [sys.executable, "-c", code, tmp_path]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with pytest.raises(OutputError, match=f"process {child.pid} is writing"):
            write(tmp_path, NEW)
        child.kill()
    assert any(path.suffix == ".tmp" for path in tmp_path.iterdir())
    write(tmp_path, NEW)
    assert what_a_reader_sees(tmp_path) == NEW
    assert all(not path.name.startswith(".") for path in tmp_path.iterdir())


def test_the_lock_of_a_dead_process_does_not_count(tmp_path):
    (tmp_path / ".lock").write_text("4194305\n")
    (tmp_path / ".spectrum.parquet.4194305.tmp").write_bytes(b"PAR1")
    write(tmp_path, NEW)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "layers.parquet",
        "run.json",
        "spectrum.parquet",
        "spectrum.png",
    ]


def test_hidden_files_of_others_are_left_alone(tmp_path):
    (tmp_path / ".gitkeep").touch()
    (tmp_path / ".notes.tmp").write_text("mine")
    write(tmp_path, NEW)
    assert {".gitkeep", ".notes.tmp"} <= {path.name for path in tmp_path.iterdir()}
    assert read_run(tmp_path).manifest.model_id == NEW
