"""Runs as Python hands them out: they show themselves in a notebook and draw their charts."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from spectrakit import tables
from spectrakit.display.numbers import text_read
from spectrakit.errors import UsageError
from spectrakit.plain import plain
from spectrakit.plugins import plugins
from spectrakit.wording import did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

    from altair import TopLevelMixin
    from pyarrow import Table
    from pyarrow.dataset import Dataset
    from rich.console import RenderableType

    from spectrakit.zoo.results import Results

#: Charts by name, each a function of nothing that draws it.
Charts = dict[str, Callable[[], Any]]


@dataclass(frozen=True)
class Run(tables.Run):
    """A run; `table(name)` and `tables` are of `spectrakit.tables.Run`.

    As the last line of a notebook's cell it shows what the terminal would.
    """

    @classmethod
    def of(cls, run: tables.Run) -> Run:
        """The same run."""
        return cls(run.folder, run.manifest, run._tables)

    @property
    def charts(self) -> tuple[str, ...]:
        """The names of the charts that its tables have something for."""
        return tuple(self._charts())

    def chart(self, name: str | None = None) -> TopLevelMixin:
        """An Altair chart of the run, by name; without one, its first.

        Raises UsageError where the run has no such chart, AnalysisError where its tables hold
        nothing to draw.
        """
        charts = self._charts()
        if name is None:
            name = next(iter(charts), "")
        if name not in charts:
            message = f"the run has no chart {name!r}" if name else "the run has no charts"
            hint = did_you_mean(name, charts) or f"its charts are {', '.join(charts) or 'none'}"
            raise UsageError(message, hint=hint)
        chart: TopLevelMixin = charts[name]()
        return chart

    def _charts(self) -> Charts:
        registry = plugins().analysis_kinds()
        return {
            chart.name: partial(chart.draw, self)
            for name in registry.things
            for chart in registry[name].charts
            if chart.table in self.tables
        }

    def _shown(self) -> RenderableType:
        from spectrakit.report.terminal import run_report

        return run_report(self)

    def _repr_html_(self) -> str:
        from spectrakit.report.plain_console import as_html

        return f"{_card(self)}{as_html(self._shown())}"


@dataclass(frozen=True)
class EigenvalueMemory(Run):
    """The memory of sets of eigenvalues, which no checkpoint holds."""

    def _charts(self) -> Charts:
        from spectrakit.eigenvalue_memory import CHART

        return {CHART.name: partial(CHART.draw, self)}

    def _shown(self) -> RenderableType:
        from rich.console import Group

        from spectrakit.analyses.memory.eigenvalue_set_view import view

        return Group(*view(self))


@dataclass(frozen=True)
class Comparison(Run):
    """How runs differ from the first of them."""

    runs: Sequence[tables.Run] = field(default=(), repr=False)

    @classmethod
    def between(cls, runs: Sequence[tables.Run], run: tables.Run) -> Comparison:
        """The comparison `run` of these `runs`."""
        return cls(run.folder, run.manifest, run._tables, tuple(runs))

    def _charts(self) -> Charts:
        from spectrakit.comparison.compare import comparison_charts

        found: Charts = {}
        for chart in comparison_charts():
            drawn = chart.draw(self.runs, self)
            if drawn is not None:
                found[chart.name] = partial(_itself, drawn)
        return found

    def _shown(self) -> RenderableType:
        from spectrakit.comparison.view import comparison_report

        return comparison_report(self.runs, self)


@dataclass(frozen=True)
class Zoo:
    """The folder of a batch: its runs, and their tables as one dataset.

    As the last line of a notebook's cell it shows its leaderboard.
    """

    folder: Path

    @property
    def runs(self) -> tuple[str, ...]:
        """The names of the finished runs."""
        return tuple(name for name, _, _ in self._results.runs())

    @property
    def failed(self) -> dict[str, str]:
        """Why each model that has no run has none, by the name of its entry."""
        from spectrakit.zoo.folder import BatchFolder
        from spectrakit.zoo.status import batch_status

        entries = batch_status(BatchFolder(self.folder)).entries
        return {entry.name: entry.outcome.reason for entry in entries if entry.outcome is not None}

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables that some run has."""
        return tuple(self._results.tables())

    @property
    def summary(self) -> Run:
        """The tables `models` and `leaderboard`. Raises UsageError where no batch has ended."""
        return Run.of(tables.read_run(self.folder / "summary"))

    def run(self, name: str) -> Run:
        """One run. Raises UsageError where it is not finished, MalformedError where damaged."""
        return Run.of(tables.read_run(self.folder / "runs" / name))

    def dataset(self, table: str) -> Dataset:
        """All rows of a table, to be scanned or filtered without reading them at once.

        Raises UsageError where no run has that table.
        """
        return self._results.dataset(table)

    def table(self, name: str) -> Table:
        """All rows of a table, in memory. Raises UsageError where no run has it."""
        return self.dataset(name).to_table()

    @property
    def _results(self) -> Results:
        from spectrakit.zoo.results import Results

        return Results(self.folder)

    def _repr_html_(self) -> str:
        from rich.console import Group

        from spectrakit.report.plain_console import as_html
        from spectrakit.zoo.leaderboard_view import view

        return as_html(Group(*view(self.summary)))


def _itself(drawn: TopLevelMixin) -> TopLevelMixin:
    return drawn


def _card(run: tables.Run) -> str:
    """Which model it is, what was read and what to know before using the numbers, as HTML."""
    manifest = run.manifest
    read = text_read(manifest.tokens, manifest.sequences)
    lines = [
        f"<b>{_text(manifest.model_id)}</b> {_text(manifest.revision)}",
        " · ".join(
            filter(None, [_text(manifest.mode), read, f"tables: {_text(', '.join(run.tables))}"])
        ),
        *(f"⚠ {_text(warning)}" for warning in manifest.warnings),
    ]
    return f"<div>{'<br>'.join(lines)}</div>"


def _text(value: str) -> str:
    return html.escape(plain(value))
