"""`spectrakit train`, and models of a training run in other commands."""

from __future__ import annotations

import json
import re
import signal

import pytest

from spectrakit.cli import training_progress
from spectrakit.training.data import tasks
from spectrakit.training.models import builders
from spectrakit.training.recipes.files import recipe_names
from spectrakit.training.report import StepReport

SMALL = ("digits", "--set", "model.width=8", "--set", "model.depth=1", "--set",
         "mixer.state_size=4", "--set", "budget.steps=6", "--set", "budget.batch=8",
         "--set", "evaluation.every=3", "--set", "evaluation.examples=10", "--set",
         "tracking.every=2", "--set", "checkpoints.keep=[3]")  # fmt: skip


@pytest.fixture
def trained(command):
    done = command("train", *SMALL, "--out", "run")
    assert done.code == 0, done.err
    return done


def test_it_ends_with_accuracy_a_table_and_a_picture(trained, tmp_path):
    assert re.search(r"test accuracy 0\.\d+ after 6 steps", trained.err)
    assert "s4d" in trained.out
    assert "static" in trained.out
    assert "next: spectrakit analyze run" in trained.err
    picture = (tmp_path / "run" / "training.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert b"layer 0 (static)" in (tmp_path / "run" / "training.svg").read_bytes()


def test_what_it_says_next_works(trained, command):
    done = command("analyze", "run", "--no-figures")
    assert done.code == 0, done.err
    assert "s4d" in done.out


@pytest.mark.parametrize("name", ["analyze", "inspect", "extract"])
def test_other_commands_take_the_model_of_a_step(trained, command, name):
    rest = {"extract": ("--out", "matrices.safetensors")}.get(name, ())
    done = command(name, "run@3", *rest)
    assert done.code == 0, done.err


def test_analyze_at_a_step_records_it_and_repeats_it(trained, command, tmp_path):
    done = command("analyze", "run", "--at", 0, "--no-figures", "--out", "first", "--json")
    assert done.code == 0, done.err
    manifest = json.loads((tmp_path / "first" / "run.json").read_text())
    assert manifest["spec"]["at"] == 0
    assert manifest["model_id"] == "run"
    again = command("analyze", "--spec", "first/run.json", "--no-figures", "--out", "again")
    assert again.code == 0, again.err
    other = command("analyze", "run", "--no-figures", "--out", "last", "--json")
    assert json.loads(other.out) != json.loads(done.out)


def test_a_step_that_is_not_kept_is_answered_with_those_that_are(trained, command):
    done = command("analyze", "run", "--at", 4)
    assert done.code == 2
    assert "keeps no model of step 4; it keeps 0, 3, 6" in done.err
    assert "--at 3" in done.err
    assert command("analyze", "tiny-mamba", "--at", 4).code == 2


def test_folders_of_transformers_trainer_have_steps_too(trained, command, tmp_path):
    (tmp_path / "trainer").mkdir()
    for step in (3, 6):
        kept = tmp_path / "run" / "checkpoints" / f"step-{step:08d}"
        kept.rename(tmp_path / "trainer" / f"checkpoint-{step}")
    done = command("analyze", "trainer", "--at", 3, "--no-figures")
    assert done.code == 0, done.err


def test_the_same_command_again_finds_it_finished(trained, command):
    done = command("train", *SMALL, "--out", "run")
    assert done.code == 0
    assert "holds this run already, finished" in done.err
    again = command("train", "run", "--out", "run")
    assert again.code == 0


def test_json_is_one_document(command):
    done = command("train", *SMALL, "--out", "run", "--json")
    document = json.loads(done.out)
    assert document["step"] == 6
    assert document["metric"] == "accuracy"
    assert 0 < document["layers"][0]["last"]["spectral_radius"] < 1


def test_ctrl_c_saves_and_says_how_to_go_on(command, monkeypatch):
    class Impatient(training_progress._Lines):
        def step(self, report):
            if report.step == 4:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(training_progress, "_Lines", Impatient)
    done = command("train", *SMALL, "--out", "run")
    assert done.code == 130
    assert "interrupted: saved in run" in done.err
    monkeypatch.undo()


def test_a_dry_run_writes_nothing(command, tmp_path):
    done = command("train", *SMALL, "--dry-run")
    assert done.code == 0
    for word in ("parameters", "tokens", "memory", "time"):
        assert word in done.out
    document = json.loads(command("train", *SMALL, "--dry-run", "--json").out)
    assert document["tokens"] == 6 * 8 * 64
    assert document["memory_bytes"] > 16 * document["parameters"]
    assert list(tmp_path.iterdir()) == []


def test_the_list_has_every_recipe_or_those_that_are_asked_for(command):
    document = json.loads(command("train", "--list", "--json").out)
    assert [row["recipe"] for row in document["recipes"]] == list(recipe_names())
    assert "tiny/mqar-mamba2" in command("train", "--list", "mqar").out
    none = command("train", "--list", "xyz")
    assert none.code == 2


def test_the_schema_is_one_of_json(command):
    document = json.loads(command("train", "--schema").out)
    assert document["properties"]["budget"]
    fields = document["$defs"]["OptimiserRecipe"]["properties"]
    assert all("description" in field for field in fields.values())


@pytest.mark.parametrize("name", [*builders.names(), *tasks.names()])
def test_the_schema_of_a_mixer_or_a_task_describes_every_option(command, name):
    document = json.loads(command("train", name, "--schema").out)
    assert document["additionalProperties"] is False
    for field in document.get("properties", {}).values():
        assert field["description"].endswith(".")
        assert "default" in field


def test_the_schema_of_nothing(command):
    assert command("train", "nothing", "--schema").code == 2


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ((), "no recipe is named", "spectrakit train digits"),
        (("digit",), "there is no recipe 'digit'", "digits"),
        (("digits", "--set", "model.widht=3"), "unknown key 'model.widht'", "width"),
        (("digits", "--set", "width"), "does not set anything", "--set"),
        (("digits", "--set", "mixer.name=mambo"), "unknown mixer 'mambo'", "mamba"),
        (("digits", "--set", "task.name=digit"), "unknown task 'digit'", "digits"),
        (("digits", "--threads", "0"), "--threads", None),
    ],
)
def test_what_it_refuses(command, tmp_path, arguments, message, hint):
    done = command("train", *arguments)
    assert done.code == 2
    assert message in done.err
    assert hint is None or hint in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_plain_line_each_half_minute_has_speed_and_time_left(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(training_progress.time, "monotonic", lambda: now[0])
    lines = training_progress._Lines()
    lines.begin(10, 100)
    for step in range(11, 100):
        now[0] += 1
        lines.step(StepReport(step, 100, 0.5, 0.9, "accuracy", 1234.0, 100.0 - step))
    lines.end()
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "going on after step 10 of 100"
    assert told[1] == ("step 40 of 100: loss 0.5000, validation accuracy 0.9, 1,234 tokens/s, "
                       "1:00 left")  # fmt: skip
    assert len(told) == 4
