"""Several processes: one global order, one writer, one end."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import spectrakit as sk
from tests.training.tiny import tables, trained

CHILD = """\
import sys
from pathlib import Path
from spectrakit.errors import SpectrakitError
from tests.training.tiny import trained
try:
    steps, batch = map(int, sys.argv[2:])
    trained(Path(sys.argv[1]), precision="float64", budget={"steps": steps, "batch": batch})
except SpectrakitError as error:
    print(type(error).__name__, error.message)
    raise SystemExit(error.exit_code)
"""


def launched(folder, steps, script, batch=12):
    """The run on two processes of this machine."""
    script.write_text(CHILD)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1",
                   "GLOO_SOCKET_IFNAME": "lo"}  # fmt: skip
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
               str(script), str(folder), str(steps), str(batch)]  # fmt: skip
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300,
                          check=False)  # fmt: skip


@pytest.mark.slow
def test_two_processes_are_one_and_take_up_what_they_left(tmp_path):
    done = launched(tmp_path / "two", 12, tmp_path / "child.py")
    assert done.returncode == 0, done.stderr
    trained(tmp_path / "one", precision="float64", budget={"steps": 12})
    one, two = tables(tmp_path / "one"), tables(tmp_path / "two")
    for name in one:
        assert one[name].num_rows == two[name].num_rows
    losses = [table["training"]["loss"].to_numpy() for table in (one, two)]
    assert np.abs(losses[0] - losses[1]).max() < 1e-10
    assert sk.read_training(tmp_path / "two").record["fingerprint"]["processes"] == 2
    # Finished: found so by both. Of another recipe: said by both, and both end.
    assert launched(tmp_path / "two", 12, tmp_path / "child.py").returncode == 0
    other = launched(tmp_path / "two", 13, tmp_path / "child.py")
    assert other.returncode != 0
    assert other.stdout.count("UsageError") == 2
    assert "holds a run of another recipe" in other.stdout


@pytest.mark.slow
def test_a_batch_that_does_not_divide_ends_both(tmp_path):
    done = launched(tmp_path / "run", 4, tmp_path / "child.py", batch=7)
    assert done.returncode != 0
    assert "a batch of 7 over 2 processes" in done.stdout
