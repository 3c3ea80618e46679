"""The catalog: its file is sound, and entries are found by name and by repository."""

from __future__ import annotations

import re

import pytest

from spectrakit import catalog
from spectrakit.errors import MalformedError


def test_entries_are_complete():
    entries = catalog.entries()
    assert {"tiny-mamba", "tiny-mamba2", "mamba-130m", "mamba2-130m"} <= {e.name for e in entries}
    for entry in entries:
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", entry.name)
        assert entry.description
        assert "\n" not in entry.description
        if entry.origin == "hub":
            assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry.source)
            assert entry.folder is None


def test_names_and_repositories_are_unique():
    for attribute in ("name", "source"):
        values = [getattr(entry, attribute) for entry in catalog.entries()]
        assert len(values) == len(set(values))


def test_bundled_checkpoints_are_there():
    bundled = [entry for entry in catalog.entries() if entry.origin == "bundled"]
    assert {"tiny-mamba", "tiny-mamba2"} <= {entry.name for entry in bundled}
    for entry in bundled:
        assert entry.folder.is_dir()
        assert entry.folder.is_relative_to(catalog.folder())
        assert entry.license == "Apache-2.0"


def test_find():
    assert catalog.find("mamba-130m").source == "state-spaces/mamba-130m"
    assert catalog.find("state-spaces/mamba-130m").name == "mamba-130m"
    assert catalog.find("state-spaces/mamba-130m").tokenizer == "EleutherAI/gpt-neox-20b"
    assert catalog.find("mamba-130m-hf").tokenizer is None
    assert catalog.find("checkpoints/tiny-mamba") is None
    assert catalog.find("no-such-model") is None


@pytest.mark.parametrize(
    "text",
    [
        "models = ",
        "[other]",
        "models = 3",
        "[models]\nx = 3",
        '[models.x]\ndescription = "neither"',
        '[models.x]\ndescription = "both"\nrepo = "a/b"\nfolder = "c"',
        '[models.x]\nrepo = "a/b"',
    ],
)
def test_a_damaged_catalog_is_told(tmp_path, monkeypatch, text):
    (tmp_path / "models.toml").write_text(text)
    monkeypatch.setattr(catalog, "folder", lambda: tmp_path)
    with pytest.raises(MalformedError, match=r"models\.toml"):
        catalog.entries()


def test_an_installation_without_a_catalog_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "__file__", str(tmp_path / "spectrakit" / "catalog.py"))
    with pytest.raises(MalformedError, match="missing from this installation"):
        catalog.folder()


def test_the_wheel_s_place_comes_first(tmp_path, monkeypatch):
    inside = tmp_path / "spectrakit" / "_catalog"
    inside.mkdir(parents=True)
    (inside / "models.toml").write_text("[models]")
    monkeypatch.setattr(catalog, "__file__", str(tmp_path / "spectrakit" / "catalog.py"))
    assert catalog.folder() == inside
    assert catalog.entries() == ()
