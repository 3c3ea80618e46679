"""Runs for people: a table in the terminal, and pictures from one chart definition."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectrakit.report.charts import spectrum_figure
    from spectrakit.report.companions import companions_report
    from spectrakit.report.figures import render, render_all
    from spectrakit.report.terminal import spectrum_report

_HOME = {
    "companions_report": "spectrakit.report.companions",
    "render": "spectrakit.report.figures",
    "render_all": "spectrakit.report.figures",
    "spectrum_figure": "spectrakit.report.charts",
    "spectrum_report": "spectrakit.report.terminal",
}

__all__ = ["companions_report", "render", "render_all", "spectrum_figure", "spectrum_report"]


def __getattr__(name: str) -> Any:  # noqa: ANN401  (loads a public name at first use)
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'spectrakit.report' has no attribute {name!r}")
