"""What a user says that the checkpoint's own config does not."""

from __future__ import annotations

import json

import pytest

import spectrakit as sk
from spectrakit.cli.options import config_values
from spectrakit.errors import MalformedError, UsageError

REPO = "someone/mamba-tiny"


def test_it_is_put_over_the_files_own(folder):
    own = json.loads((folder / "config.json").read_text())
    given = {"conv_kernel": 4, "layer_norm_epsilon": 0.5}
    with sk.open_checkpoint(str(folder), config=given) as model:
        assert model.checkpoint.config == own | given
        given["conv_kernel"] = 5
        assert model.checkpoint.config["conv_kernel"] == 4
    with sk.open_checkpoint(str(folder)) as model:
        assert model.checkpoint.config == own


def test_it_decides_how_the_weights_are_read(folder):
    with (
        sk.open_checkpoint(str(folder), config={"num_hidden_layers": 7}) as model,
        pytest.raises(MalformedError, match="num_hidden_layers = 7"),
    ):
        _ = model.layers


def test_the_fingerprint_is_that_of_the_files(folder):
    with (
        sk.open_checkpoint(str(folder)) as plain,
        sk.open_checkpoint(str(folder), config={"expand": 2}) as given,
    ):
        assert given.checkpoint.revision == plain.checkpoint.revision


def test_it_stays_when_the_weights_are_downloaded(hub, files):
    hub.add_repo(REPO, files)
    with sk.open_checkpoint(REPO, config={"expand": 2}) as model:
        local = model.checkpoint.localize()
        assert local is not model.checkpoint
        assert local.config == model.checkpoint.config
        assert local.config["expand"] == 2
        local.close()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("x=zoh", "zoh"),
        ("x=3", 3),
        ("x=1e-4", 1e-4),
        ("x=true", True),
        ("x=null", None),
        ('x="3"', "3"),
        ("x=[1, 2]", [1, 2]),
        ("x=a=b", "a=b"),
        ("x=", ""),
        (" x =none", "none"),
    ],
)
def test_a_value_is_json_or_else_a_string(setting, value):
    found = config_values([setting])
    assert found == {"x": value}
    assert type(found["x"]) is type(value)


def test_the_last_of_a_key_counts():
    assert config_values(["a=1", "b=2", "a=3"]) == {"a": 3, "b": 2}


@pytest.mark.parametrize("setting", ["zoh", "=zoh", "  =1", ""])
def test_a_setting_without_a_key(setting):
    with pytest.raises(UsageError, match="is not KEY=VALUE"):
        config_values([setting])
