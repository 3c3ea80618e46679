"""Where a run's tables and pictures go: a folder, or memory alone."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from spectrakit.report.drawn import Drawn, Tee
from spectrakit.tables import Manifest, MemorySink, Run, RunWriter, check_replaceable, read_run

if TYPE_CHECKING:
    from spectrakit.tables.manifest import Recorded


class RunOutput:
    """Use it with `with`: what was written to `sink` is a run when the block ends well.

    out: the folder; None keeps the tables in memory. figures: draw the pictures too, in a folder.

    Raises UsageError where the folder holds a run that may not be replaced, and what `RunWriter`
    does.
    """

    def __init__(
        self, out: Path | None, manifest: Manifest, *, figures: bool, overwrite: bool
    ) -> None:
        out = None if out is None else Path(out)  # a notebook's may be text
        if out is not None:
            check_replaceable(out, manifest, overwrite=overwrite)
        self._kept = MemorySink(manifest)
        self._writer = None if out is None else RunWriter(out, manifest)
        self._drawn = Drawn(manifest) if figures and out is not None else None
        self._out = out
        sinks = (self._writer or self._kept, self._drawn)
        self.sink = Tee([sink for sink in sinks if sink is not None])

    def finish(self, found: Recorded) -> None:
        """Put in what was known only at the end, and draw."""
        self._kept.record(found)
        if self._writer is not None:
            self._writer.record(found)
        if self._writer is not None and self._drawn is not None:
            self._drawn.record(found)
            for file, content in self._drawn.figures().items():
                self._writer.add_file(file, content)

    @property
    def run(self) -> Run:
        """The run, once the block has ended."""
        return self._kept.run if self._out is None else read_run(self._out)

    def __enter__(self) -> Self:
        self._writing: AbstractContextManager[object] = self._writer or nullcontext()
        self._writing.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writing.__exit__(kind, error, trace)
