"""The user's own entries and records: where they are, and that damage to them stops no analysis."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import typer

from spectrakit import catalog
from spectrakit.catalog.records import (
    RECORDS,
    Record,
    forget_records,
    parse_records,
    read_records,
    record_of,
    written,
)
from spectrakit.checkpoints import open_checkpoint
from spectrakit.errors import MalformedError, OutputError
from spectrakit.verification.writing import record, write_entry
from tests.catalog.conftest import TINY

SEEN = Record(
    repo="someone/tiny",
    endpoint="https://huggingface.co",
    checked="2026-01-02T03:04:05Z",
    commit="0123456789abcdef" * 2 + "01234567",
    headers="headers-0123456789ab",
    architecture="transformers-mamba",
    families=("mamba", "transformers-mamba"),
    layers=3,
    kinds=("mamba",),
    parameters=229440,
    weights_bytes=0,
    license="mit",
    gated=False,
    problems=("its licence is another",),
)


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_the_folder_is_where_typer_has_it(monkeypatch, platform):
    monkeypatch.delenv("SPECTRAKIT_CATALOG")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    assert catalog.own_folder() == Path(typer.get_app_dir("spectrakit"))


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("SPECTRAKIT_CATALOG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert catalog.own_folder() == tmp_path / "spectrakit"
    monkeypatch.setenv("SPECTRAKIT_CATALOG", "~/mine")
    assert catalog.own_folder() == Path.home() / "mine"


def test_own_entries_come_last(tiny):
    entry = catalog.entries()[-1]
    assert (entry.name, entry.own, entry.repo) == ("tiny", True, "someone/tiny")
    assert catalog.find("someone/tiny") == entry


def test_an_own_entry_takes_the_place_of_one_that_ships(own):
    own("mamba", TINY.format(name="mamba-130m", repo="someone/tiny"))
    assert catalog.find("mamba-130m").repo == "someone/tiny"
    assert [e.name for e in catalog.entries()].count("mamba-130m") == 1


@pytest.mark.parametrize("text", ["models = ", '[models.x]\nfolder = "y"\ndescription = "d"'])
def test_a_damaged_file_is_named_and_the_rest_goes_on(own, caplog, text):
    folder = own("mamba", text)
    with open_checkpoint("tiny-mamba") as checkpoint:
        assert checkpoint.model_id == "tiny-mamba"
    assert catalog.find("x") is None
    (warning,) = caplog.messages  # once, however often the catalog is asked
    assert str(folder / "models" / "mamba.toml") in warning
    assert caplog.records[0].levelname == "WARNING"


def test_records_are_read_as_they_were_written():
    bare = Record("a/b", "https://hub", "2026-01-02T03:04:05Z")
    kept = {"tiny": SEEN, "bare": bare}
    assert parse_records(written(kept)) == kept


def test_the_later_record_counts_if_it_is_of_the_repository(tiny, tmp_path, monkeypatch):
    entry = catalog.find("tiny")
    assert record_of(entry) is None
    record(tiny, "tiny", SEEN)
    assert record_of(entry) == SEEN
    shipped = tmp_path / "shipped"
    later = Record("someone/tiny", "https://hub", "2026-01-02T03:04:06Z")
    other = Record("someone/else", "https://hub", "2027-01-01T00:00:00Z")
    for newer, counts in ((later, later), (other, SEEN)):
        shipped.mkdir(exist_ok=True)
        (shipped / RECORDS).write_text(written({"tiny": newer}))
        monkeypatch.setattr("spectrakit.catalog.records.folder", lambda: shipped)
        forget_records()
        assert record_of(entry) == counts


RECORD = {"repo": "a/b", "endpoint": "https://hub", "checked": "2026-01-02T03:04:05Z"}


def _of(**changes):
    return json.dumps({"format": 1, "records": {"x": {**RECORD, **changes}}})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "Expecting"),
        ("[]", "format and records"),
        ('{"format": 1}', "format and records"),
        ('{"format": 2, "records": {}}', "format 2"),
        ('{"format": 1, "records": []}', "not keys and values"),
        ('{"format": 1, "records": {"x": 3}}', "not keys and values"),
        ('{"format": 1, "records": {"x": {"repo": "a/b"}}}', "has no endpoint"),
        (_of(seen=1), "unknown key 'seen'"),
        (_of(repo="../b"), "repo in the record of 'x'"),
        (_of(commit="main"), "commit in the record of 'x'"),
        (_of(headers="headers-xyz"), "headers in the record of 'x'"),
        (_of(checked="yesterday"), "checked in the record of 'x'"),
        (_of(layers="3"), "layers in the record of 'x'"),
        (_of(layers=True), "layers in the record of 'x'"),
        (_of(layers=-1), "layers in the record of 'x'"),
        (_of(gated="no"), "gated in the record of 'x'"),
        (_of(license="a\u202eb"), "license in the record of 'x'"),
        (_of(problems="gone"), "problems in the record of 'x'"),
        (_of(problems=["a\x1b[2J"]), "problems in the record of 'x'"),
        ("[" * 100_000, ""),
    ],
)
def test_damaged_records_are_told(tiny, caplog, text, says):
    (tiny / RECORDS).write_text(text)
    with pytest.raises(MalformedError) as caught:
        read_records(tiny)
    assert str(tiny / RECORDS) in caught.value.message
    assert says in caught.value.message
    forget_records()
    assert record_of(catalog.find("tiny")) is None  # and that stops nothing
    assert RECORDS in caplog.text


def test_damaged_records_are_not_written_over(tiny):
    (tiny / RECORDS).write_text("{")
    with pytest.raises(MalformedError, match=RECORDS):
        record(tiny, "tiny", SEEN)
    assert (tiny / RECORDS).read_text() == "{"


def test_an_entry_is_written_at_the_end_of_its_family(tiny, own):
    path = tiny / "models" / "mamba.toml"
    path.write_text(path.read_text() + "# what the user says about it\n")
    said = 'a "quoted" \\ name, and Umlaute: ü'
    entry = catalog.CatalogEntry("more", "mamba", said, "a/more", "hub", gated=True, own=True)
    assert write_entry(tiny, entry) == path
    assert "# what the user says about it\n" in path.read_text()
    assert [e.name for e in catalog.entries()][-2:] == ["tiny", "more"]
    assert catalog.find("more") == entry
    assert [each.name for each in tiny.rglob("*") if each.is_file()] == ["mamba.toml"]


def test_what_cannot_be_read_back_is_not_written(tiny):
    before = (tiny / "models" / "mamba.toml").read_text()
    entry = catalog.CatalogEntry("more", "mamba", "\u202e", "a/more", "hub", own=True)
    with pytest.raises(ValueError, match="one line"):
        write_entry(tiny, entry)
    assert (tiny / "models" / "mamba.toml").read_text() == before


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*verified\.json"):
        record(tmp_path / "file", "tiny", SEEN)
