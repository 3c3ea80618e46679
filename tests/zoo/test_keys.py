"""The key of a run: another one where anything that was asked for is other, the same otherwise."""

from __future__ import annotations

import os

import pytest

import spectrakit as sk
from spectrakit.errors import UsageError
from spectrakit.spec import RunSpec
from spectrakit.spec_files import all_settings, with_keywords
from spectrakit.token_options import TokenOptions
from spectrakit.zoo import keys
from spectrakit.zoo.keys import key_of, plugin_as_it_was, state_of
from tests.test_spec import another

BASE = RunSpec(model="tiny-mamba")


@pytest.mark.parametrize("keyword", sorted(all_settings()))
def test_every_setting_is_in_the_key(keyword, tmp_path):
    value = another(all_settings()[keyword][1], tmp_path)
    if keyword == "text":
        value = str(tmp_path / "text")
        (tmp_path / "text").write_text("text")
    changed = with_keywords(BASE, {keyword: value})
    assert key_of(changed) != key_of(BASE)
    assert key_of(changed) == key_of(with_keywords(BASE, {keyword: value}))


def test_the_model_and_its_config_are_in_the_key():
    assert key_of(BASE) == key_of(RunSpec(model="tiny-mamba"))
    others = [RunSpec(model="tiny-mamba2"), RunSpec(model="tiny-mamba", config={"a": 1})]
    assert len({key_of(each) for each in (BASE, *others)}) == 3


def test_a_file_counts_by_its_content(tmp_path):
    text = tmp_path / "a.txt"
    spec = RunSpec(model="tiny-mamba", source=TokenOptions(text=str(text)))
    text.write_text("one")
    first = key_of(spec)
    text.write_text("two")
    second = key_of(spec)
    text.write_text("one")
    assert (first == key_of(spec), first == second) == (True, False)


@pytest.mark.parametrize(("what", "says"), [("-", "standard input"), ("/none.txt", "/none.txt")])
def test_a_text_that_is_not_there_for_every_model_is_refused(what, says):
    with pytest.raises(UsageError, match=says):
        key_of(RunSpec(model="tiny-mamba", source=TokenOptions(text=what)))


def test_other_tables_and_other_plugins_are_another_key(monkeypatch):
    before = key_of(BASE)
    monkeypatch.setattr(keys, "SCHEMA_VERSION", 99)
    newer = key_of(BASE)
    monkeypatch.setattr(keys, "_versions_of", lambda names: {"spectrakit": "99"})
    assert len({before, newer, key_of(BASE)}) == 3


def test_the_plugin_that_read_a_model_is_known_again():
    version = sk.__version__
    assert plugin_as_it_was({"plugin": "spectrakit", "plugin_version": version})
    assert not plugin_as_it_was({"plugin": "spectrakit", "plugin_version": "0"})
    assert not plugin_as_it_was({"plugin": "gone", "plugin_version": "1"})
    assert not plugin_as_it_was({})


def test_the_state_of_a_local_model_changes_with_its_files(tmp_path):
    model = tmp_path / "m"
    model.mkdir()
    (model / "w.safetensors").write_bytes(b"12")
    first = state_of(str(model))
    (model / ".cache").mkdir()
    (model / ".cache" / "x").write_text("hidden")
    assert state_of(str(model)) == first
    os.utime(model / "w.safetensors", ns=(5, 5))  # as old as can be, even if the clock was moved
    assert state_of(str(model)) != first
    (model / "w.safetensors").write_bytes(b"123")
    os.utime(model / "w.safetensors", ns=(5, 5))
    assert len(state_of(str(model))) == 16


def test_a_model_of_the_hub_has_no_state_here():
    assert state_of("state-spaces/mamba-130m") == ""
    assert state_of("tiny-mamba") != state_of("tiny-mamba2") != ""


def test_another_number_of_threads_is_another_key():
    assert key_of(BASE, 2) != key_of(BASE, 1) == key_of(BASE)
