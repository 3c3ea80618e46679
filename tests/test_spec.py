"""A run is what its spec says: every setting is recorded, decides the key, and is compared."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spectrakit as sk
from spectrakit.comparison.run_settings import other_settings
from spectrakit.errors import MalformedError, SpectrakitError, UsageError
from spectrakit.options import Options, option
from spectrakit.spec import RunSpec
from spectrakit.spec_files import all_settings, read_spec_file, spec_from, with_keywords
from spectrakit.tables import Manifest
from spectrakit.tables import Run as StoredRun
from spectrakit.token_options import TokenOptions

BASE = RunSpec(model="tiny-mamba", mode="data")
SETTINGS = all_settings()
#: Which model, where it is computed, which tables: these are no settings of the same numbers.
OF_IDENTITY = {"revision", "file", "subfolder", "device", "mode", "analyses"}
#: Batches change no number but by rounding; runs on other texts are not compared at all.
NOT_SAID = {"batch_size", "text", "tokens"}


def another(setting, folder):
    """A value that is not the default."""
    if setting.choices:
        others = [c for c in setting.choices if c not in (setting.default, BASE.mode)]
        return (setting.choices[-1],) if setting.many else others[-1]
    if setting.type is Path:
        path = folder / "file.npy"
        path.write_bytes(b"1")
        return path
    if setting.many:
        return ("lyapunov",)
    if setting.type is str:
        return "bytes"
    if setting.type is bool:
        return not setting.default
    number = 3 if setting.default is None else setting.default
    return number * 2 if number * 2 != setting.default else number + 1


def changed(keyword, folder):
    setting = SETTINGS[keyword][1]
    return with_keywords(BASE, {keyword: another(setting, folder)})


def whole(spec):
    """With every option of every group, as a run records it."""
    groups = dict.fromkeys(o for o, _ in SETTINGS.values() if o not in (RunSpec, TokenOptions))
    return replace(spec, options=tuple(spec.options_of(group) for group in groups))


def run_of(spec, contents=None):
    manifest = Manifest(model_id="m", revision="r", mode="data", dtype=spec.dtype,
                        spec=spec.record(), contents=contents or {})  # fmt: skip
    return StoredRun(None, manifest, {})


@pytest.mark.parametrize("keyword", sorted(SETTINGS))
def test_a_changed_setting_changes_record_key_and_comparison(keyword, tmp_path):
    spec = changed(keyword, tmp_path)
    assert whole(spec).record() != whole(BASE).record()
    if keyword in OF_IDENTITY - {"analyses", "mode"}:
        return
    name = next(name for name, setting, _ in whole(spec).settings() if setting.keyword == keyword)
    contents = {name: "1" * 64} if SETTINGS[keyword][1].type is Path else {}
    assert spec.digest(contents) != BASE.digest({})
    if keyword in OF_IDENTITY | NOT_SAID:
        return
    said = other_settings(run_of(whole(BASE)), run_of(whole(spec), contents))
    name = SETTINGS[keyword][1].name
    assert name.replace("_", "-") in said.replace("_", "-")
    assert said.count(" and ") == 1


@pytest.mark.parametrize("keyword", sorted(SETTINGS))
def test_a_record_is_read_back(keyword, tmp_path):
    spec = changed(keyword, tmp_path)
    through_json = json.loads(json.dumps(spec.record(), allow_nan=False))
    assert spec_from(through_json) == spec


def values(setting):
    rule = setting.rule
    if setting.choices:
        one = st.sampled_from(setting.choices)
        return st.lists(one, min_size=1, unique=True).map(tuple) if setting.many else one
    if setting.type is bool:
        return st.booleans()
    low = rule.at_least if rule.at_least is not None else rule.above
    if setting.type is int:
        return st.integers(int(low or 0), int(rule.at_most or 1 << 20))
    if setting.type is float:
        high = rule.at_most
        return st.floats(low, high, exclude_min=rule.above is not None, allow_nan=False)
    return None


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_any_spec_is_read_back_from_its_record(data):
    known = {k: values(s) for k, (_, s) in SETTINGS.items() if s.rule is not None}
    keywords = data.draw(
        st.sets(st.sampled_from(sorted(k for k, v in known.items() if v is not None)), max_size=6)
    )
    try:
        spec = with_keywords(BASE, {k: data.draw(known[k], label=k) for k in sorted(keywords)})
    except UsageError:  # a combination that means nothing
        return
    read = spec_from(json.loads(json.dumps(spec.record(), allow_nan=False)))
    assert read == spec
    assert read.digest({}) == spec.digest({})


@pytest.mark.parametrize("keyword", sorted(SETTINGS))
def test_what_is_no_value_is_refused_by_name(keyword):
    setting = SETTINGS[keyword][1]
    wrong = {str: 3, Path: 3}.get(setting.type, "no such value")
    if setting.many:
        wrong = (wrong,) if setting.choices else (3,)
    with pytest.raises(UsageError) as caught:
        with_keywords(BASE, {keyword: wrong})
    assert keyword in caught.value.message


def test_bounds_are_those_of_the_declaration():
    for keyword, (_, setting) in SETTINGS.items():
        rule = setting.rule
        for bound, too_far in ((rule.at_least, -1), (rule.above, 0), (rule.at_most, 1)):
            if bound is None:
                continue
            wrong = type(setting.default if setting.default is not None else 0)(bound + too_far)
            with pytest.raises(UsageError, match=keyword):
                with_keywords(BASE, {keyword: wrong})


def test_a_whole_number_is_the_number_it_is():
    for keyword, (_, setting) in SETTINGS.items():
        if setting.type is float:
            number = min(8, setting.rule.at_most or 8)
            one, other = (with_keywords(BASE, {keyword: kind(number)}) for kind in (int, float))
            assert one.digest({}) == other.digest({})
            assert json.dumps(one.record()) == json.dumps(other.record())


def test_not_a_number_is_no_bound():
    with pytest.raises(UsageError, match="massive_tokens must be above 1"):
        sk.MassiveOptions(tokens=float("nan"))


@dataclass(frozen=True)
class NamesakeOptions(Options):
    """Options of a plugin that are called as fields of a run are."""

    group: ClassVar[str] = "namesake"
    mode: int = option(1, "A number.")
    device: Path | None = option(None, "A file.", flag="of_device")


def test_an_option_called_as_a_field_of_the_run_is_one_of_its_own():
    spec = replace(BASE, options=(NamesakeOptions(mode=2),))
    assert spec.changed() == {"namesake.mode": 2}
    assert spec.digest({}) != replace(BASE, options=(NamesakeOptions(),)).digest({})
    runs = [run_of(replace(BASE, options=(NamesakeOptions(device="a.txt"),)),
                   {"namesake.device": sha}) for sha in ("1" * 64, "2" * 64)]  # fmt: skip
    assert other_settings(*runs) == ("namesake.device a.txt (11111111) and a.txt (22222222)")


def test_the_text_counts_by_its_content_not_by_its_path(tmp_path):
    first, other = (replace(BASE, source=TokenOptions(text=name)) for name in ("a.txt", "b.txt"))
    assert first.digest({"text": "1"}) == other.digest({"text": "1"})
    assert first.digest({"text": "1"}) != first.digest({"text": "2"})
    assert first.digest({}) != other.digest({})


@pytest.mark.parametrize(
    ("record", "message", "hint"),
    [
        ({"sed": 1}, "unknown key 'sed' in the spec", "did you mean seed?"),
        ({"options": {"memry": {}}}, "unknown key 'memry'", "did you mean memory?"),
        ({"options": {"memory": {"horizn": 3}}}, "'horizn' in options.memory", "mean horizon?"),
        ({"source": {"seqlen": 3}}, "unknown key 'seqlen' in source", "did you mean seq_len?"),
        ({"seed": "a"}, "seed in the spec is 'a'", None),
        ({"mode": "dta"}, "mode in the spec is 'dta'", None),
        ({"analyses": "spectrum"}, "analyses in the spec is 'spectrum'", None),
        ({"options": 3}, "options of the spec must be keys and values, not 3", None),
        ({"options": {"memory": []}}, "options.memory must be keys and values", None),
    ],
)
def test_a_mistake_in_a_spec_is_one_line(record, message, hint):
    with pytest.raises(UsageError) as caught:
        spec_from({"model": "tiny-mamba", **record})
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert hint is None or hint in caught.value.hint


def test_a_spec_names_its_model():
    with pytest.raises(UsageError, match="names no model"):
        spec_from({"seed": 1})


TOML = """
model = "tiny-mamba"
analyses = ["memory"]
seed = 3

[options.memory]
horizon = 128
precisions = ["bfloat16"]
"""


def test_a_toml_file_is_a_spec(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(TOML)
    spec = sk.read_spec(path)
    expected = sk.MemoryOptions(horizon=128, precisions=("bfloat16",))
    assert spec == RunSpec(model="tiny-mamba", analyses=("memory",), seed=3, options=(expected,))


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("spec.toml", "model = ", MalformedError, "is not TOML"),
        ("spec.json", "{", MalformedError, "is not JSON"),
        ("spec.json", "[" * 100_000, MalformedError, "is not JSON"),
        ("spec.json", "[]", MalformedError, "holds no keys and values"),
        ("spec.json", '{"schema_version": 3}', MalformedError, "not a run manifest"),
        ("spec.toml", b"\xff\xfe", MalformedError, "not UTF-8"),
        ("spec.toml", "#" * (2 << 20), MalformedError, "too large"),
        ("none.toml", None, UsageError, "cannot read the spec"),
    ],
)
def test_a_file_that_is_no_spec_is_refused(tmp_path, name, content, error, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error, match=message):
        read_spec_file(path)


def test_a_run_repeats_from_its_record(tmp_path):
    asked = {"analyses": ["spectrum", "memory", "propagation"], "mode": "data", "seq_len": 64,
             "max_tokens": 256, "horizon": 32, "rank_tokens": 16, "seed": 5,
             "massive_tokens": float("inf")}  # fmt: skip
    first = sk.analyze("tiny-mamba", out=tmp_path / "first", **asked)
    spec = sk.read_spec(tmp_path / "first" / "run.json")
    again = sk.analyze(spec)
    assert set(again.tables) == set(first.tables)
    for name in first.tables:
        assert again.table(name).equals(first.table(name))
    assert again.manifest.spec == first.manifest.spec


def test_python_and_the_command_line_record_the_same(tmp_path):
    run = sk.analyze("tiny-mamba", analyses=["memory"], horizon=64)
    options = run.manifest.spec["options"]["memory"]
    assert options == sk.MemoryOptions(horizon=64).record()
    assert run.manifest.spec["analyses"] == ["memory"]


def test_a_setting_that_nothing_follows_is_refused():
    with pytest.raises(UsageError, match="horizon is for the analysis memory"):
        sk.analyze("tiny-mamba", horizon=64)
    with pytest.raises(UsageError, match="gauge is for data mode"):
        sk.analyze("tiny-mamba", gauge="dsf")
    with pytest.raises(UsageError, match="seq_len is for data mode"):  # though it is the default
        sk.analyze("tiny-mamba", seq_len=512)
    with pytest.raises(UsageError, match="unknown setting horizn") as caught:
        sk.analyze("tiny-mamba", horizn=64)
    assert caught.value.hint == "did you mean horizon?"


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"analyses": 3}, "analyses must be a text, not 3"),
        ({"analyses": []}, "analyses must be one value or several"),
        ({"options": [3]}, "options are objects of a class of options, not 3"),
        ({"source": "book.txt"}, "source must be a TokenOptions"),
        # Even at its default it was asked for.
        ({"prompt_set": "kv-retrieval"}, "prompt_set is for the analysis probe"),
    ],
    ids=str,
)
def test_a_keyword_with_what_is_no_value_is_one_line(keywords, message):
    with pytest.raises(UsageError, match=message):
        sk.analyze("tiny-mamba2", **keywords)


def test_options_may_be_objects_and_keywords():
    both = sk.analyze("tiny-mamba", analyses=["memory"], options=[sk.MemoryOptions(per_octave=8)],
                      horizon=64)  # fmt: skip
    assert both.manifest.settings()["memory.per_octave"] == 8
    assert both.manifest.settings()["memory.horizon"] == 64
    twice = [sk.MemoryOptions(), sk.MemoryOptions()]
    with pytest.raises(UsageError, match="options of memory are given twice"):
        sk.analyze("tiny-mamba", analyses=["memory"], options=twice)


def test_every_group_is_an_options_class_with_a_name_of_its_own():
    groups = {owner for owner, _ in SETTINGS.values()} - {RunSpec}
    assert all(issubclass(group, Options) for group in groups)
    names = [group.group for group in groups]
    assert len(set(names)) == len(names)


def test_errors_of_specs_are_the_users(tmp_path):
    for record in ({"model": 3}, {"model": "x", "config": []}, {"model": "x", "seed": -1}):
        with pytest.raises(SpectrakitError):
            spec_from(record)
