"""A batch whose driver, fork server or child is killed at any moment, and which is then begun again.

Each case is one batch that suffers several kills in turn. `SPECTRAKIT_TEST_ALL=1` runs them all,
else a tenth; `python -m tests.zoo.test_kills` runs them all and writes down what became of each.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.families import FAMILIES

from .killing import (
    Command,
    Kill,
    assert_as_undisturbed,
    finished_times,
    grandchildren,
    left_running,
    random_kills,
    servers,
    times,
)

pytestmark = pytest.mark.slow

ALL = os.environ.get("SPECTRAKIT_TEST_ALL") == "1"
#: Batches; each suffers three kills, as far as it lives to see them.
CASES = 20
GENERATED = ("mamba", "qwen3_next", "rwkv", "gpt2")


@pytest.fixture(scope="session")
def listed(tmp_path_factory):
    """A list of ten small models, in both modes."""
    return write_list(tmp_path_factory.mktemp("listed"))


def write_list(folder):
    families = {str(family): family for family in FAMILIES if str(family) in GENERATED}
    np.save(folder / "ids.npy", next(iter(families.values())).token_ids(4).numpy())
    text = "mode = 'data'\nsource = {max_tokens = 256, seq_len = 64}\n"
    told = ["[defaults]\nanalyses = ['spectrum', 'memory']\n"]
    for name, family in families.items():
        family.write(folder / name)
        told.append(
            f"[models.{name}]\nmodel = '{name}'\nmode = 'data'\nsource.tokens = 'ids.npy'\n"
        )
    for name in ("tiny-mamba", "tiny-mamba2"):
        told.append(f"[models.{name}-weights]\nmodel = '{name}'\nmode = 'weights'\n")
        told.append(f"[models.{name}-data]\nmodel = '{name}'\n{text}")
    told.append(f"[models.tiny-llama]\n{text}")
    told.append("[models.mamba-weights]\nmodel = 'mamba'\nmode = 'weights'\n")
    (folder / "zoo.toml").write_text("\n".join(told))
    return folder / "zoo.toml"


@dataclass(frozen=True)
class Undisturbed:
    """A batch that nothing happened to, and how long it took."""

    folder: Path
    seconds: float


@pytest.fixture(scope="session")
def undisturbed(listed, tmp_path_factory):
    return run_undisturbed(listed, tmp_path_factory.mktemp("undisturbed") / "zoo")


def run_undisturbed(listed, folder):
    began = time.monotonic()
    done = Command([str(listed)], folder).run()
    assert done.returncode == 0, done.stderr
    return Undisturbed(folder, time.monotonic() - began)


def suffer(command, salvos, scratch):
    """Run a batch that suffers these kills, to its end; those that came about."""
    happened = []
    for kills in salvos:
        before = finished_times(command.folder)
        code, came = command.killed(kills, scratch)
        assert code in (0, -signal.SIGKILL), f"{kills} left with {code}"
        happened += came
        assert before.items() <= finished_times(command.folder).items(), "made again"
    before = finished_times(command.folder)
    last = command.run()
    assert last.returncode == 0, last.stderr
    assert before.items() <= finished_times(command.folder).items(), "made again"
    return happened


@pytest.mark.parametrize("seed", range(CASES if ALL else CASES // 10))
def test_a_batch_that_is_killed_comes_to_the_same(listed, undisturbed, tmp_path, seed):
    command = Command([str(listed), "--retries", "9"], tmp_path / "zoo")
    happened = suffer(command, random_kills(seed, undisturbed.seconds), tmp_path)
    assert happened
    assert_as_undisturbed(command.folder, undisturbed.folder)
    before = times(command.folder)
    assert command.run().returncode == 0
    assert times(command.folder) == before
