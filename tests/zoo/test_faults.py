"""A batch whose disk is full for a while, or whose folder may not be written to."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from spectrakit.zoo.journal import journal_lines

from .killing import Command, assert_as_undisturbed, dying, times

pytestmark = pytest.mark.slow

MODELS = ["a", "b", "c"]


def write_list(file, seeds):
    told = [f"[models.{name}]\nmodel = 'tiny-mamba'\nseed = {seeds[name]}\n" for name in MODELS]
    file.write_text("[defaults]\nmode = 'weights'\n" + "\n".join(told))
    return file


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    return write_list(tmp_path_factory.mktemp("listed") / "zoo.toml", {"a": 0, "b": 1, "c": 2})


@pytest.fixture(scope="module")
def undisturbed(listed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "zoo"
    done = Command([str(listed)], folder).run()
    assert done.returncode == 0, done.stderr
    return folder


def errors(done):
    """The lines that say that the command failed."""
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize(
    ("role", "event", "part"),
    [
        ("child", "os.rename", "/runs/b/.run.json"),
        ("driver", "open", "/.claims/entry-b"),
        ("child", "os.rename", "/summary/.models"),
    ],
)
def test_a_disk_that_is_full_ends_the_batch_which_then_goes_on(
    listed, undisturbed, tmp_path, role, event, part
):
    orders = tmp_path / "orders"
    orders.mkdir()
    order = {"role": role, "event": event, "part": part, "nth": 1, "errno": errno.ENOSPC}
    (orders / "full").write_text(json.dumps(order))
    command = Command([str(listed), "--jobs", "1"], tmp_path / "zoo")
    done = command.run(**dying(orders))
    assert not (orders / "full").exists()
    assert done.returncode == 1, done
    (line,) = errors(done)
    assert "no space left" in line
    assert "free some space" in done.stderr
    assert not list(command.folder.rglob("*.tmp"))
    assert not (command.folder / ".claims").exists()
    assert command.run().returncode == 0
    assert_as_undisturbed(command.folder, undisturbed)


def mounting():
    """The command in front of one that may mount; None where this machine does not let us."""
    for words in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        tried = [*words, "mount", "-t", "tmpfs", "none", "/mnt"]
        if shutil.which("unshare") and subprocess.run(tried, capture_output=True).returncode == 0:
            return words
    return None


# Where nothing may be mounted, the faked errors above are what is tested.
@pytest.mark.skipif(mounting() is None, reason="no file system may be mounted here")
def test_a_small_disk_and_then_a_larger_one(listed, undisturbed, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = Command([str(listed), "--jobs", "1"], disk / "zoo")
    script = (
        f"mount -t tmpfs -o size=600k none {disk} || exit 77; "
        '"$@"; echo "left with $?" >&2; ls -A . >&2; '
        f"mount -o remount,size=64m {disk}; "
        f'"$@"; code=$?; cp -r {disk}/zoo {tmp_path}/zoo; exit $code'
    )
    done = command.run(*mounting(), "sh", "-c", script, "sh")
    assert done.returncode == 0, done.stderr
    first, second = done.stderr.split("left with 1\n")
    assert "no space left" in first
    assert first.count("error: ") == 1
    assert "3 of 3 models finished" in second
    assert "wrote 3 runs" not in second
    assert_as_undisturbed(tmp_path / "zoo", undisturbed)
    events = [line["event"] for line in journal_lines(tmp_path / "zoo" / "journal")]
    assert events.count("finished") == len(MODELS)


def limited(command):
    """The command by somebody who is not above permissions."""
    return command.run(sys.executable, str(Path(__file__).with_name("without_override.py")))


def read_only(*folders):
    for folder in folders:
        folder.chmod(0o555)


@pytest.fixture
def zoo(undisturbed, tmp_path):
    """A copy of the batch, which may be written to again in the end."""
    folder = tmp_path / "zoo"
    shutil.copytree(undisturbed, folder)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)


def test_a_folder_that_may_not_be_written_to(listed, zoo, tmp_path):
    others = write_list(tmp_path / "other.toml", {"a": 5, "b": 6, "c": 7})
    read_only(*(path for path in [zoo, *zoo.rglob("*")] if path.is_dir()))
    before = times(zoo)
    done = limited(Command([str(others)], zoo))
    assert done.returncode == 1, done
    (line,) = errors(done)
    assert "cannot be written" in line
    assert times(zoo) == before
    # What is done can still be looked at.
    done = limited(Command([str(listed)], zoo))
    assert (done.returncode, "3 of them before" in done.stderr) == (0, True), done
    assert times(zoo) == before


def test_one_run_that_may_not_be_written_to_is_that_models_failure_alone(zoo, tmp_path):
    others = write_list(tmp_path / "other.toml", {"a": 0, "b": 6, "c": 7})
    read_only(zoo / "runs" / "b")
    done = limited(Command([str(others)], zoo))
    assert done.returncode == 5, done
    rows = {
        row["run"]: row for row in pq.read_table(zoo / "summary" / "models.parquet").to_pylist()
    }
    assert {name: rows[name]["status"] for name in MODELS} == {
        "a": "finished", "b": "failed", "c": "finished"}  # fmt: skip
    assert "cannot be written" in rows["b"]["reason"]
    assert os.strerror(errno.EACCES) in rows["b"]["reason"]
