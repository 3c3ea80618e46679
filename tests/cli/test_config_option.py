"""`--config KEY=VALUE` of the commands that open a model."""

from __future__ import annotations

import json
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
