"""One file a table: the same rows for every reader, and nothing of others' touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from spectrakit.errors import MalformedError, OutputError
from spectrakit.tables import read_run
from spectrakit.tables.folders import FolderLock
from spectrakit.zoo import compact as module
from spectrakit.zoo.compact import compact
from spectrakit.zoo.results import Results
from tests.tables.samples import ROOT
from tests.zoo.conftest import RUNS
from tests.zoo.readers import by_duckdb, by_polars, by_pyarrow
from tests.zoo.test_results import with_columns
from tests.zoo.zoos import Counting, weights_run


def with_runs(zoo, table):
    """The rows of every run with its name, run by run, read by the run's own reader."""
    found = []
    for name in sorted(RUNS):
        run = read_run(zoo / "runs" / name)
        if table in run.tables:
            found += [{"run": name, **row} for row in run.table(table).to_pylist()]
    return found


def state(folder):
    """What would show that a file was touched."""
    return {
        path.name: (path.stat().st_mtime_ns, path.stat().st_ino, path.read_bytes())
        for path in folder.iterdir()
    }


def test_every_reader_reads_the_rows_of_all_runs_with_the_runs_names(zoo):
    found = compact(zoo)
    assert set(found) == set(Results(zoo).tables())
    for table, path in found.items():
        assert path == zoo / "compact" / f"{table}.parquet"
        rows = pq.read_table(path)
        assert rows.column_names[0] == "run"
        expected = with_runs(zoo, table)
        assert rows.to_pylist() == expected  # run by run, in their order
        in_no_order = sorted(({k: row[k] for k in sorted(row)} for row in expected), key=repr)
        assert by_duckdb(path) == in_no_order
        assert by_polars(path) == in_no_order
        assert by_pyarrow(pyarrow.dataset.dataset(path)) == in_no_order


def test_columns_keep_their_types_units_and_what_may_be_null(zoo):
    path = compact(zoo)["spectrum_summary"]
    own = pq.read_schema(zoo / "runs" / "z" / "spectrum_summary.parquet").remove_metadata()
    assert pq.read_schema(path).remove(0).equals(own, check_metadata=True)
    assert not pq.read_schema(path).field("run").nullable


def test_nothing_new_touches_no_file(zoo):
    compact(zoo)
    before = state(zoo / "compact")
    assert compact(zoo) == {
        table: zoo / "compact" / f"{table}.parquet" for table in Results(zoo).tables()
    }
    assert state(zoo / "compact") == before


def test_the_order_on_the_disk_does_not_matter(zoo, tmp_path):
    other = tmp_path / "other"
    for name in sorted(RUNS, reverse=True):
        shutil.copytree(zoo / "runs" / name, other / "runs" / name)
    one, two = compact(zoo), compact(other)
    assert {t: p.read_bytes() for t, p in one.items()} == {
        t: p.read_bytes() for t, p in two.items()
    }


def test_only_what_has_new_rows_is_written_anew(zoo):
    compact(zoo)
    before = state(zoo / "compact")
    weights_run(zoo, "new", [0.1, 0.2])
    compact(zoo)
    after = state(zoo / "compact")
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"compact.json", "layers.parquet", "spectrum.parquet",
                       "spectrum_summary.parquet", "spectrum_histogram.parquet"}  # fmt: skip
    runs = pq.read_table(zoo / "compact" / "layers.parquet")["run"].to_pylist()
    assert "new" in runs


def test_the_file_of_a_table_that_is_gone_goes_and_no_other(zoo):
    compact(zoo)
    mine = zoo / "compact" / "mine.parquet"
    # It has the metadata of a compact file, as what was read from one and written has.
    pq.write_table(pq.read_table(zoo / "compact" / "memory_summary.parquet"), mine)
    shutil.rmtree(zoo / "runs" / "tiny-mamba")
    assert "memory_summary" not in compact(zoo)
    assert not (zoo / "compact" / "memory_summary.parquet").exists()
    assert mine.exists()


@pytest.mark.parametrize("runs", ["changed", "gone"])
def test_a_file_that_compact_did_not_write_is_not_replaced(zoo, runs):
    compact(zoo)
    path = zoo / "compact" / "memory_summary.parquet"
    path.write_text("something of somebody")
    before = state(zoo / "compact")
    if runs == "gone":
        shutil.rmtree(zoo / "runs" / "tiny-mamba")
    with pytest.raises(OutputError, match="memory_summary.parquet is there already") as caught:
        compact(zoo)
    assert caught.value.hint.startswith("move it out of ")
    assert state(zoo / "compact") == before


def test_a_file_in_the_way_of_the_first_time(zoo):
    (zoo / "compact").mkdir()
    (zoo / "compact" / "layers.parquet").write_text("something of somebody")
    with pytest.raises(OutputError, match="is there already"):
        compact(zoo)
    assert [path.name for path in (zoo / "compact").iterdir()] == ["layers.parquet"]


def test_a_zoo_without_runs_has_no_folder(tmp_path):
    assert compact(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_column_that_some_runs_lack_is_null_there(zoo):
    with_columns(zoo, "z", "layers", extra=1.5)
    rows = pq.read_table(compact(zoo)["layers"]).to_pylist()
    assert {row["extra"] for row in rows if row["run"] == "z"} == {1.5}
    assert {row["extra"] for row in rows if row["run"] != "z"} == {None}


def test_a_table_of_an_earlier_version_gets_the_names_of_today(zoo):
    folder = zoo / "runs" / "z"
    rows = pq.ParquetFile(folder / "layers.parquet").read()
    pq.write_table(rows.select([0, 1]).append_column("task", rows["kind"]),
                   folder / "probe.parquet")  # fmt: skip
    record = json.loads((folder / "run.json").read_text())
    size = (folder / "probe.parquet").stat().st_size
    record["tables"]["probe"] = {"file": "probe.parquet", "bytes": size, "sha256": "", "rows": 3}
    (folder / "run.json").write_text(json.dumps(record))
    assert pq.read_schema(compact(zoo)["probe"]).names[-1] == "prompt_set"


def test_dictionaries_of_arrow_stay_what_they_are(zoo):
    """A file that another program wrote in place of a run's."""
    folder = zoo / "runs" / "z"
    rows = pq.ParquetFile(folder / "layers.parquet").read()
    kinds = rows["kind"].combine_chunks().dictionary_encode()
    rows = rows.append_column("as_dictionary", kinds)
    pq.write_table(rows, folder / "layers.parquet")
    record = json.loads((folder / "run.json").read_text())
    record["tables"]["layers"]["bytes"] = (folder / "layers.parquet").stat().st_size
    (folder / "run.json").write_text(json.dumps(record))
    path = compact(zoo)["layers"]
    found = pq.read_table(path)
    assert pa.types.is_dictionary(found.schema.field("as_dictionary").type)
    of_z = [row for row in found.to_pylist() if row["run"] == "z"]
    assert [row["as_dictionary"] for row in of_z] == [row["kind"] for row in of_z]
    assert len(by_duckdb(path)) == len(by_polars(path)) == len(found)


def test_a_damaged_file_leaves_all_as_it_was(zoo):
    compact(zoo)
    before = state(zoo / "compact")
    weights_run(zoo, "new", [0.1, 0.2])
    path = zoo / "runs" / "new" / "spectrum.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(100) + content[104:])  # whole by its size and its ends
    with pytest.raises(MalformedError, match="spectrum.parquet cannot be read"):
        compact(zoo)
    assert state(zoo / "compact") == before


#: Compacts a zoo, and dies right before the n-th file of the folder takes its place.
DYING = """
import os, sys
from pathlib import Path
from spectrakit.zoo.compact import compact
steps = int(sys.argv[2])
replace = Path.replace
def dying(self, target):
    global steps
    if Path(target).parent.name == "compact":
        if steps == 0:
            os._exit(9)
        steps -= 1
    return replace(self, target)
Path.replace = dying
compact(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("steps", [0, 1, 3, 5])
def test_whenever_it_dies_the_next_one_finishes(zoo, tmp_path, steps):
    compact(zoo)
    weights_run(zoo, "new", [0.1, 0.2])
    whole = shutil.copytree(zoo, tmp_path / "whole")
    compact(whole)
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(zoo), str(steps)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 9
    for path in (zoo / "compact").glob("*.parquet"):
        pq.read_table(path)  # old or new, and whole
    compact(zoo)
    assert {p.name: p.read_bytes() for p in (zoo / "compact").iterdir()} == {
        p.name: p.read_bytes() for p in (whole / "compact").iterdir()
    }


def test_a_ledger_that_cannot_be_read_makes_all_files_somebodys(zoo):
    compact(zoo)
    (zoo / "compact" / "compact.json").write_text("{")
    with pytest.raises(OutputError, match="is there already"):
        compact(zoo)


def test_a_second_one_at_work_is_named(zoo):
    (zoo / "compact").mkdir()
    lock = FolderLock(zoo / "compact")
    lock.acquire()
    with pytest.raises(OutputError, match=f"process {os.getpid()} is writing"):
        compact(zoo)
    lock.release()


def test_progress_counts_files(zoo):
    progress = Counting()
    compact(zoo, progress)
    files = sum(len(Results(zoo).files(table)) for table in Results(zoo).tables())
    assert progress.done == progress.total == files


def test_memory_does_not_grow_with_the_rows(zoo, monkeypatch):
    """Pieces are small, however large a file is, and row groups go out as they fill."""
    weights_run(zoo, "large", [0.1 + i * 1e-6 for i in range(200_000)])
    largest = 0

    class Watched(module.TableFile):
        def append(self, table):
            nonlocal largest
            largest = max(largest, table.num_rows)
            super().append(table)

    monkeypatch.setattr(module, "TableFile", Watched)
    path = compact(zoo)["spectrum"]
    assert largest <= 1 << 16
    groups = pq.read_metadata(path)
    assert max(groups.row_group(i).num_rows for i in range(groups.num_row_groups)) <= 1 << 17
