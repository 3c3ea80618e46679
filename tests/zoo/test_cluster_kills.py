"""A scheduler or a worker of a cluster, killed at a random moment: the tables are the same."""

from __future__ import annotations

import os
import random
import threading

import pytest

import spectrakit as sk
from spectrakit.zoo.driver import Driver, Template
from spectrakit.zoo.entries import Entry
from spectrakit.zoo.folder import BatchFolder
from spectrakit.zoo.job import Job
from spectrakit.zoo.sorting import sort_entries
from spectrakit.zoo.watch import Unwatched
from tests.support.dask_cluster import DaskCluster, kill

pytest.importorskip("distributed")
from spectrakit.zoo.dask_workers import DaskWorkers

#: `make test` has a seed of each; `make test-all` five.
SEEDS = range(5 if os.environ.get("SPECTRAKIT_TEST_ALL") == "1" else 1)
ENTRIES = [
    Entry(f"m{number}", sk.RunSpec(model=model, mode="weights", seed=number))
    for number in range(6)
    for model in ("tiny-mamba", "tiny-mamba2")[number % 2 :][:1]
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The tables of each run, made here."""
    folder = tmp_path_factory.mktemp("alone")
    for entry in ENTRIES:
        sk.analyze(entry.spec, out=folder / entry.name)
    return tables(folder)


def tables(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/*.parquet")}


@pytest.mark.slow
@pytest.mark.parametrize("who", ["scheduler", "worker"])
@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_killed_at_random_changes_nothing(tmp_path, undisturbed, who, seed):
    (tmp_path / "cluster").mkdir()
    cluster = DaskCluster(tmp_path / "cluster")
    killed = []

    def disturb():
        """Kill one of the two, and start what is needed again, as a supervisor of services does."""
        kill(running[who])
        killed.append(who)
        if who == "scheduler":
            cluster.scheduler()
        cluster.worker(threads=2)

    try:
        running = {"scheduler": cluster.scheduler(), "worker": cluster.worker(threads=2)}
        place = DaskWorkers(cluster.address, timeout=5)
        folder = BatchFolder(tmp_path / "D")
        folder.make()
        delay = random.Random(f"{who} {seed}").uniform(0, 3)
        timer = threading.Timer(delay, disturb)
        timer.start()
        template = Template(Job("", {}, "", ""), retries=5)
        ended = Driver(folder, template, place, Unwatched()).run(
            sort_entries(folder, ENTRIES).todo, "", len(ENTRIES)
        )
        timer.join()
    finally:
        cluster.close()
    assert killed == [who]
    assert not ended.failed
    assert tables(folder.runs) == undisturbed
    assert not sort_entries(folder, ENTRIES).todo
    left = [path for path in folder.path.rglob(".*") if path.name != "."]
    assert not left
