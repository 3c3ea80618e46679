from __future__ import annotations

import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest

from spectrakit.errors import AnalysisError, OutputError
from spectrakit.tables import (
    LAYERS,
    SCHEMA_VERSION,
    SPECTRUM,
    Column,
    MemorySink,
    RunWriter,
    TableSchema,
    parquet,
    read_run,
)
from tests.tables.samples import fill, layer_columns, manifest, spectrum_columns

PICTURE = b"\x89PNG not really"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "model" / "weights"


def write(folder, made=None, **more):
    with RunWriter(folder, made or manifest()) as writer:
        fill(writer, **more)
        writer.add_file("spectrum.png", PICTURE)
    return writer.run


def interrupted(folder, error):
    with RunWriter(folder, manifest("another/model")) as writer:
        fill(writer, layers=2, channels=20_000)
        writer.add_file("spectrum.png", PICTURE)
        raise error


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_is_its_tables_its_files_and_a_manifest_and_nothing_else(folder):
    run = write(folder)
    assert names(folder) == ["layers.parquet", "run.json", "spectrum.parquet", "spectrum.png"]
    assert run.tables == ("layers", "spectrum")
    assert (folder / "spectrum.png").read_bytes() == PICTURE
    assert run.manifest.tables["spectrum"].rows == 3 * 8 * 4
    assert run.manifest.files["spectrum.png"].bytes == len(PICTURE)


def test_memory_and_disk_give_the_same_run(folder):
    made = manifest()
    sink = MemorySink(made)
    fill(sink)
    on_disk, in_memory = write(folder, made), sink.run
    assert in_memory.folder is None
    assert on_disk.folder == folder
    assert in_memory.tables == on_disk.tables
    for name in in_memory.tables:
        assert in_memory.table(name).equals(on_disk.table(name), check_metadata=True)


def test_every_row_carries_the_model_and_its_revision(folder):
    table = write(folder).table("spectrum")
    assert table.column_names[:2] == ["model_id", "revision"]
    assert set(table.column("model_id").to_pylist()) == {"state-spaces/mamba-130m"}
    assert set(table.column("revision").to_pylist()) == {"0" * 40}


def test_a_file_says_where_it_comes_from_and_what_its_columns_mean(folder):
    write(
        folder, manifest(command="spectrakit analyze x --token hf_abcdefghijklmnopqrstuvwx", seed=7)
    )
    schema = pq.read_schema(folder / "spectrum.parquet")
    metadata = {key.decode(): value.decode() for key, value in schema.metadata.items()}
    assert metadata["spectrakit.schema_version"] == str(SCHEMA_VERSION)
    assert metadata["spectrakit.seed"] == "7"
    assert metadata["spectrakit.command"] == "spectrakit analyze x --token ***"
    assert schema.field("timescale_steps").metadata[b"unit"] == b"step"
    assert b"hf_abcdefghijklmnopqrstuvwx" not in (folder / "spectrum.parquet").read_bytes()


def test_the_same_run_gives_the_same_bytes(folder, tmp_path):
    write(folder)
    write(tmp_path / "again")
    for name in ("layers.parquet", "spectrum.parquet"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_small_pieces_share_a_row_group_and_large_ones_do_not_pile_up(folder):
    with RunWriter(folder, manifest()) as writer:
        for layer in range(200):
            writer.append(LAYERS, LAYERS.table(layer_columns(layer)))
        for layer in range(4):
            writer.append(SPECTRUM, SPECTRUM.table(spectrum_columns(layer, channels=20_000)))
    assert pq.ParquetFile(folder / "layers.parquet").metadata.num_row_groups == 1
    assert pq.ParquetFile(folder / "spectrum.parquet").metadata.num_row_groups == 4


def test_a_plugins_table_is_written_like_any_other(folder):
    mine = TableSchema(
        "my_norms", "a norm", (Column("layer", "int32", "It."), Column("norm", "float64", "It."))
    )
    with RunWriter(folder, manifest()) as writer:
        writer.append(mine, mine.table({"layer": np.arange(3), "norm": [0.1, 0.2, 0.3]}))
    assert writer.run.table("my_norms").column("norm").to_pylist() == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("make", [lambda folder: MemorySink(manifest()), None])
def test_two_tables_of_one_name_do_not_mix(folder, make):
    other = TableSchema("layers", "another thing", (Column("depth", "int32", "It."),))
    sink = make(folder) if make else RunWriter(folder, manifest()).__enter__()
    sink.append(LAYERS, LAYERS.table(layer_columns()))
    with pytest.raises(AnalysisError, match="'layers'"):
        sink.append(other, other.table({"depth": 1}))
    if make is None:
        sink.__exit__(AnalysisError, None, None)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_first_run_leaves_no_trace(folder, tmp_path, error):
    with pytest.raises(error):
        interrupted(folder, error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["layers.parquet", "spectrum.png"])
def test_a_file_of_no_run_is_not_replaced(folder, name):
    folder.mkdir(parents=True)
    (folder / name).write_text("mine")
    with pytest.raises(OutputError, match=f"{name} is there already, and no run wrote it"):
        write(folder)
    assert names(folder) == [name]
    assert (folder / name).read_text() == "mine"


def test_nor_is_it_beside_a_run(folder):
    with RunWriter(folder, manifest()) as writer:
        writer.append(LAYERS, LAYERS.table(layer_columns()))
    (folder / "spectrum.parquet").write_text("mine")
    with pytest.raises(OutputError, match="spectrum.parquet is there already"):
        write(folder)
    assert (folder / "spectrum.parquet").read_text() == "mine"
    assert set(read_run(folder).tables) == {"layers"}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_second_run_leaves_the_first_as_it_was(folder, error):
    write(folder)
    before = contents(folder)
    with pytest.raises(error):
        interrupted(folder, error)
    assert contents(folder) == before


def test_rows_that_do_not_fit_leave_the_first_run_as_it_was(folder):
    write(folder)
    before = contents(folder)
    with (
        pytest.raises(AnalysisError, match="'re'"),
        RunWriter(folder, manifest("another/model")) as writer,
    ):
        writer.append(SPECTRUM, SPECTRUM.table(spectrum_columns() | {"re": float("nan")}))
    assert contents(folder) == before


def test_a_second_run_takes_the_place_of_the_first(folder):
    write(folder)
    (folder / "notes.txt").write_text("mine")
    with RunWriter(folder, manifest("another/model")) as writer:
        writer.append(LAYERS, LAYERS.table(layer_columns()))
    assert names(folder) == ["layers.parquet", "notes.txt", "run.json"]
    assert writer.run.table("layers").column("model_id").to_pylist() == ["another/model"]


@pytest.mark.parametrize("moves", range(5))
def test_an_interrupt_within_the_commit_waits_for_its_end(folder, monkeypatch, moves):
    write(folder)
    replace, done = type(folder).replace, []

    def interrupting(path, target):
        replace(path, target)
        done.append(target)
        if len(done) == moves + 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(type(folder), "replace", interrupting)
    with pytest.raises(KeyboardInterrupt):
        write(folder, manifest("another/model"))
    monkeypatch.undo()
    assert read_run(folder).manifest.model_id == "another/model"
    assert names(folder) == ["layers.parquet", "run.json", "spectrum.parquet", "spectrum.png"]
    assert read_run(folder).table("spectrum").num_rows == 96


def test_files_of_a_commit_that_died_are_known_to_the_next(folder, monkeypatch):
    write(folder)
    replace = type(folder).replace

    def dying(path, target):
        if target.suffix == ".parquet":
            raise RuntimeError
        replace(path, target)

    monkeypatch.setattr(type(folder), "replace", dying)
    with pytest.raises(RuntimeError):
        write(folder, manifest("another/model"))
    monkeypatch.undo()
    assert "run.json" not in names(folder)
    with RunWriter(folder, manifest()) as writer:
        writer.append(LAYERS, LAYERS.table(layer_columns()))
    assert names(folder) == ["layers.parquet", "run.json"]


def test_a_damaged_manifest_does_not_lead_out_of_the_folder(folder, tmp_path):
    precious = tmp_path / "precious.parquet"
    precious.write_text("mine")
    write(folder)
    record = json.loads((folder / "run.json").read_text())
    record["tables"]["spectrum"]["file"] = os.path.relpath(precious, folder)
    (folder / "run.json").write_text(json.dumps(record))
    with RunWriter(folder, manifest()) as writer:
        writer.append(LAYERS, LAYERS.table(layer_columns()))
    assert precious.read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["run.json", "layers.parquet", "../out.png", "a/b.png", ".hidden", "C:x", "", "/x"]
)
def test_a_file_has_a_plain_name_of_its_own(folder, name):
    with (
        pytest.raises(ValueError, match="not a name for a file"),
        RunWriter(folder, manifest()) as writer,
    ):
        writer.add_file(name, b"")


def test_a_run_may_have_no_tables(folder):
    with RunWriter(folder, manifest()):
        pass
    assert read_run(folder).tables == ()


def test_a_table_may_have_no_rows(folder):
    with RunWriter(folder, manifest()) as writer:
        writer.append(LAYERS, LAYERS.table(layer_columns(), rows=0))
    assert writer.run.table("layers").num_rows == 0


def test_a_file_that_does_not_read_back_is_an_error_and_no_run(folder, monkeypatch):
    def damaging(path):
        if path.name.startswith(".spectrum.parquet"):
            path.write_bytes(path.read_bytes()[:-1])

    monkeypatch.setattr(parquet, "sync", damaging)
    with pytest.raises(OutputError, match=r"spectrum\.parquet does not read back"):
        write(folder)
    assert not folder.exists()
