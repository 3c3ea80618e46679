"""The pictures of a run as files: each chart that has something to draw, as PNG and as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from spectrakit.errors import AnalysisError
from spectrakit.report.figures import render_all

if TYPE_CHECKING:
    from altair import TopLevelMixin

    from spectrakit.analyses.kind import Chart, ComparisonChart
    from spectrakit.tables import Run


def draw_charts(run: Run, charts: Sequence[Chart]) -> dict[str, bytes]:
    """The files of those `charts` whose table `run` has, by name."""
    found: dict[str, bytes] = {}
    for chart in charts:
        if chart.table in run.tables:
            with suppress(AnalysisError):  # its table has reasons alone
                found |= _files(chart.name, chart.draw(run))
    return found


def draw_comparison(
    runs: Sequence[Run], comparison: Run, charts: Sequence[ComparisonChart]
) -> dict[str, bytes]:
    """The files of those `charts` that have something to draw of these runs, by name."""
    found: dict[str, bytes] = {}
    for chart in charts:
        drawn = chart.draw(runs, comparison)
        if drawn is not None:
            found |= _files(chart.name, drawn)
    return found


def _files(name: str, chart: TopLevelMixin) -> dict[str, bytes]:
    drawn = render_all(chart, "png", "svg")
    return {f"{name}.{kind}": content for kind, content in drawn.items()}
