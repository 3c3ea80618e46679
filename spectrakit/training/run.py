"""A training run from end to end: begun, taken up where it stopped, or found finished."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from spectrakit.errors import UsageError
from spectrakit.tables.folders import FolderLock, make_folder, plain_errors, sweep
from spectrakit.training.configured import model_for, open_task, sketch_of
from spectrakit.training.estimate import check_memory, check_weights
from spectrakit.training.folder import TrainingFolder
from spectrakit.training.prepared import accelerator_for, begin_trackers, on_device
from spectrakit.training.processes import by_first
from spectrakit.training.report import Quiet
from spectrakit.training.running import TrainingRun
from spectrakit.wording import given, named, per_door

if TYPE_CHECKING:
    from spectrakit.training.recipes.schema import Recipe
    from spectrakit.training.report import Watcher


@dataclass(frozen=True)
class TrainingResult:
    """What became of a training run.

    status: "finished", or "stopped" early at a metric that was good enough. step: updates of the
    weights. test: the metric of the test split. resumed_at: the step that it was taken up at, None
    where it began anew; equal to `step` where it had finished before.
    """

    folder: Path
    recipe: Recipe
    status: str
    step: int
    metric_name: str
    test: float
    validation: float | None
    resumed_at: int | None


@dataclass(frozen=True)
class Where:
    """Where a run goes and what it runs on.

    threads: of torch; None for its own number. restart: whether what is in the folder is replaced.
    """

    out: Path
    device: str = "auto"
    threads: int | None = None
    restart: bool = False


def train(recipe: Recipe, where: Where, watcher: Watcher | None = None) -> TrainingResult:
    """Train as the recipe says, into `where.out`; a run that is there already is taken up.

    Raises UsageError for a recipe that makes no model or needs data that are missing, and where the
    folder holds a run of another recipe; OutputError where it cannot be written, or another
    process trains in it; AnalysisError where training diverges; MalformedError where what is in the
    folder is damaged; KeyboardInterrupt after a checkpoint was saved.
    """
    data = open_task(recipe)
    device = on_device(where.device, recipe.precision)
    # Mistakes, and models beyond this machine, are told before the folder is made.
    check_weights(sketch_of(recipe, data.shape), device)
    if where.threads is not None:
        torch.set_num_threads(where.threads)
    folder = TrainingFolder(where.out)
    with ExitStack() as stack:
        accelerator = stack.enter_context(accelerator_for(device, recipe, folder.path))

        def claimed() -> dict[str, Any] | None:
            stack.enter_context(_own(folder))
            return _earlier(folder, recipe, where)

        earlier = by_first(accelerator, claimed)
        if earlier is not None and earlier["status"] in ("finished", "stopped"):
            return _result(folder, recipe, earlier, int(earlier["step"]))
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(recipe.seed)
            model = model_for(recipe, data.shape)
        if recipe.precision == "float64":
            model = model.double()
        model = model.to(accelerator.device)
        at_once = recipe.budget.micro_batch or recipe.budget.batch
        check_memory(model, data, at_once, accelerator.device)
        begin_trackers(accelerator, recipe, folder.path)
        run = TrainingRun(recipe, data, folder, model, accelerator, watcher or Quiet())
        try:
            resumed = run.train(earlier)
        except (MemoryError, torch.OutOfMemoryError) as error:
            message = f"out of memory on {device} with {at_once} examples at once"
            hint = per_door("--set budget.micro_batch=1", 'changes={"budget.micro_batch": 1}')
            raise UsageError(message, hint=hint) from error
        told = by_first(accelerator, folder.read)
        assert told is not None  # noqa: S101  (just written)
        return _result(folder, recipe, told, resumed)


@contextmanager
def _own(folder: TrainingFolder) -> Iterator[None]:
    """The folder, made, locked, and without what was left half-written. Raises OutputError.

    It goes again where nothing came of it.
    """
    lock, there_before = FolderLock(folder.path), folder.path.exists()
    with plain_errors(folder.path):
        make_folder(folder.path)
        lock.acquire()
    try:
        with plain_errors(folder.path):
            sweep(folder.path)
            folder.sweep()
        yield
    finally:
        lock.release()
        if not there_before:
            with suppress(OSError):  # it holds something
                folder.path.rmdir()


def _earlier(folder: TrainingFolder, recipe: Recipe, where: Where) -> dict[str, Any] | None:
    """The record of the run that is in the folder; None where there is none to take up."""
    told = folder.read()
    if told is None:
        strangers = [p.name for p in folder.path.iterdir() if not p.name.startswith(".")]
        if strangers and not where.restart:
            message = f"{folder.path} holds files and no training run ({strangers[0]})"
            raise UsageError(message, hint=f"another folder with {named('out')}")
        return None
    if where.restart:
        with plain_errors(folder.path):
            (folder.path / "training.json").unlink()
            for step in folder.steps():
                folder.remove_checkpoint(step)
            for path in folder.path.glob("training*.parquet"):
                path.unlink()
        return None
    if told.get("digest") != recipe.digest:
        message = f"{folder.path} holds a run of another recipe: {_difference(told, recipe)}"
        hint = f"another folder with {named('out')}, or {given(restart=True)} to begin anew"
        raise UsageError(message, hint=hint)
    return told


def _difference(told: dict[str, Any], recipe: Recipe) -> str:
    """The first keys in which the recipes differ."""
    before, now = _flat(told.get("recipe", {})), _flat(recipe.record())
    found = [
        f"{key} = {now.get(key)!r}, there {before.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    return "; ".join(found[:2]) or "its digest differs"


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat


def _result(
    folder: TrainingFolder, recipe: Recipe, told: dict[str, Any], resumed: int | None
) -> TrainingResult:
    return TrainingResult(
        folder.path,
        recipe,
        told["status"],
        int(told["step"]),
        told["metric"],
        float(told["test"]),
        told.get("validation"),
        resumed,
    )
