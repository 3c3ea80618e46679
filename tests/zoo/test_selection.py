"""What a user types, as the models of a batch; and what their runs are called."""

from __future__ import annotations

import fnmatch
import glob
import json
import random
import shutil
import tracemalloc
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.markup import escape

from spectrakit import catalog
from spectrakit.catalog import CatalogFilters
from spectrakit.checkpoints import open_checkpoint
from spectrakit.errors import NetworkError, UnsupportedError, UsageError
from spectrakit.spec import RunSpec
from spectrakit.token_options import TokenOptions
from spectrakit.zoo import candidates
from spectrakit.zoo.candidates import Candidate, distinct, entries_of
from spectrakit.zoo.entries import LONGEST_NAME, entry_name
from spectrakit.zoo.listed import Settings
from spectrakit.zoo.selection import select
from tests.conftest import CHECKPOINTS

BASE = RunSpec(model="")


def models(*targets, **asked):
    return [entry.spec.model for entry in select(targets, BASE, **asked)]


def names(*targets, base=BASE):
    return [entry.name for entry in select(targets, base)]


# --- the kinds of targets -----------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["*mamba*", "TINY-*", "mamba-?70m", "tiny-mamba[2]", "state-*"])
def test_a_pattern_of_the_catalog(here, pattern):
    """Of names and repositories, in any case."""
    expected = {
        entry.repo or entry.name
        for entry in catalog.entries()
        for name in (entry.name, entry.repo or "")
        if fnmatch.fnmatch(name.lower(), pattern.lower())
    }
    found = models(pattern)
    assert set(found) == expected
    assert len(found) == len(expected) > 0


def test_filters(here):
    bundled = {entry.name for entry in catalog.entries() if entry.folder is not None}
    filters = CatalogFilters(bundled=True)
    assert set(models(filters=filters)) == set(models("*", filters=filters)) == bundled
    assert models("tiny-*2", filters=filters) == ["tiny-mamba2"]
    assert models("org/a", "tiny-*2", filters=filters) == ["org/a", "tiny-mamba2"]


def test_the_order_is_that_of_the_targets(here):
    (here / "zoo.txt").write_text("org/z\norg/a\n")
    assert models("tiny-mamba2", "zoo.txt", "org/b", "tiny-*") == [
        "tiny-mamba2", "org/z", "org/a", "org/b", "tiny-llama", "tiny-mamba",
    ]  # fmt: skip


def test_a_catalog_name_and_its_repository_are_one_model(here, notes):
    entry = next(entry for entry in catalog.entries() if entry.repo)
    assert models(entry.name, entry.repo, f"hf://{entry.repo}") == [entry.repo]
    assert "2 models are named more than once" in notes()


def test_what_is_on_this_disk_comes_first(here):
    """As `open_checkpoint` has it; a pattern of the catalog means the catalog's all the same."""
    shutil.copytree(CHECKPOINTS / "tiny-mamba2", here / "tiny-mamba")
    assert models("tiny-mamba") == [str(here / "tiny-mamba")]
    (found,) = models("tiny-mamb?")
    with open_checkpoint(found) as opened, open_checkpoint(CHECKPOINTS / "tiny-mamba") as bundled:
        assert opened.config == bundled.config
    (here / "zoo.txt").write_text("org/a\n./tiny-mamba")
    (here / "org" / "a").mkdir(parents=True)
    with pytest.raises(UsageError, match="line 1: there is no checkpoint in"):
        models("zoo.txt")


def test_a_weight_file(here):
    shutil.copy(CHECKPOINTS / "tiny-mamba" / "model.safetensors", here / "w.safetensors")
    (entry,) = select(["w.safetensors"], BASE)
    assert (entry.name, entry.spec.model) == ("w", str(here / "w.safetensors"))


@pytest.mark.parametrize(
    ("targets", "message", "hint"),
    [
        ([], "no models are named", "spectrakit batch"),
        ([""], "neither a file, a folder, a catalog name nor a repository", "catalog list"),
        (["tiny-mamb"], "unknown model 'tiny-mamb'", "did you mean tiny-mamba? "),
        (["tinymamba@v1", "tiny-mamba@v1"], "tiny-mamba ships with spectrakit", "leave"),
        (["tiny-mmaba*"], "no model of the catalog matches 'tiny-mmaba*'", "tiny-mamba"),
        (["*no-such-thing*"], "no model of the catalog matches", "spectrakit catalog list"),
        (["./model"], "there is no file or folder './model'", "begin in"),
        (["../x"], "there is no file or folder '../x'", "begin in"),
        (["w.safetensors"], "there is no file or folder 'w.safetensors'", "begin in"),
        (["a/b/c"], "'a/b/c' is neither", "spectrakit catalog list"),
        (["a\0b"], r"neither", "spectrakit catalog list"),
        (["\x1b[31mx"], r"'\x1b[31mx'", "spectrakit catalog list"),
        (["[red]"], "no model of the catalog matches '[red]'", "spectrakit catalog list"),
        (["x" * 100_000], "xxx...", None),
        (["org/a", "w.txt@v1"], "unknown", None),
    ],
)
def test_what_means_no_model(here, targets, message, hint):
    if targets[-1:] == ["w.txt@v1"]:
        (here / "w.txt@v1").write_text("tiny-mamb\n")
    with pytest.raises(UsageError) as caught:
        models(*targets)
    assert message in caught.value.message
    assert len(caught.value.message) < 500
    assert hint is None or hint in caught.value.hint


def test_a_file_or_folder_of_a_repository(here):
    targets = ("org/model/old/a.pth@v1", "hf://org/model/steps/checkpoint-500")
    specs = [entry.spec for entry in select(targets, BASE)]
    assert [(spec.model, spec.revision) for spec in specs] == [
        ("org/model/old/a.pth", "v1"),
        ("hf://org/model/steps/checkpoint-500", None),
    ]
    assert names(*targets) == ["org--model--old--a.pth@v1", "org--model--steps--checkpoint-500"]


def test_a_word_that_is_nearly_a_catalog_name_can_be_meant(here):
    with pytest.raises(UsageError) as caught:
        models("tiny-mamb")
    way = caught.value.hint.split()[-1]
    (entry,) = select([way], BASE)
    assert (entry.spec.model, entry.spec.revision) == ("tiny-mamb", "main")
    assert models("gpt2") == ["gpt2"]


def test_files_are_not_a_pattern(here):
    (here / "a.txt").write_text("tiny-mamba")
    with pytest.raises(UsageError) as caught:
        models("*.txt")
    assert caught.value.hint == "for files, without quotes: spectrakit batch *.txt"


@pytest.mark.parametrize(
    ("targets", "filters"),
    [
        (["tiny-mamba"], {"bundled": True}),
        (["tiny-*"], {"bundled": False}),
        (["*"], {"family": "x"}),
    ],
)
def test_filters_that_leave_nothing(here, targets, filters):
    with pytest.raises(UsageError) as caught:
        models(*targets, filters=CatalogFilters(**filters))
    assert caught.value.hint


def test_what_fails_later_is_a_model(here):
    """A broken checkpoint that is named is run, and says itself what is wrong with it."""
    (here / "broken").mkdir()
    (here / "broken" / "config.json").write_text("{}")
    (found,) = models("broken")
    with pytest.raises(UnsupportedError):
        open_checkpoint(found)
    with pytest.raises(NetworkError):
        open_checkpoint(models("org/none")[0], offline=True)


# --- settings -----------------------------------------------------------------------------------


def test_the_same_model_with_other_settings(here, notes):
    (here / "zoo.csv").write_text("model,seed\norg/a,\norg/a,0\norg/a,1\norg/a,2\norg/a,1\n")
    entries = select(["zoo.csv", "org/a"], BASE)
    assert [entry.spec.seed for entry in entries] == [0, 1, 2]
    assert "3 models are named more than once" in notes()
    assert entries[0].name == "org--a"
    assert all(entry.name.startswith("org--a-") for entry in entries[1:])


def test_the_names_of_a_list_do_not_follow_the_command_line(here):
    """Else a batch with another seed would not find its runs again."""
    (here / "zoo.csv").write_text("model,seq_len\norg/a,64\norg/a,128\norg/a,\n")
    found = {tuple(names("zoo.csv", base=RunSpec(model="", seed=seed))) for seed in range(3)}
    assert len(found) == 1


def test_revisions(here):
    base = RunSpec(model="", revision="step10")
    entries = select(["org/a", "org/a@v1", "tiny-mamba"], base)
    assert [entry.spec.revision for entry in entries] == ["step10", "v1", None]
    assert [entry.name for entry in entries] == ["org--a", "org--a@v1", "tiny-mamba"]
    sha = "0123456789" * 4
    assert names(f"org/a@{sha}", "org/a@refs/pr/1") == [
        "org--a@012345678901", "org--a@refs--pr--1",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="revision is for models of the Hub"):
        select(["tiny-mamba"], base)
    shutil.copytree(CHECKPOINTS / "tiny-mamba", here / "own")
    (here / "zoo.csv").write_text("model,revision\nown,v1\n")
    with pytest.raises(UsageError, match="line 2: own is on this disk and has no revision 'v1'"):
        models("zoo.csv")


# --- names --------------------------------------------------------------------------------------


def check_names(found):
    """Names that are one part of a path on any system, and no more to any reader of paths."""
    for name in found:
        assert Path(name).name == PureWindowsPath(name).name == name
        assert not PureWindowsPath(name).is_reserved()
        assert 0 < len(name.encode()) <= LONGEST_NAME
        assert name.isprintable()
        assert not name.startswith((".", "_", "-", "~"))
        assert not name.endswith(".")
        assert glob.escape(name) == escape(name) == name
        assert not set(name) & set("=:#%~{}$ ")
        assert json.loads(json.dumps(name)) == name
    assert len({name.casefold() for name in found}) == len(found)


_PIECES = st.sampled_from(
    ["a", "A", "é", "e\u0301", "\u212a", "ß", "..", ".", "/", "\\", "--", "@", "_", " ", "\x1b[31m",
     "[red]", "\0", "\u202e", "\ud800", "con", "nul.txt", "a=1", "*", "x" * 200, "模型", "-2", "~"]
)  # fmt: skip
_TEXTS = st.lists(_PIECES, max_size=5).map("".join) | st.text(max_size=30)
_CANDIDATES = st.builds(
    lambda model, shown, own, revision, name: Candidate(
        model, shown or model, Settings(RunSpec(model="", seed=len(own)), own), revision, True, name
    ),
    _TEXTS,
    _TEXTS,
    st.sampled_from(["", "a", "bb", "ccc"]),
    st.none() | _TEXTS,
    st.none() | _TEXTS,
)


@given(st.lists(_CANDIDATES, min_size=1, max_size=12), st.randoms())
def test_names_are_safe_and_unique_and_follow_no_order(chosen, random):
    chosen = distinct(
        each._replace(settings=_SETTINGS.setdefault(each.settings.own, each.settings))
        for each in chosen
    )
    entries = entries_of(chosen)
    check_names([entry.name for entry in entries])
    assert [entry.spec.model for entry in entries] == [each.model for each in chosen]
    order = random.sample(range(len(chosen)), len(chosen))
    again = entries_of([chosen[n] for n in order])
    assert again == [entries[n] for n in order]


#: One object a combination, as `Overrides` makes them.
_SETTINGS: dict[str, Settings] = {}


@given(_TEXTS, st.none() | _TEXTS)
def test_the_name_of_one_model(model, revision):
    check_names([entry_name(model, revision)])


def test_names_that_differ_in_what_was_cut():
    long = ["x" * 200 + end for end in "ab"]
    check_names([entry_name(name) for name in long])


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("state-spaces/mamba-130m", "state-spaces--mamba-130m"),
        ("tiny-mamba", "tiny-mamba"),
        ("org/a.b_c", "org--a.b_c"),
        ("../../etc/passwd", "etc--passwd"),
        ("C:\\models\\a", "C_--models--a"),
        ("Übung/modèle", "Übung--modèle"),
        ("", "model"),
        ("..", "model"),
        ("nul", "model-nul"),
    ],
)
def test_what_a_run_is_called(model, name):
    assert entry_name(model) == name


def test_names_that_file_systems_take_for_one(here):
    found = names("org/Model", "org/model", "other/model")
    assert found[2] == "other--model"
    assert len({name.casefold() for name in found}) == 3
    assert names("org/MODEL", "org/Model", "other/model", "org/model")[1::2] == found[:2]


def test_settings_are_in_a_name_where_models_are_not_enough(here):
    (here / "zoo.csv").write_text("model,seed\norg/A,1\norg/a,2\norg/a,3\n")
    hashes = [name.removeprefix("org--").split("-")[1:] for name in names("zoo.csv")]
    assert [len(each) for each in hashes] == [1, 2, 2]
    assert hashes[1][0] == hashes[2][0] != hashes[0][0]


def test_a_name_that_another_run_would_have(here):
    """A list may call a run as another one is called with its hash."""
    rows = ["model,seed,name", "org/a,1,", "org/a,2,"]
    (here / "zoo.csv").write_text("\n".join(rows))
    first, second = names("zoo.csv")
    (here / "zoo.csv").write_text("\n".join([*rows, f"org/b,,{first}"]))
    found = names("zoo.csv")
    check_names(found)
    assert found[1] == second


def test_names_do_not_follow_the_order_of_a_list(here):
    rows = [f"org/m{n % 7},{n % 3}" for n in range(21)] + ["org/M1,", "org/m2,"]
    found = []
    for seed in range(4):
        random.Random(seed).shuffle(rows)
        (here / "zoo.csv").write_text("\n".join(["model,seed", *rows]))
        entries = select(["zoo.csv"], BASE)
        found.append(sorted((entry.name, entry.spec.model, entry.spec.seed) for entry in entries))
    assert found[1:] == found[:-1]
    assert len(found[0]) == 22  # org/m2 has seed 0 already


# --- many ---------------------------------------------------------------------------------------


def test_ten_thousand_models_are_little(here):
    """Less than 15 MB, since they share their settings."""
    base = RunSpec(model="", source=TokenOptions(seq_len=64))
    lines = [f"organisation-{n % 50}/model-of-some-length-{n}" for n in range(10_000)]
    (here / "zoo.txt").write_text("\n".join(lines))
    select(["tiny-mamba"], base)  # what is read once
    tracemalloc.start()
    try:
        entries = select(["zoo.txt"], base)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 15e6
    assert [entry.spec.model for entry in entries] == lines
    assert {id(entry.spec.source) for entry in entries} == {id(base.source)}


def test_settings_are_made_once(here, monkeypatch):
    made = []
    monkeypatch.setattr("spectrakit.zoo.overrides.check_named", made.append)
    rows = [f"org/m{n},{n % 4}" for n in range(400)]
    (here / "zoo.csv").write_text("\n".join(["model,seed", *rows]))
    entries = select(["zoo.csv"], BASE)
    assert len(entries) == 400
    assert len(made) == 3  # the seed 0 is the command line's


def test_more_models_than_a_batch_has(here, monkeypatch):
    monkeypatch.setattr(candidates, "MOST_ENTRIES", 5)
    (here / "zoo.txt").write_text("\n".join(f"org/m{n}" for n in range(6)))
    with pytest.raises(UsageError, match="more than 5 models"):
        models("zoo.txt")
