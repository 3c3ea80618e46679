from __future__ import annotations

import json

import pytest

from spectrakit.errors import MalformedError, UsageError
from spectrakit.tables import SCHEMA_VERSION, RunWriter, read_run
from tests.tables.samples import fill, manifest


@pytest.fixture
def folder(tmp_path):
    with RunWriter(tmp_path, manifest()) as writer:
        fill(writer)
        writer.add_file("spectrum.png", b"picture")
    return tmp_path


def rewrite(folder, change):
    record = json.loads((folder / "run.json").read_text())
    change(record)
    (folder / "run.json").write_text(json.dumps(record))


def test_a_table_that_is_not_there_names_those_that_are(folder):
    with pytest.raises(UsageError, match="no table 'memory'") as caught:
        read_run(folder).table("memory")
    assert "layers, spectrum" in str(caught.value)


@pytest.mark.parametrize("where", ["nothing/here", "run.json/below"])
def test_no_folder_is_no_run(folder, where):
    with pytest.raises(UsageError, match="no finished run"):
        read_run(folder / where)


def test_a_folder_without_its_manifest_is_no_run(folder):
    (folder / "run.json").unlink()
    with pytest.raises(UsageError, match="no finished run"):
        read_run(folder)


@pytest.mark.parametrize("name", ["spectrum.parquet", "spectrum.png"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(MalformedError, match=f"{name} of the run is not there"):
        read_run(folder)


@pytest.mark.parametrize("name", ["spectrum.parquet", "spectrum.png"])
def test_a_file_of_another_size_is_named(folder, name):
    with (folder / name).open("ab") as file:
        file.write(b"x")
    with pytest.raises(MalformedError, match=f"{name} holds"):
        read_run(folder)


def test_a_table_with_a_changed_byte_is_refused_when_it_is_read(folder):
    path = folder / "spectrum.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    run = read_run(folder)
    assert run.table("layers").num_rows == 3
    with pytest.raises(MalformedError, match=r"spectrum\.parquet is not the file"):
        run.table("spectrum")


def test_a_table_that_vanishes_later_is_an_error_of_one_line(folder):
    run = read_run(folder)
    (folder / "spectrum.parquet").unlink()
    with pytest.raises(MalformedError, match=r"spectrum\.parquet cannot be read"):
        run.table("spectrum")


def test_an_open_run_does_not_mix_with_the_one_that_replaces_it(folder):
    run = read_run(folder)
    with RunWriter(folder, manifest("another/model")) as writer:
        fill(writer)
    with pytest.raises(MalformedError, match="is not the file that the run wrote"):
        run.table("spectrum")


def test_a_newer_layout_is_refused(folder):
    rewrite(folder, lambda record: record.update(schema_version=SCHEMA_VERSION + 1))
    with pytest.raises(MalformedError, match="schema version") as caught:
        read_run(folder)
    assert "upgrade" in str(caught.value)


@pytest.mark.parametrize("name", ["../spectrum.parquet", "/etc/passwd", "C:\\x", ".hidden", ""])
def test_a_manifest_that_points_elsewhere_is_refused(folder, name):
    rewrite(folder, lambda record: record["tables"]["spectrum"].update(file=name))
    with pytest.raises(MalformedError, match="outside the folder"):
        read_run(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema_version": 1}', "\ufeff{}"])
def test_a_damaged_manifest_is_an_error_of_one_line(folder, text):
    (folder / "run.json").write_text(text)
    with pytest.raises(MalformedError) as caught:
        read_run(folder)
    assert "\n" not in caught.value.message
    assert "run.json" in caught.value.message


def test_a_manifest_that_is_not_text_is_an_error_of_one_line(folder):
    (folder / "run.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MalformedError, match="cannot be read"):
        read_run(folder)
