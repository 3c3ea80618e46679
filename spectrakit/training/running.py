"""One process's part of a training run: from a checkpoint, or the beginning, to the end."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import torch

from spectrakit.errors import MalformedError, SpectrakitError, UsageError
from spectrakit.tables.folders import plain_errors
from spectrakit.tables.manifest import Manifest
from spectrakit.tables.training_schemas import TRAINING
from spectrakit.training.checkpoints import (
    load_optimiser,
    load_state,
    load_weights,
    save_checkpoint,
)
from spectrakit.training.configured import total_steps
from spectrakit.training.data.order import spread
from spectrakit.training.divergence import Divergence, diverged
from spectrakit.training.fingerprint import differing, fingerprint
from spectrakit.training.interrupts import Interrupts
from spectrakit.training.loop import Trainer
from spectrakit.training.optimiser import optimiser_of
from spectrakit.training.processes import any_of
from spectrakit.training.recipes.files import RECIPE
from spectrakit.training.recipes.written import as_toml
from spectrakit.training.records import Record
from spectrakit.training.report import StepReport
from spectrakit.training.tracking.tracker import SpectralTracker
from spectrakit.wording import given

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

    from spectrakit.training.data.base import TaskData
    from spectrakit.training.folder import TrainingFolder
    from spectrakit.training.recipes.schema import Recipe
    from spectrakit.training.report import Watcher

logger = logging.getLogger("spectrakit")

#: Seconds between checkpoints where the recipe does not say, and between writes of the tables.
_A_MINUTE, _TABLES = 60.0, 15.0


class TrainingRun:
    """A run under way; `train` is its one step from outside."""

    def __init__(
        self,
        recipe: Recipe,
        data: TaskData,
        folder: TrainingFolder,
        model: PreTrainedModel,
        accelerator: Accelerator,
        watcher: Watcher,
    ) -> None:
        self.recipe, self.data, self.folder = recipe, data, folder
        self.model, self.accelerator, self.watcher = model, accelerator, watcher
        self.steps = total_steps(recipe, data)
        identity = Manifest(
            model_id=folder.path.absolute().name, revision=recipe.digest[:12], mode="training"
        )
        self.training = Record(TRAINING, identity)
        self.tracker = self._tracker(identity)
        self.validation: float | None = None
        self._first = 0
        self._saved_at = self._written_at = time.monotonic()

    def train(self, earlier: dict[str, Any] | None) -> int | None:
        """From the newest checkpoint, or the beginning, to the end.

        earlier: the record of what is in the folder. Returns the step that it was taken up at, None
        where it began anew.
        """
        optimiser = optimiser_of(self.model, self.recipe.optimiser)
        own = self.recipe.budget.micro_batch or self.recipe.budget.batch
        self.print = fingerprint(
            str(self.accelerator.device), own, self.accelerator.num_processes, self.data.fingerprint
        )
        step, seconds = self._take_up(earlier, optimiser)
        self._first = step
        prepared, optimiser_prepared = self.accelerator.prepare(self.model, optimiser)
        trainer = Trainer(
            self.recipe, self.data, self.model, prepared, optimiser_prepared, self.accelerator,
            self.steps, seconds,
        )  # fmt: skip
        resumed = step if earlier is not None else None
        self.model.train()
        self.watcher.begin(step, self.steps)
        try:
            with Interrupts() as interrupts:
                if earlier is None:
                    self._begin(trainer)
                status, step = self._go_on(trainer, step, interrupts)
        finally:
            self.watcher.end()
        self._finish(trainer, status, step)
        return resumed

    def _begin(self, trainer: Trainer) -> None:
        """What is kept of the model before any update."""
        if self.accelerator.is_main_process:
            self.folder.write_text(RECIPE, as_toml(self.recipe))
        self._tell("running", 0)
        self.training.add(trainer.evaluate("validation", 0, self.recipe.evaluation.examples))
        self._save(trainer, 0)

    def _go_on(self, trainer: Trainer, step: int, interrupts: Interrupts) -> tuple[str, int]:
        divergence = Divergence()
        recipe = self.recipe
        while step < self.steps:
            row = trainer.gradient(step)
            wrong = divergence.check(row["loss"], row.pop("norm"))
            if wrong is not None:
                raise self._diverged(step, wrong)
            self._look(step)
            trainer.update()
            step += 1
            self.training.add(row)
            evaluated = step % recipe.evaluation.every == 0 or step == self.steps
            if evaluated:
                self._evaluate(trainer, step)
            self._report(trainer, step, row["loss"])
            if evaluated and self._good_enough():
                return "stopped", step
            ends = any_of(self.accelerator, interrupts.noted is not None)
            if self._due(step) or ends:
                self._save(trainer, step)
                if ends:
                    self._tell("interrupted", step)
                    interrupts.raise_noted()
                    raise KeyboardInterrupt  # it was noted in another process
            elif time.monotonic() - self._written_at > _TABLES:
                self._write_tables()
        return "finished", step

    def _look(self, step: int) -> None:
        """What the tracker has to see before this step's update."""
        every, memory_every = self.recipe.tracking.every, self.recipe.tracking.memory_every
        if self.tracker is None:
            return
        if step % (every or 1) == 0:
            self.tracker.snapshot(step)
        if step == 0 or (memory_every is not None and step % memory_every == 0):
            self.tracker.remember(step)

    def _finish(self, trainer: Trainer, status: str, step: int) -> None:
        row = trainer.evaluate("test", step)
        self.training.add(row)
        if self.tracker is not None:
            self.tracker.snapshot(step, gradients=False)
            self.tracker.remember(step)
        self._save(trainer, step, final=True)
        self._tell(status, step, test=row["metric"])

    def _take_up(
        self, earlier: dict[str, Any] | None, optimiser: torch.optim.Optimizer
    ) -> tuple[int, float]:
        """The step to go on from, and the seconds of earlier parts."""
        if earlier is None:
            return 0, 0.0
        steps = self.folder.steps()
        if not steps:
            raise MalformedError(
                f"{self.folder.path} has no checkpoint left to go on from",
                hint=f"{given(restart=True)} to begin anew",
            )
        step = steps[-1]
        differs = differing(earlier.get("fingerprint", {}), self.print)
        if differs:
            logger.warning(
                "this run goes on under other conditions, and its numbers will not be bit-equal to "
                "those of an undisturbed one: %s", ", ".join(differs),
            )  # fmt: skip
        state = load_state(self.folder, step)
        load_weights(self.folder, step, self.model)
        load_optimiser(self.folder, step, self.model, optimiser)
        self.validation = state.get("validation")
        for record in self._records():
            record.take_up(self.folder.path, state["rows"].get(record.schema.name, 0))
        return step, float(state["seconds"])

    def _tracker(self, identity: Manifest) -> SpectralTracker | None:
        if self.recipe.tracking.every is None or not self.accelerator.is_main_process:
            return None
        probe = None
        if self.recipe.tracking.probe:
            size = self.data.size("validation")
            chosen = spread(self.recipe.tracking.probe_examples, size)
            drawn = self.data.batch("validation", chosen)
            probe = torch.from_numpy(drawn.inputs)[:, : int(drawn.lengths.min())]
        try:
            return SpectralTracker(self.model, identity, probe=probe, log=self._log)
        except UsageError as error:
            logger.info("no spectra are tracked: %s; tracking.probe = true does", error.message)
            return None

    def _evaluate(self, trainer: Trainer, step: int) -> None:
        row = trainer.evaluate("validation", step, self.recipe.evaluation.examples)
        self.training.add(row)
        self.validation = row["metric"]
        self._log({"validation/loss": row["loss"], "validation/metric": row["metric"]}, step)

    def _good_enough(self) -> bool:
        wanted = self.recipe.budget.stop_at
        if wanted is None or self.validation is None:
            return False
        lower = self.data.shape.lower_is_better
        return self.validation <= wanted if lower else self.validation >= wanted

    def _due(self, step: int) -> bool:
        """Whether a checkpoint is to be written now: when decides no number."""
        checkpoints = self.recipe.checkpoints
        if step in checkpoints.keep or step % (checkpoints.keep_every or step + 1) == 0:
            return True
        if checkpoints.every is not None:
            return step % checkpoints.every == 0
        return time.monotonic() - self._saved_at > _A_MINUTE

    def _save(self, trainer: Trainer, step: int, *, final: bool = False) -> None:
        """Tables first: those of a checkpoint are never behind it."""
        if not self.accelerator.is_main_process:
            return
        self._write_tables()
        state = {
            "step": step,
            "seconds": trainer.elapsed,
            "validation": self.validation,
            "rows": {record.schema.name: record.table.num_rows for record in self._records()},
        }
        save_checkpoint(self.folder, step, self.model, None if final else trainer.optimiser, state)
        self._saved_at = time.monotonic()
        kept = {0, step, *self.recipe.checkpoints.keep}
        every = self.recipe.checkpoints.keep_every
        for old in self.folder.steps():
            if old not in kept and not (every and old % every == 0):
                with plain_errors(self.folder.path):
                    self.folder.remove_checkpoint(old)
        self._tell("running", step)

    def _records(self) -> tuple[Record, ...]:
        return (self.training, *(() if self.tracker is None else self.tracker.records))

    def _write_tables(self) -> None:
        if not self.accelerator.is_main_process:
            return
        for record in self._records():
            record.write(self.folder.path)
        self._written_at = time.monotonic()

    def _tell(self, status: str, step: int, test: float | None = None) -> None:
        if not self.accelerator.is_main_process:
            return
        self.folder.write(
            {
                "status": status,
                "step": step,
                "steps": self.steps,
                "kept": self.folder.steps(),
                "metric": self.data.shape.metric,
                "validation": self.validation,
                "test": test,
                "digest": self.recipe.digest,
                "recipe": self.recipe.record(),
                "fingerprint": self.print,
            }
        )

    def _report(self, trainer: Trainer, step: int, loss: float) -> None:
        tokens = trainer.tokens / (step - self._first)
        left = (self.steps - step) * tokens / max(1e-9, trainer.speed)
        name = self.data.shape.metric
        self.watcher.step(
            StepReport(step, self.steps, loss, self.validation, name, trainer.speed, left)
        )
        self._log({"train/loss": loss}, step)

    def _log(self, numbers: Any, step: int) -> None:  # noqa: ANN401  (a mapping of numbers)
        if self.recipe.trackers:
            self.accelerator.log(dict(numbers), step=step)

    def _diverged(self, step: int, what: str) -> SpectrakitError:
        steps = self.folder.steps()
        kept = self.folder.checkpoint(steps[-1]) if steps else None
        error = diverged(step, what, self.model, kept)
        self._write_tables()
        self._tell("diverged", steps[-1] if steps else 0)
        return error
