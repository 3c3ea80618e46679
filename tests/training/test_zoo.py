"""The checkpoints that ship: each does on test examples what its folder says."""

from __future__ import annotations

import json

import pytest
import torch

import spectrakit as sk
from spectrakit import catalog
from spectrakit.training.batches import evaluate
from spectrakit.training.configured import open_task
from spectrakit.training.models import builders
from spectrakit.training.models.backbone import kind_of
from spectrakit.training.models.config import SpectrakitConfig
from spectrakit.training.recipes.files import read_recipe

FOLDERS = sorted(path.parent for path in (catalog.folder() / "checkpoints").glob("*/accuracy.json"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_its_accuracy_is_what_is_said(folder):
    recipe = read_recipe(folder)
    said = json.loads((folder / "accuracy.json").read_text())
    data = open_task(recipe)
    model = kind_of(SpectrakitConfig.from_pretrained(folder)).from_pretrained(folder)
    numbers = range(data.size("test"))
    found = evaluate(model, data, "test", numbers, 64, torch.device("cpu"))
    # An example or two may be rounded to the other side on another processor.
    assert found.metric == pytest.approx(said["accuracy"], abs=2 / found.targets + 1e-12)
    assert recipe.digest == read_recipe(f"tiny/{folder.name}").digest


def test_every_mixer_has_one_and_none_is_large():
    assert {read_recipe(folder).mixer.name for folder in FOLDERS} == set(builders.names())
    for folder in FOLDERS:
        assert (folder / "model.safetensors").stat().st_size <= 1 << 20
        assert {file.name for file in folder.iterdir()} == {
            "accuracy.json", "config.json", "model.safetensors", "recipe.toml", "training_log.csv",
        }  # fmt: skip


def test_complex_eigenvalues_beat_real_ones_on_digits():
    accuracy = {
        name: json.loads((catalog.folder() / "checkpoints" / name / "accuracy.json").read_text())
        for name in ("digits-s4d", "digits-s4d-real")
    }
    assert accuracy["digits-s4d"]["accuracy"] > accuracy["digits-s4d-real"]["accuracy"] + 0.03
    with sk.open_checkpoint("digits-s4d-real") as model:
        assert model.recurrence(0).eigenvalues().phase.abs().max() == 0
