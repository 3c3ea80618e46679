"""A zoo's runs as one dataset, read by the readers that people have."""

from __future__ import annotations

import json
import os
import shutil

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from spectrakit.errors import MalformedError, UsageError
from spectrakit.zoo.results import Results
from tests.zoo.conftest import RUNS
from tests.zoo.readers import by_duckdb, by_polars, by_pyarrow, one_by_one, rows_of

TABLES = ("layers", "spectrum", "spectrum_summary", "spectrum_histogram", "memory_summary")


def names(zoo):
    return [name for name, _, _ in Results(zoo).runs()]


@pytest.mark.parametrize("table", TABLES)
def test_every_reader_reads_the_whole_dataset(analysed, table):
    results = Results(analysed)
    expected = one_by_one(analysed.glob(f"runs/*/{table}.parquet"))
    assert len(expected) > 2
    assert by_pyarrow(results.dataset(table)) == expected
    pattern = analysed / "runs" / "*" / f"{table}.parquet"
    assert by_duckdb(pattern) == expected
    assert by_polars(pattern) == expected


def test_runs_come_in_order_of_name_with_their_records(analysed):
    found = list(Results(analysed).runs())
    assert [name for name, _, _ in found] == sorted(RUNS)
    for name, path, manifest in found:
        assert path == analysed / "runs" / name
        assert (manifest.model_id, manifest.mode) == (RUNS[name][0], RUNS[name][1]["mode"])


def test_tables_and_their_files(analysed):
    results = Results(analysed)
    assert set(TABLES) <= set(results.tables())
    assert results.files("memory_summary") == [
        analysed / "runs" / "tiny-mamba" / "memory_summary.parquet"
    ]
    assert results.files("none") == []


def test_a_dataset_is_filtered_without_reading_all(analysed):
    rows = Results(analysed).dataset("spectrum_summary").to_table(
        filter=pc.field("gauge") == "retained", columns=["model_id", "layer"]
    )  # fmt: skip
    assert set(rows["model_id"].to_pylist()) == {"tiny-llama"}


def test_columns_say_what_they_are_in_the_dataset(analysed):
    field = Results(analysed).dataset("spectrum_summary").schema.field("timescale_q95")
    assert field.metadata[b"unit"] == b"step"


def lose_the_end(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def write_zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def write_other_bytes(path):
    content = path.read_bytes()
    path.write_bytes(content[:-4] + b"PAR2")


@pytest.mark.parametrize("damage", [lose_the_end, write_zeros, write_other_bytes, os.unlink])
@pytest.mark.parametrize("table", ["layers", "spectrum"])
def test_a_run_that_is_not_whole_does_not_count(zoo, damage, table):
    damage(zoo / "runs" / "tiny-mamba" / f"{table}.parquet")
    assert names(zoo) == sorted(RUNS.keys() - {"tiny-mamba"})


def rewritten(zoo, change):
    path = zoo / "runs" / "tiny-mamba" / "run.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def point_outside(record):
    record["tables"]["layers"]["file"] = "../z/layers.parquet"


def name_it_a_path(record):
    record["tables"]["../../x"] = {**record["tables"].pop("layers"), "file": "../../x.parquet"}


def hold_under_another_name(record):
    record["tables"]["other"] = record["tables"].pop("layers")


def be_newer(record):
    record["schema_version"] = 99


@pytest.mark.parametrize(
    "change", [point_outside, name_it_a_path, hold_under_another_name, be_newer]
)
def test_a_record_that_cannot_be_relied_on_does_not_count(zoo, change):
    rewritten(zoo, change)
    assert "tiny-mamba" not in names(zoo)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "[" * 100_000, "\0", "{}"])
def test_what_is_no_record_does_not_count(zoo, text):
    (zoo / "runs" / "tiny-mamba" / "run.json").write_text(text)
    assert "tiny-mamba" not in names(zoo)


def test_what_is_no_run_does_not_count(zoo):
    shutil.copytree(zoo / "runs" / "z", zoo / "runs" / ".hidden")
    shutil.copytree(zoo / "runs" / "z", zoo / "runs" / "a\x1bb")
    (zoo / "runs" / "empty").mkdir()
    (zoo / "runs" / "file").write_text("no folder")
    assert names(zoo) == sorted(RUNS)


def test_a_huge_record_is_not_read(zoo):
    with (zoo / "runs" / "z" / "run.json").open("r+b") as file:
        file.truncate(1 << 30)
    assert "z" not in names(zoo)


def test_a_folder_without_runs(tmp_path):
    assert names(tmp_path) == []
    assert Results(tmp_path).tables() == []
    with pytest.raises(UsageError, match="no finished run in .* has a table 'layers'") as caught:
        Results(tmp_path).dataset("layers")
    assert caught.value.hint is None


def test_a_table_that_no_run_has_is_named_with_the_one_meant(analysed):
    with pytest.raises(UsageError, match="'spectrums'") as caught:
        Results(analysed).dataset("spectrums")
    assert caught.value.hint == "did you mean spectrum?"


def with_columns(zoo, run, table, **columns):
    """Write a run's table anew with other columns, as another version of a plugin may."""
    folder = zoo / "runs" / run
    path = folder / f"{table}.parquet"
    rows = pq.ParquetFile(path).read()
    for name, values in columns.items():
        rows = rows.append_column(name, pa.array([values] * len(rows)))
    pq.write_table(rows, path)
    record = json.loads((folder / "run.json").read_text())
    record["tables"][table] |= {"bytes": path.stat().st_size}
    (folder / "run.json").write_text(json.dumps(record))


def test_a_column_that_some_runs_have_is_null_in_others(zoo):
    with_columns(zoo, "z", "layers", extra=1.5)
    found = Results(zoo).dataset("layers").to_table()
    of_z = pc.equal(found["model_id"], "tiny-llama")
    assert set(found.filter(of_z)["extra"].to_pylist()) == {1.5}
    assert set(found.filter(pc.invert(of_z))["extra"].to_pylist()) == {None}
    assert found.schema.field("extra").nullable


def test_readers_find_such_columns_as_the_page_says(zoo):
    with_columns(zoo, "z", "layers", extra=1.5)
    dataset = Results(zoo).dataset("layers")
    expected = by_pyarrow(dataset)
    assert rows_of(pl.scan_pyarrow_dataset(dataset).collect().to_arrow()) == expected
    pattern = str(zoo / "runs" / "*" / "layers.parquet")
    query = f"SELECT * FROM read_parquet('{pattern}', union_by_name = true)"
    assert rows_of(duckdb.sql(query).to_arrow_table()) == expected


def test_a_column_in_two_types_is_named(zoo):
    with_columns(zoo, "z", "layers", extra=1.5)
    with_columns(zoo, "tiny-mamba", "layers", extra="text")
    with pytest.raises(MalformedError, match="double in column 'extra', other runs have string"):
        Results(zoo).dataset("layers")


def test_a_damaged_footer_is_named(zoo):
    path = zoo / "runs" / "z" / "layers.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:-200] + bytes(192) + content[-8:])
    with pytest.raises(MalformedError, match="layers.parquet cannot be read"):
        Results(zoo).dataset("layers")
