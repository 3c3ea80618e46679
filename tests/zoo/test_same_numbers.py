"""How many workers, in which order, in which parts, by how many drivers: no byte is another."""

from __future__ import annotations

import re

import pytest

from spectrakit.spec import RunSpec
from spectrakit.zoo.folder import BatchFolder
from spectrakit.zoo.options import BatchOptions
from spectrakit.zoo.selection import select
from spectrakit.zoo.sorting import sort_entries
from spectrakit.zoo.supervisor import end_children

from .killing import Command, computed, tables
from .small import COUNT, run, write_list

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    return write_list(tmp_path_factory.mktemp("listed"))


@pytest.fixture(scope="module", autouse=True)
def _the_fork_server():
    yield
    end_children()


@pytest.fixture(scope="module")
def entries(listed):
    return select([str(listed)], RunSpec(model=""))


@pytest.fixture(scope="module")
def one_by_one(entries, tmp_path_factory):
    """The tables of a batch with one worker."""
    folder = tmp_path_factory.mktemp("one-by-one") / "zoo"
    assert run(entries, folder, jobs=1).computed == COUNT
    found = tables(folder)
    assert len(found) >= 4 * COUNT
    return found


@pytest.mark.parametrize("jobs", [2, 3])
def test_workers(entries, one_by_one, tmp_path, jobs):
    run(entries, tmp_path / "zoo", jobs)
    assert tables(tmp_path / "zoo") == one_by_one


def test_order(entries, one_by_one, tmp_path):
    run(entries[::-1], tmp_path / "zoo", jobs=2)
    assert tables(tmp_path / "zoo") == one_by_one


def test_parts_one_after_the_other(entries, one_by_one, tmp_path):
    counts = [
        run(BatchOptions(shard=part).part(tuple(entries)), tmp_path / "zoo").computed
        for part in ("1/3", "2/3", "3/3")
    ]
    assert sorted(counts) == [3, 3, 4]
    assert tables(tmp_path / "zoo") == one_by_one
    assert sort_entries(BatchFolder(tmp_path / "zoo"), entries).todo == []


@pytest.mark.parametrize("parts", [("1/2", "2/2"), ("1/1", "1/1")], ids=["parts", "the same"])
def test_drivers_at_the_same_time(listed, one_by_one, tmp_path, parts):
    commands = [
        Command([str(listed), "--shard", part, "--jobs", "1"], tmp_path / "zoo") for part in parts
    ]
    processes = [
        command.start(OMP_NUM_THREADS=threads)
        for command, threads in zip(commands, ("1", "3"), strict=True)
    ]
    told = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    found = tables(tmp_path / "zoo")
    assert {path: found[path] for path in one_by_one} == one_by_one
    assert sum(computed(tmp_path / "zoo").values()) == COUNT
    wrote = [int(re.search(r"wrote (\d+) runs", text)[1]) for text in told]
    assert sum(wrote) == COUNT
    if parts[0] != parts[1]:
        assert wrote == [COUNT // 2] * 2
    assert not (tmp_path / "zoo" / ".claims").exists()
