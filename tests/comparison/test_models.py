"""Hidden states of the models of several runs, beside those of the first."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from spectrakit import catalog
from spectrakit.tables import read_run

SMALL = ("--max-tokens", "256", "--seq-len", "64")


def later_revision(folder):
    """The weights of tiny-mamba2 as another training step might have left them, under its name."""
    shutil.copytree(catalog.folder() / "checkpoints" / "tiny-mamba2", folder)
    weights = load_file(folder / "model.safetensors")
    name = "backbone.layers.1.mixer.out_proj.weight"
    noise = torch.randn(weights[name].shape, generator=torch.Generator().manual_seed(0))
    weights[name] = weights[name] + noise.to(weights[name].dtype)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def compared(command, tmp_path):
    """A model compared with itself and with a revision of it: the output, and the run written."""
    models = {
        "a": "tiny-mamba2",
        "b": "tiny-mamba2",
        "c": later_revision(tmp_path / "later" / "tiny-mamba2"),
    }
    for run, model in models.items():
        words = ("--mode", "data", "--no-figures", "--out", run, *SMALL)
        assert command("analyze", model, *words).code == 0
    done = command("compare", "a", "b", "c", "--similarity", "--max-tokens", "256", "--out", "all")
    assert done.code == 0, done.err
    return done, read_run(tmp_path / "all")


def test_revisions_of_one_model_are_told_apart_as_in_the_other_tables(compared):
    _, run = compared
    columns = ("other_model_id", "other_revision", "other_run")
    named = {
        table: {tuple(row[name] for name in columns) for row in run.table(table).to_pylist()}
        for table in ("similarity", "summary_difference", "decay_distance")
    }
    assert named["similarity"] == named["summary_difference"] == named["decay_distance"]
    ids, revisions, runs = zip(*sorted(named["similarity"], key=lambda row: row[2]), strict=True)
    assert ids == ("tiny-mamba2", "tiny-mamba2")
    assert runs == (1, 2)
    assert revisions[0] != revisions[1]


def test_each_is_shown_with_its_own_numbers(compared, tmp_path):
    done, run = compared
    last = 3
    cka = {
        row["other_run"]: row["value"]
        for row in run.table("similarity").to_pylist()
        if row["estimator"] == "cka" and row["depth"] == row["other_depth"] == last
    }
    assert cka[1] == pytest.approx(1)
    assert cka[2] < 0.99
    lines = [line.split() for line in done.out.splitlines()]
    shown = [line[2] for line in lines if line[:2] == [str(last)] * 2]
    assert shown == [f"{cka[number]:.2f}" for number in (1, 2)]
    svg = (tmp_path / "all" / "similarity.svg").read_text()
    assert "depth of 2. tiny-mamba2" in svg
    assert "depth of 3. tiny-mamba2" in svg


def test_trained_weights_are_compared_with_those_that_a_run_drew(command, tmp_path):
    """A model drawn twice with one seed is one model; the trained one is another."""
    random = ("--randomize", "all", "--seed", "3")
    for run, words in {"trained": (), "drawn": random, "again": random}.items():
        done = command(
            "analyze", "tiny-mamba2", "--mode", "data", "--no-figures", "--out", run, *SMALL, *words
        )
        assert done.code == 0, done.err
    done = command("compare", "drawn", "again", "trained", "--similarity", "--max-tokens", "256",
                   "--no-figures", "--out", "all")  # fmt: skip
    assert done.code == 0, done.err
    table = read_run(tmp_path / "all").table("similarity").to_pylist()
    cka = {
        row["other_run"]: row
        for row in table
        if row["estimator"] == "cka" and row["depth"] == row["other_depth"] == 3
    }
    assert cka[1]["value"] == pytest.approx(1, abs=1e-6)
    assert cka[2]["value"] < 0.9
    drawn = read_run(tmp_path / "again").manifest.revision
    assert cka[1]["other_revision"] == drawn != cka[2]["other_revision"]
