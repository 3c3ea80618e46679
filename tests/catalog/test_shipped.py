"""The catalog that ships: its entries are sound, and found by name and by repository."""

from __future__ import annotations

from collections import Counter

import pytest

from spectrakit import catalog
from spectrakit.catalog import places
from spectrakit.checkpoints import open_checkpoint
from spectrakit.errors import MalformedError
from spectrakit.inspection import inspect_model
from spectrakit.model import open_checkpoint as open_model

ENTRIES = catalog.entries()
BUNDLED = [entry for entry in ENTRIES if entry.origin == "bundled"]


def test_what_is_known_by_name():
    known = {entry.name for entry in ENTRIES}
    assert {"tiny-mamba", "tiny-mamba2", "tiny-llama", "mamba-130m", "mamba2-130m"} <= known
    folders = {path.name for path in (catalog.folder() / "checkpoints").iterdir() if path.is_dir()}
    assert {entry.name for entry in BUNDLED} == folders - {"__pycache__"}
    assert ENTRIES[: len(BUNDLED)] == tuple(BUNDLED)  # the ones that need no network come first


@pytest.mark.parametrize("attribute", ["name", "address"])
def test_names_and_repositories_are_unique(attribute):
    counted = Counter(getattr(entry, attribute).lower() for entry in ENTRIES)
    assert [value for value, times in counted.items() if times > 1] == []


def test_no_name_is_the_repository_of_another():
    assert not {entry.name for entry in ENTRIES} & {entry.repo for entry in ENTRIES}


def test_a_file_has_the_name_of_its_family():
    files = {path.stem for path in (catalog.folder() / "models").iterdir()}
    assert files == {family.name for family in catalog.families()}


def test_counterparts_are_entries():
    known = {entry.name for entry in ENTRIES}
    for entry in ENTRIES:
        assert set(entry.counterpart_of) <= known - {entry.name}, entry.name


def test_the_smallest_of_a_family_is_one_of_the_hub():
    for family in catalog.families():
        smallest = [entry for entry in family.entries if entry.smallest]
        assert len(smallest) <= 1, family.name
        assert all(entry.origin == "hub" for entry in smallest), family.name
        for entry in smallest:
            others = [e.parameters for e in family.entries if e.parameters and e.origin == "hub"]
            assert entry.parameters in {None, min(others, default=None)}, family.name


def test_a_repository_is_named_by_a_public_page():
    assert [entry.name for entry in ENTRIES if entry.repo and not entry.page] == []


@pytest.mark.parametrize("entry", BUNDLED, ids=lambda entry: entry.name)
def test_what_is_said_of_a_bundled_one_is_in_its_files(entry):
    assert entry.folder.is_relative_to(catalog.folder())
    assert (entry.license, entry.gated, entry.format) == ("Apache-2.0", False, "transformers")
    with open_model(entry.name) as model:
        inspection = inspect_model(model)
        assert model.checkpoint.config["model_type"] == entry.family
    assert inspection.parameters == entry.parameters
    assert inspection.weights_bytes == entry.weights_bytes


def test_find():
    assert catalog.find("mamba-130m").source == "state-spaces/mamba-130m"
    assert catalog.find("state-spaces/mamba-130m").name == "mamba-130m"
    assert catalog.find("state-spaces/mamba-130m").tokenizer == "EleutherAI/gpt-neox-20b"
    assert catalog.find("mamba-130m-hf").tokenizer is None
    assert catalog.find("checkpoints/tiny-mamba") is None
    assert catalog.find("no-such-model") is None


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_entry_is_found(entry):
    assert catalog.find(entry.name) == entry
    if entry.repo is not None:
        assert catalog.find(entry.repo).repo == entry.repo


def test_what_is_damaged_is_told_when_it_is_looked_for(tmp_path, monkeypatch):
    models = tmp_path / "spectrakit" / "_catalog" / "models"
    models.mkdir(parents=True)
    (models / "f.toml").write_text("mine")
    monkeypatch.setattr(places, "__file__", str(tmp_path / "spectrakit" / "catalog" / "places.py"))
    assert catalog.find("yours") is None
    with pytest.raises(MalformedError, match=r"f\.toml"):
        catalog.find("mine")
    with pytest.raises(MalformedError, match=r"f\.toml"):
        catalog.entries()


def test_an_entry_is_opened_by_its_name():
    with open_checkpoint("tiny-mamba") as checkpoint:
        assert checkpoint.source == "catalog tiny-mamba"


def test_an_installation_without_a_catalog_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "__file__", str(tmp_path / "spectrakit" / "catalog" / "places.py"))
    with pytest.raises(MalformedError, match="missing from this installation"):
        catalog.folder()


def test_the_wheel_s_place_comes_first(tmp_path, monkeypatch):
    inside = tmp_path / "spectrakit" / "_catalog"
    (inside / "models").mkdir(parents=True)
    (tmp_path / "catalog" / "models").mkdir(parents=True)
    monkeypatch.setattr(places, "__file__", str(tmp_path / "spectrakit" / "catalog" / "places.py"))
    assert catalog.folder() == inside
    assert catalog.entries() == ()
