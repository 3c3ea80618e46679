"""Which runs a change of what is asked for, or of a model, has children make anew: just those."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import pytest

import spectrakit as sk
from spectrakit.spec import RunSpec
from spectrakit.spec_files import with_keywords
from spectrakit.zoo.entries import Entry
from spectrakit.zoo.supervisor import end_children
from tests.conftest import CHECKPOINTS
from tests.support.hub import HubServer

from .killing import finished_times
from .small import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hub():
    """A Hub with the two tiny models, before the fork server that asks it is started."""
    with HubServer() as server, pytest.MonkeyPatch.context() as patch:
        for name in ("tiny-mamba", "tiny-mamba2"):
            files = {path.name: path for path in (CHECKPOINTS / name).iterdir()}
            server.add_repo(f"org/{name}", files, revisions=("main", "v2"))
        patch.setenv("HF_ENDPOINT", server.url)
        end_children()
        yield server
        end_children()


@pytest.fixture
def batch(hub, tmp_path):
    """`batch(models, seed=1)` runs them; which runs it made anew."""
    folder = tmp_path / "D"

    def again(models, **keywords):
        base = with_keywords(RunSpec(model="", mode="weights"), keywords)
        entries = [Entry(name, replace(base, model=model))
                   for name, model in models.items()]  # fmt: skip
        before = {path.stat().st_mtime_ns for path in folder.glob("*/*/run.json")}
        ended = run(entries, folder)
        assert ended.failed == {}
        made = {name for name, time in finished_times(folder).items() if time not in before}
        assert len(made) == ended.computed
        return made

    again.folder = folder
    return again


@pytest.fixture
def local(tmp_path):
    """Two models of one's own, by name."""
    found = {}
    for name in ("one", "two"):
        shutil.copytree(CHECKPOINTS / "tiny-mamba", tmp_path / name)
        found[name] = str(tmp_path / name)
    return found


HUB = {"a": "org/tiny-mamba", "b": "org/tiny-mamba2"}


def test_a_model_of_the_hub_is_not_asked_for_again(batch, hub):
    assert batch(HUB) == {"a", "b"}
    hub.forget()
    assert batch(HUB) == set()
    assert hub.requests == 0


def test_another_revision_is_another_run(batch, hub):
    batch(HUB)
    sha = hub.repos["org/tiny-mamba"].sha
    assert batch({"a": HUB["a"]}, revision="v2") == {"a"}
    assert batch({"a": HUB["a"]}, revision="v2") == set()
    assert batch({"a": HUB["a"]}, revision=sha) == {"a"}
    assert batch({"b": HUB["b"]}) == set()


@pytest.mark.parametrize("change", [{"seed": 1}, {"analyses": ["spectrum", "lyapunov"]},
                                    {"domain": "both"}])  # fmt: skip
def test_another_option_has_all_made_anew_and_the_old_runs_are_put_back(batch, local, change):
    assert batch(local) == {"one", "two"}
    first = contents(batch.folder)
    assert batch(local, **change) == {"one", "two"}
    second = contents(batch.folder)
    assert second != first
    assert batch(local, **change) == set()
    for _ in range(2):
        assert batch(local) == set()
        assert contents(batch.folder) == first
        assert batch(local, **change) == set()
        assert contents(batch.folder) == second


def test_a_file_of_a_model_that_changed_has_that_model_made_anew(batch, local, tmp_path):
    batch(local)
    shutil.copy(CHECKPOINTS / "tiny-mamba2" / "config.json", tmp_path / "two")
    shutil.copy(CHECKPOINTS / "tiny-mamba2" / "model.safetensors", tmp_path / "two")
    assert batch(local) == {"two"}
    assert sk.read_run(batch.folder / "runs" / "two").table("layers")["kind"][0].as_py() == "mamba2"
    assert batch(local) == set()


@pytest.mark.parametrize("time", [0, 10**9, 4 * 10**9])
def test_a_file_that_was_only_touched_has_nothing_made(batch, local, tmp_path, time):
    batch(local)
    for path in (tmp_path / "one").iterdir():
        os.utime(path, (time, time))
    assert batch(local) == set()
    assert batch(local) == set()


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: (run / "run.json").unlink(),
        lambda run: (run / "run.json").write_text("{"),
        lambda run: os.truncate(run / "layers.parquet", 50),
        lambda run: (run / "spectrum.parquet").write_bytes(b""),
        lambda run: (run / "spectrum.parquet").unlink(),
        lambda run: shutil.rmtree(run),
        lambda run: edit(run, schema_version=1),
        lambda run: edit(run, plugin_version="0.0"),
        lambda run: edit(run, plugin="another"),
        lambda run: edit(run, key="0" * 64),
    ],
    ids=["gone", "torn", "cut", "empty", "table-gone", "all-gone", "older", "plugin",
         "other-plugin", "key"],
)  # fmt: skip
def test_a_run_that_is_damaged_or_of_other_versions_is_made_anew_alone(batch, local, damage):
    batch(local)
    before = contents(batch.folder)
    damage(batch.folder / "runs" / "one")
    assert batch(local) == {"one"}
    assert contents(batch.folder) == before
    assert batch(local) == set()


def edit(run, **changes):
    file = run / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def contents(folder):
    return {str(path): path.read_bytes() for path in folder.glob("runs/*/*.parquet")}


@pytest.mark.parametrize("left", [[".lock"], [".lock", ".commit", ".spectrum.parquet.1.tmp"]])
def test_what_a_writer_left_beside_a_finished_run_is_taken_away(batch, local, left):
    batch(local)
    run = batch.folder / "runs" / "one"
    for name in left:
        (run / name).write_text("[]")
    assert batch(local) == set()
    assert not [path for path in run.iterdir() if path.name.startswith(".")]


def test_half_a_run_is_made_whole(batch, local):
    batch(local)
    run = batch.folder / "runs" / "one"
    before = contents(batch.folder)
    # As a writer leaves it that died between two files of its commit.
    (run / "run.json").rename(run / ".run.json.7.tmp")
    (run / "layers.parquet").rename(run / ".layers.parquet.7.tmp")
    names = [path.name for path in (batch.folder / "runs" / "two").glob("*.parquet")]
    (run / ".commit").write_text(json.dumps([*names, "old.png"]))
    (run / "old.png").write_bytes(b"of the run before")
    (run / ".lock").write_text("7")
    assert batch(local) == {"one"}
    assert contents(batch.folder) == before
    assert {path.name for path in run.iterdir()} == {
        path.name for path in (batch.folder / "runs" / "two").iterdir()}  # fmt: skip


def test_tables_without_a_record_are_set_aside_not_mixed_with_those_of_the_next_run(batch, local):
    batch(local, analyses=["spectrum", "lyapunov"])
    one = batch.folder / "runs" / "one"
    for damage in (lambda: (one / "run.json").unlink(), lambda: (one / "run.json").write_text("[")):
        (one / "lyapunov.parquet").write_bytes(b"PAR1")
        damage()
        assert batch(local) in ({"one", "two"}, {"one"})
        assert not (one / "lyapunov.parquet").exists()
    aside = batch.folder / "stale"
    assert sorted(str(path.relative_to(aside)) for path in aside.glob("one*/lyapunov.parquet")) == [
        "one/lyapunov.parquet", "one~2/lyapunov.parquet"]  # fmt: skip
