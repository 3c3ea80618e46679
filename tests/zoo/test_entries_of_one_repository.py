"""Entries of the catalog that share a repository, each with its own file, are models each."""

from __future__ import annotations

import pytest

from spectrakit import catalog
from spectrakit.catalog.known import forget
from spectrakit.spec import RunSpec
from spectrakit.zoo.selection import select


@pytest.fixture(autouse=True)
def _entries():
    models = catalog.own_folder() / "models"
    models.mkdir(parents=True)
    entries = (
        f'[models.zz-{name}]\ndescription = "d"\nrepo = "zz/many"\nfile = "{name}.pth"\n'
        for name in ("one", "two")
    )
    (models / "zz.toml").write_text('family = "zz"\n' + "".join(entries))
    forget()


def test_a_pattern_finds_both():
    entries = select(["zz-*"], RunSpec(model=""))
    assert [entry.spec.model for entry in entries] == ["zz-one", "zz-two"]
    assert len({entry.name for entry in entries}) == 2


def test_a_folder_of_the_same_name_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zz-one").mkdir()
    (entry,) = select(["zz-on?"], RunSpec(model=""))
    assert entry.spec.model == "hf://zz/many/one.pth"
