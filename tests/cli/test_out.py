"""What `--out` may replace, and what it never does."""

from __future__ import annotations

import json

import pytest

from spectrakit.errors import UsageError
from spectrakit.tables import RunWriter, check_apart, check_replaceable, read_run
from spectrakit.tables.reader import read_manifest
from tests.tables.samples import fill, manifest


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def run_in(folder, **of):
    with RunWriter(folder, manifest(**of)) as writer:
        fill(writer)


@pytest.fixture
def two_runs(command, tmp_path):
    for name, model in (("a", "tiny-mamba"), ("b", "tiny-mamba2")):
        assert command("analyze", model, "--out", name, "--no-figures").code == 0
    return tmp_path


@pytest.mark.parametrize(
    ("out", "relation"),
    [
        ("a", "is"),
        ("./b/../a", "is"),
        ("link", "is"),
        (".", "contains"),
        ("a/inside", "lies in"),
        ("link/in/side", "lies in"),
    ],
)
def test_a_comparison_never_goes_where_a_run_is_that_it_reads(command, two_runs, out, relation):
    (two_runs / "link").symlink_to("a")
    before = contents(two_runs / "a")
    for more in ((), ("--overwrite",)):
        done = command("compare", "a", "b", "--out", out, "--no-figures", *more)
        assert done.code == 2
        assert f"{relation} one of the runs that are compared, a" in done.err
        assert "--out" in done.err
        assert contents(two_runs / "a") == before


def test_other_folders_are_apart(tmp_path):
    for name in ("a", "ab", "c"):
        (tmp_path / name).mkdir()
    check_apart(tmp_path / "ab", [tmp_path / "a", tmp_path / "c"])
    check_apart(tmp_path / "new", [tmp_path / "a"])


def test_another_run_is_replaced_only_when_told_to(command, two_runs):
    for words in (("analyze", "tiny-mamba2"), ("analyze", "tiny-mamba", "--domain", "both"),
                  ("compare", "b", "b"), ("memory", "--preset", "lin", "--n", "8")):  # fmt: skip
        before = contents(two_runs / "a")
        refused = command(*words, "--out", "a", "--no-figures")
        assert refused.code == 2
        assert "a holds a run of tiny-mamba" in refused.err
        assert "--overwrite" in refused.err
        assert contents(two_runs / "a") == before
        copy = two_runs / "again"
        for name, content in before.items():
            copy.mkdir(exist_ok=True)
            (copy / name).write_bytes(content)
        done = command(*words, "--out", "again", "--no-figures", "--overwrite")
        assert done.code == 0
        assert "again holds a run of tiny-mamba" in done.err
        assert "takes its place" in done.err
        assert read_manifest(copy).command.endswith("--overwrite")


def test_the_same_run_is_made_again_without_a_word(command, two_runs):
    done = command("analyze", "tiny-mamba", "--out", "a")
    assert done.code == 0
    assert "takes its place" not in done.err
    assert "spectrum.png" in read_run(two_runs / "a").manifest.files


@pytest.mark.parametrize(
    "other",
    [
        {"model_id": "another/model"},
        {"revision": "1" * 40},
        {"mode": "data"},
        {"seed": 1},
        {"dtype": "bfloat16"},
        {"spec": {"options": {"memory": {"horizon": 7}}}},
        {"contents": {"text": "0" * 64}},
    ],
    ids=str,
)
def test_what_makes_a_run_another(tmp_path, other):
    own = {"spec": {"options": {"memory": {"horizon": 8, "steps": (1, 2)}}}}
    run_in(tmp_path, **own)
    check_replaceable(tmp_path, manifest(**own, device="cuda", command="x"), overwrite=False)
    with pytest.raises(UsageError, match="holds a run of"):
        check_replaceable(tmp_path, manifest(**own | other), overwrite=False)
    check_replaceable(tmp_path, manifest(**own | other), overwrite=True)


def test_nobody_can_say_that_standard_input_was_the_same(tmp_path):
    own = {"spec": {"source": {"text": "-"}}}
    run_in(tmp_path, **own)
    with pytest.raises(UsageError, match="of a text from standard input"):
        check_replaceable(tmp_path, manifest(**own), overwrite=False)


@pytest.mark.parametrize("text", ["{}", "not json", '{"schema_version": 1000000}'])
def test_a_run_json_of_something_else_is_kept(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UsageError, match=r"run\.json.*is not replaced"):
        check_replaceable(tmp_path, manifest(), overwrite=False)
    check_replaceable(tmp_path, manifest(), overwrite=True)


def test_options_of_analyses_are_in_the_record(command, tmp_path):
    words = ("analyze", "tiny-mamba2", "--analyses", "memory", "--no-figures", "--out", "run")
    assert command(*words, "--horizon", 64).code == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["spec"]["options"]["memory"]["horizon"] == 64
    assert command(*words, "--horizon", 64).code == 0
    assert command(*words, "--horizon", 65).code == 2


def test_an_extraction_replaces_no_other_file(command, tmp_path):
    words = ("extract", "tiny-mamba", "--layers")
    assert command(*words, "0", "--out", "x.safetensors").code == 0
    assert command(*words, "0", "--out", "x.safetensors").code == 0
    before = (tmp_path / "x.safetensors").read_bytes()
    for more in (("1",), ("0", "--form", "a-bar")):
        refused = command(*words, *more, "--out", "x.safetensors")
        assert refused.code == 2
        assert "is another extraction, of tiny-mamba" in refused.err
        assert (tmp_path / "x.safetensors").read_bytes() == before
        assert command(*words, *more, "--out", "x.safetensors", "--overwrite").code == 0
        (tmp_path / "x.safetensors").write_bytes(before)
    (tmp_path / "notes").write_text("mine")
    assert "no such extraction" in command(*words, "0", "--out", "notes").err
    assert (tmp_path / "notes").read_text() == "mine"


def test_an_extraction_never_replaces_what_it_reads(command, tmp_path, tiny_mamba_folder):
    import shutil

    shutil.copytree(tiny_mamba_folder, tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    (tmp_path / "link").symlink_to("m")
    before = weights.read_bytes()
    done = command("extract", "m", "--out", "link/model.safetensors", "--overwrite")
    assert done.code == 2
    assert "is what is read" in done.err
    assert weights.read_bytes() == before
