"""A training run: its folder, exact resuming however it ended, and what stops it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys

import accelerate
import pytest
import torch

import spectrakit as sk
from spectrakit.errors import AnalysisError, MalformedError, OutputError, UsageError
from spectrakit.tables.folders import FolderLock
from spectrakit.training import estimate, loop, prepared, running
from spectrakit.training.configured import open_task, sketch_of
from spectrakit.training.data.order import spread
from spectrakit.training.folder import TrainingFolder
from spectrakit.training.run import Where, train
from tests.training.tiny import Until, losses, recipe, tables, trained

CHILD = """\
import os, signal, sys
from pathlib import Path
from tests.training.tiny import Until, trained
at, number = int(sys.argv[2]), int(sys.argv[3])
trained(Path(sys.argv[1]), Until(at, lambda: os.kill(os.getpid(), number)))
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    return folder, trained(folder)


def killed(folder, step, number=signal.SIGKILL):
    """Train in a process that is told to end after `step`; its exit code."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = [sys.executable, "-c", CHILD, str(folder), str(step), str(int(number))]
    done = subprocess.run(child, env=environment, capture_output=True, text=True, check=False)
    return done.returncode


def same(one, other):
    one, other = tables(one), tables(other)
    for name in one:
        assert one[name].equals(other[name]), name


def test_the_folder_has_the_model_at_first_and_at_last(undisturbed):
    folder, result = undisturbed
    assert (result.status, result.step, result.resumed_at) == ("finished", 24, None)
    assert TrainingFolder(folder).steps() == [0, 24]
    told = json.loads((folder / "training.json").read_text())
    assert (told["status"], told["kept"], told["test"]) == ("finished", [0, 24], result.test)
    assert sk.read_recipe(folder) == recipe()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    first, last = (sk.open_checkpoint(f"{folder}@{step}") for step in (0, 24))
    with first, last:
        one, other = (m.recurrence(0).eigenvalues().log_modulus for m in (first, last))
    assert not torch.equal(one, other)


def test_the_table_has_a_row_a_step_and_one_an_evaluation(undisturbed):
    rows = sk.read_training(undisturbed[0]).table("training").to_pylist()
    steps = {split: [r["step"] for r in rows if r["split"] == split]
             for split in ("train", "validation", "test")}  # fmt: skip
    assert steps["train"] == list(range(24))
    assert steps["validation"] == [0, 8, 16, 24]
    assert steps["test"] == [24]
    assert all(row["gradient_norm"] > 0 for row in rows if row["split"] == "train")
    assert rows[-1]["metric"] == undisturbed[1].test


def test_it_learns(tmp_path):
    result = trained(
        tmp_path / "run", model={"width": 24, "dropout": 0.0}, mixer={"state_size": 16},
        budget={"steps": 150, "batch": 32}, evaluation={"every": 150},
    )  # fmt: skip
    assert losses(tmp_path / "run")[0] > 2
    assert result.test > 0.4  # of ten classes


@pytest.mark.parametrize("steps", [(3,), (5, 7), (12, 13, 14), (23,), (24,)], ids=str)
def test_killed_at_any_step_it_goes_on_exactly(undisturbed, tmp_path, steps):
    for step in steps:
        assert killed(tmp_path / "run", step) == -signal.SIGKILL
    result = trained(tmp_path / "run")
    assert result.step == 24
    assert result.test == undisturbed[1].test
    same(undisturbed[0], tmp_path / "run")


def test_killed_at_the_very_end_of_an_epoch(tmp_path):
    # 1,257 images: three steps of 419 are an epoch.
    changes = {"budget": {"batch": 419, "steps": 7}, "checkpoints": {"every": 3}}
    trained(tmp_path / "a", **changes)

    def stop():
        raise ZeroDivisionError

    for step in (3, 6):
        with pytest.raises(ZeroDivisionError):
            trained(tmp_path / "b", Until(step, stop), **changes)
    trained(tmp_path / "b", **changes)
    same(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, 143)])
def test_told_to_end_it_saves_the_step_that_it_is_in(undisturbed, tmp_path, number, code):
    found = killed(tmp_path / "run", 11, number)
    assert found in (code, -number)
    assert TrainingFolder(tmp_path / "run").read()["status"] == "interrupted"
    assert TrainingFolder(tmp_path / "run").steps()[-1] in (11, 12)
    trained(tmp_path / "run")
    same(undisturbed[0], tmp_path / "run")


def test_a_finished_run_is_left_as_it_is(undisturbed, tmp_path):
    folder = shutil.copytree(undisturbed[0], tmp_path / "run")
    before = (folder / "training.parquet").read_bytes()
    result = trained(folder)
    assert result.resumed_at == result.step == 24
    assert (folder / "training.parquet").read_bytes() == before


def test_another_split_into_micro_batches_changes_rounding_alone(tmp_path):
    changes = {"precision": "float64", "budget": {"steps": 10}}
    trained(tmp_path / "whole", **changes)
    for micro in (1, 4, 6):
        changes["budget"] = {"steps": 10, "micro_batch": micro}
        trained(tmp_path / str(micro), **changes)
        pairs = zip(losses(tmp_path / "whole"), losses(tmp_path / str(micro)), strict=True)
        assert max(abs(one - other) for one, other in pairs) < 1e-10


def test_a_tracker_changes_no_bit_of_training(undisturbed, tmp_path):
    trained(tmp_path / "run", tracking={"every": None})
    assert losses(tmp_path / "run") == losses(undisturbed[0])


def test_another_seed_is_another_run(undisturbed, tmp_path):
    trained(tmp_path / "run", seed=1)
    assert losses(tmp_path / "run") != losses(undisturbed[0])


def test_a_run_stops_where_validation_is_good_enough(tmp_path):
    result = trained(tmp_path / "run", budget={"stop_at": 0.01})
    assert (result.status, result.step) == ("stopped", 8)
    assert trained(tmp_path / "run", budget={"stop_at": 0.01}).resumed_at == 8


def test_checkpoints_that_are_to_stay(tmp_path):
    trained(tmp_path / "run", checkpoints={"keep": (7,), "keep_every": 10, "every": 5})
    assert TrainingFolder(tmp_path / "run").steps() == [0, 7, 10, 20, 24]
    with pytest.raises(UsageError, match="keeps no model of step 9") as error:
        sk.open_checkpoint(f"{tmp_path}/run@9")
    assert "10" in error.value.hint


# ---- what is in the way --------------------------------------------------------------------------


def test_a_run_of_another_recipe_is_not_gone_on_with(undisturbed, tmp_path):
    folder = shutil.copytree(undisturbed[0], tmp_path / "run")
    with pytest.raises(
        UsageError, match="holds a run of another recipe: model.width = 16"
    ) as error:
        trained(folder, model={"width": 16})
    assert "restart" in error.value.hint
    result = trained(folder, restart=True, model={"width": 16})
    assert result.resumed_at is None
    assert sk.read_recipe(folder).model.width == 16


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="holds files and no training run"):
        trained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    lock = FolderLock(tmp_path)
    lock.acquire()
    try:
        with pytest.raises(OutputError, match="is writing to"):
            trained(tmp_path)
    finally:
        lock.release()


def test_a_resume_under_other_conditions_says_so(tmp_path, caplog):
    def stop():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        trained(tmp_path / "run", Until(13, stop))
    folder = TrainingFolder(tmp_path / "run")
    told = folder.read()
    told["fingerprint"]["threads"] += 5
    folder.write({key: value for key, value in told.items() if key != "format"})
    with caplog.at_level("WARNING", logger="spectrakit"):
        assert trained(tmp_path / "run").resumed_at == 10
    assert "threads" in caplog.text
    assert "not be bit-equal" in caplog.text


def test_a_full_disk_loses_nothing_older(undisturbed, tmp_path, monkeypatch):
    real = running.save_checkpoint

    def full(folder, step, *rest):
        if step == 10:
            with monkeypatch.context() as patched:
                patched.setattr(
                    "spectrakit.training.checkpoints.save_file",
                    lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")),
                )
                real(folder, step, *rest)
        real(folder, step, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(running, "save_checkpoint", full)
        with pytest.raises(OutputError, match="no space left"):
            trained(tmp_path / "run")
    assert TrainingFolder(tmp_path / "run").steps() == [0, 5]
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir() if p.name[0] == "."] == []
    assert trained(tmp_path / "run").resumed_at == 5
    same(undisturbed[0], tmp_path / "run")


@pytest.mark.parametrize("file", ["model.safetensors", "optimiser.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_named(tmp_path, file):
    def stop():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        trained(tmp_path / "run", Until(13, stop))
    path = tmp_path / "run" / "checkpoints" / "step-00000010" / file
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(MalformedError, match="is damaged") as error:
        trained(tmp_path / "run")
    assert file in error.value.message


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "training.json").write_text("{")
    with pytest.raises(MalformedError, match="training.json cannot be read"):
        trained(tmp_path)
    (tmp_path / "training.json").write_text('{"format": 99}')
    with pytest.raises(MalformedError, match="another version"):
        trained(tmp_path)


def test_divergence_stops_the_run_and_says_what_moved(tmp_path):
    with pytest.raises(AnalysisError, match="training diverged at step") as error:
        trained(tmp_path / "run", optimiser={"rate": 500.0, "recurrence_rate": 500.0, "warmup": 0,
                                             "clip": None})  # fmt: skip
    assert "layer 0" in error.value.message
    assert "gradient" in error.value.message
    assert "the last good checkpoint is" in error.value.hint
    folder = TrainingFolder(tmp_path / "run")
    assert folder.read()["status"] == "diverged"
    with sk.open_checkpoint(str(tmp_path / "run")) as model:
        assert model.recurrence(0).eigenvalues().log_modulus.isfinite().all()


def test_a_device_that_is_not_there(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(UsageError, match="no device 'cuda'"):
        train(recipe(), Where(tmp_path / "run", "cuda"))
    assert not (tmp_path / "run").exists()


def test_what_does_not_fit_into_memory_is_refused_first(tmp_path, monkeypatch):
    chosen = recipe()
    weights = estimate._of_weights(sketch_of(chosen, open_task(chosen).shape))
    monkeypatch.setattr(estimate, "available_bytes", lambda _: weights + 1)
    with pytest.raises(UsageError, match="GB free") as error:
        trained(tmp_path / "run")
    assert "micro_batch" in error.value.hint


def test_weights_that_do_not_fit_are_refused_before_they_are_made(tmp_path):
    with pytest.raises(UsageError, match=r"training takes \d+\.\d GB") as error:
        trained(tmp_path / "run", model={"width": 1 << 16, "depth": 8})
    assert "model.width" in error.value.hint
    assert not (tmp_path / "run").exists()


def test_what_makes_no_model_leaves_no_folder(tmp_path):
    """Eigenvalues that Mamba cannot have are found where its weights are drawn."""
    with pytest.raises(UsageError, match="Mamba has real eigenvalues"):
        trained(tmp_path / "run", mixer={"name": "mamba"},
                model={"initial_eigenvalues": "s4d-lin"})  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_none_says_what_is_not_done(tmp_path):
    found = trained(tmp_path / "run", budget={"steps": 2}, optimiser={"clip": "none"},
                    tracking={"every": "none"})  # fmt: skip
    again = sk.read_recipe(tmp_path / "run")
    assert again == found.recipe
    assert (again.optimiser.clip, again.tracking.every) == (None, None)
    assert trained(tmp_path / "run", budget={"steps": 2}, optimiser={"clip": "none"},
                   tracking={"every": "none"}).resumed_at == 2  # fmt: skip


def test_an_unknown_tracker_of_losses(tmp_path):
    with pytest.raises(UsageError, match="unknown tracker 'tensorbord'"):
        trained(tmp_path / "run", trackers=("tensorbord",))


def test_an_evaluation_on_some_examples_is_spread_over_the_split(tmp_path, monkeypatch):
    """Images of a data set often lie class by class: the first ones are all of one kind."""
    evaluate, seen = loop.evaluate, []

    def noting(model, data, split, numbers, *rest):
        seen.append((split, list(numbers)))
        return evaluate(model, data, split, numbers, *rest)

    monkeypatch.setattr(loop, "evaluate", noting)
    trained(tmp_path / "run", budget={"steps": 2})
    of_validation = next(numbers for split, numbers in seen if split == "validation")
    assert of_validation == spread(20, 180)
    assert of_validation[-1] == 171


def test_trackers_are_told_of_losses_and_spectra_by_step(tmp_path, monkeypatch):
    begun, told = [], []
    monkeypatch.setattr(prepared, "find_spec", lambda _: object())
    monkeypatch.setattr(accelerate.accelerator, "filter_trackers", lambda names, folder: names)
    monkeypatch.setattr(accelerate.Accelerator, "init_trackers",
                        lambda self, name, **_: begun.append((name, self.logging_dir)))  # fmt: skip
    monkeypatch.setattr(accelerate.Accelerator, "log",
                        lambda _, numbers, step: told.append((step, numbers)))  # fmt: skip
    trained(tmp_path / "run", budget={"steps": 4}, trackers=["tensorboard"])
    assert begun == [("run", str(tmp_path / "run" / "trackers"))]
    assert [step for step, numbers in told if "train/loss" in numbers] == [1, 2, 3, 4]
    spectra = [numbers for _, numbers in told if "spectrum/layer0/timescale_q50" in numbers]
    assert len(spectra) == 2


def test_a_tracker_that_is_not_there_is_said_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="tracker wandb is not installed"):
        trained(tmp_path / "run", trackers=["wandb"])
    with pytest.raises(UsageError, match="unknown tracker 'wandbb'") as error:
        trained(tmp_path / "run", trackers=["wandbb"])
    assert "wandb" in error.value.hint
    assert not (tmp_path / "run").exists()
