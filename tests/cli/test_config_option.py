"""`--config KEY=VALUE` of the commands that open a model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from spectrakit.tables import read_run
from tests.support import state_dicts


@pytest.fixture
def s5(tmp_path):
    file = tmp_path / "s5.pt"
    torch.save(state_dicts.layers(state_dicts.s5), file)
    return file


def settings(**options):
    return [word for key, value in options.items() for word in ("--config", f"{key}={value}")]


ALL = settings(discretization="zoh", conj_sym="true", clip_eigs="false")


@pytest.mark.parametrize("name", ["analyze", "inspect", "extract"])
def test_what_is_missing_is_asked_for_and_taken(name, command, s5):
    asked = command(name, s5)
    assert asked.code == 2
    assert asked.err == (
        "error: the weights of s5 do not show discretization (zoh or bilinear), "
        "conj_sym (true or false), clip_eigs (false or true)\n"
        "  try: --config discretization=zoh --config conj_sym=true --config clip_eigs=false, "
        "with the values it was trained with\n"
    )
    done = command(name, s5, *ALL)
    assert done.code == 0, done.err


def test_the_values_are_recorded_with_the_run(command, s5):
    done = command("analyze", s5, *ALL, "--json", "--no-figures")
    run = read_run(Path(json.loads(done.out)["folder"]))
    assert "--config discretization=zoh --config conj_sym=true" in run.manifest.command


def test_a_wrong_value_is_told(command, s5):
    done = command("inspect", s5, *ALL, "--config", "discretization=euler")
    assert done.code == 2
    assert "says discretization = 'euler'" in done.err
    done = command("inspect", s5, "--config", "discretization")
    assert (done.code, done.err) == (
        2,
        "error: 'discretization' is not KEY=VALUE\n  try: --config disc=zoh\n",
    )


@pytest.fixture
def strange(tmp_path, tiny_mamba2_folder):
    """A copy of the bundled Mamba-2 whose config has a key that nothing knows."""
    folder = shutil.copytree(tiny_mamba2_folder, tmp_path / "strange")
    config = json.loads((folder / "config.json").read_text()) | {"decay_floor": 0.5}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_inspect_shows_the_keys_that_nothing_knows(command, strange):
    shown = command("inspect", strange)
    assert "config keys that are not known: decay_floor\n" in shown.out
    assert shown.err == (
        "warning: keys in the config of strange that transformers-mamba2 does not know, and that "
        "may change its equations: decay_floor\n"
    )
    document = json.loads(command("inspect", strange, "--json").out)
    assert document["unknown_config_keys"] == ["decay_floor"]
    assert document["equations"] == []


def test_a_key_that_nothing_reads_is_refused(command, tiny_mamba2_folder):
    refused = command("inspect", tiny_mamba2_folder, "--config", "time_step_limt=[0,1]")
    assert refused.code == 2
    assert refused.err.startswith("error: nothing reads time_step_limt in the config of ")
    assert "\n  try: did you mean time_step_limit? keys that decide what is read: " in refused.err
    assert refused.out == ""
