"""A tracker in anybody's loop: `watch = sk.watch(model)`, and `watch.step(loss)` after each update.

Gradients are looked at where they are still there: call `step` before `zero_grad`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from spectrakit.errors import UsageError
from spectrakit.tables.folders import FolderLock, make_folder, plain_errors
from spectrakit.tables.manifest import Manifest
from spectrakit.tables.training_schemas import TRAINING
from spectrakit.training.records import Record
from spectrakit.training.tracking.chart import training_chart
from spectrakit.training.tracking.tracker import SpectralTracker

if TYPE_CHECKING:
    from types import TracebackType

    import altair as alt
    import pyarrow as pa
    from torch import Tensor, nn

    from spectrakit.training.tracking.tracker import Log

#: Seconds between two writes of the tables.
_PERIOD = 5.0


class Watch:
    """Spectra of a model in training; a context manager that writes what is left at its end.

    See `watch` for what it is made of.
    """

    def __init__(
        self, tracker: SpectralTracker, every: int, memory_every: int | None, out: Path | None
    ) -> None:
        self.tracker = tracker
        self.every = every
        self.memory_every = memory_every
        self.out = out
        self.steps = 0
        self._training = Record(TRAINING, tracker.identity)
        self._began = self._written = time.monotonic()
        self._lock: FolderLock | None = None
        if out is not None:
            with plain_errors(out):
                make_folder(out)
                self._lock = FolderLock(out)
                self._lock.acquire()

    def step(self, loss: float | Tensor | None = None) -> None:
        """A step is done; every so many of them, look at the spectra.

        loss: of the step, mean, in nats; recorded where it is given. The tables of the folder are
        brought up to date every few seconds.
        """
        if loss is not None:
            self.record(self.steps, float(loss))
        if self.steps % self.every == 0:
            self.tracker.snapshot(self.steps)
        if self.memory_every is not None and self.steps % self.memory_every == 0:
            self.tracker.remember(self.steps)
        self.steps += 1
        if self.out is not None and time.monotonic() - self._written > _PERIOD:
            self.write()

    def record(self, step: int, loss: float) -> None:
        """Record the loss of a step, where `step` is not given it."""
        self._training.add(
            {
                "step": step,
                "split": "train",
                "loss": loss,
                "seconds": time.monotonic() - self._began,
            }
        )

    def table(self, name: str) -> pa.Table:
        """training, training_spectrum, training_timescales or training_memory, so far.

        Raises UsageError for another name.
        """
        records = {record.schema.name: record for record in self._records}
        if name not in records:
            message = f"there is no table {name!r}; one of: {', '.join(records)}"
            raise UsageError(message)
        return records[name].table

    def chart(self) -> alt.VConcatChart:
        """The picture of training so far. Raises AnalysisError where no loss was recorded."""
        tracker = self.tracker
        return training_chart(
            self._training.table,
            tracker.timescales.table,
            tracker.spectrum.table,
            tracker.identity.model_id,
        )

    def write(self) -> None:
        """Bring the tables in the folder up to date. Raises OutputError."""
        if self.out is None:
            return
        for record in self._records:
            record.write(self.out)
        self._written = time.monotonic()

    def close(self) -> None:
        """Look at the model a last time, and write the tables."""
        if self.steps and (self.steps - 1) % self.every:
            self.tracker.snapshot(self.steps, gradients=False)
        if self.steps and self.memory_every is not None and (self.steps - 1) % self.memory_every:
            self.tracker.remember(self.steps)
        self.write()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @property
    def _records(self) -> tuple[Record, ...]:
        return (self._training, *self.tracker.records)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def watch(
    model: nn.Module,
    *,
    every: int = 100,
    memory_every: int | None = None,
    out: Path | str | None = None,
    probe: Tensor | None = None,
    config: object = None,
    name: str | None = None,
    log: Log | None = None,
) -> Watch:
    """Watch the spectra of `model` while it learns, in any loop:

        watch = sk.watch(model, every=100)
        for batch in loader:
            loss = step(model, batch)      # up to and with optimizer.step()
            watch.step(loss)

    model: of transformers, of spectrakit's trainer, or any that `from_model` reads; in wrappers
    (DistributedDataParallel, torch.compile, PEFT) or not. It is not changed. every: steps between
    snapshots. memory_every: steps between looks at what layers remember, which take longer; None
    for none. out: a folder for the tables, readable while training goes on; None keeps them in
    memory. probe: token ids (B, T) for spectra on tokens, which attention needs. config: of a
    module that has none. name: what tables call it. log: called with numbers and a step, for
    TensorBoard and the like.

    Raises UnsupportedError where no architecture reads the model, UsageError where neither its
    weights nor a probe show any spectrum.
    """
    for what, steps in (("every", every), ("memory_every", memory_every)):
        if steps is not None and steps < 1:
            raise UsageError(f"{what} = {steps} steps", hint=f"{what}=100")
    identity = Manifest(model_id=name or type(model).__name__, revision="live", mode="training")
    tracker = SpectralTracker(model, identity, config=config, probe=probe, log=log)
    return Watch(tracker, every, memory_every, None if out is None else Path(out))
