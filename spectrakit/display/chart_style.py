"""What all charts have in common: sizes, colours, how numbers reach a chart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from spectrakit._lazy import lazy_import
from spectrakit.display.numbers import text_read
from spectrakit.plain import plain

if TYPE_CHECKING:
    import altair as alt

    from spectrakit.display.binning import Records
    from spectrakit.tables import Run
else:
    alt = lazy_import("altair")

ACCENT = "#d95f02"
"""The line between decay and growth, and the medians: not among the colours of `density`."""

BAR = "#31688e"
FAINT = "#bbbbbb"
ABSENT = "#eeeeee"
TEXT = "#444444"

_OVERLAP = 0.04
_LONGEST_NAME = 60


def data(records: Records) -> alt.InlineData:
    """Rows inside the chart itself, with no file or address beside it.

    They go in as one text, because altair copies and checks every row once for every view.
    """
    plainly = [
        {name: plain(value) if isinstance(value, str) else value for name, value in row.items()}
        for row in records
    ]
    return alt.InlineData(values=json.dumps(plainly), format=alt.JsonDataFormat(type="json"))


def overlapping(records: Records, *names: tuple[str, str]) -> Records:
    """Cells a little larger than they are, or renderers leave hairlines between them."""
    return [
        cell | {end: cell[end] + _OVERLAP * (cell[end] - cell[start]) for start, end in names}
        for cell in records
    ]


def density(of: str, domain: tuple[float, float] | None = None) -> alt.Color:
    """Pale where there are few, dark where there are many: readable without colour vision.

    Logarithmic between the shares in `domain`, otherwise a square root from 0.
    """
    kind: dict[str, Any] = {"type": "sqrt", "domainMin": 0}
    if domain is not None:
        kind = {"type": "log", "domain": list(domain)}
    return alt.Color(
        "share:Q",
        title=["share", f"of {of}"],
        scale=alt.Scale(scheme="yellowgreenblue", **kind),
        legend=alt.Legend(
            orient="right", gradientLength=160, gradientThickness=10, tickCount=4, format="~%"
        ),
    )


def fixed(low: float, high: float) -> alt.Scale:
    """A linear scale that ends exactly there."""
    return alt.Scale(domain=[low, high], nice=False, zero=False)


def run_title(run: Run) -> str:
    """The model's name, shortened in front, and its revision."""
    name = run.manifest.model_id
    if len(name) > _LONGEST_NAME:
        name = f"…{name[1 - _LONGEST_NAME :]}"
    kind, dash, digest = run.manifest.revision.rpartition("-")  # "local-" and a hash, or a sha
    return f"{name} @ {kind}{dash}{digest[:8]}"


def run_style(run: Run, subtitle: list[str]) -> dict[str, Any]:
    """`figure_style` of a picture of one run: its name, and how much it read."""
    read = text_read(run.manifest.tokens, run.manifest.sequences)
    return figure_style(run_title(run), [*subtitle, *filter(None, [read])])


def figure_style(title: str, subtitle: list[str]) -> dict[str, Any]:
    """Properties of the whole figure: set at its birth, as altair copies it for each later one."""
    plain: dict[str, Any] = {"labelColor": TEXT, "titleColor": TEXT, "titleFontWeight": "normal"}
    return {
        "title": alt.TitleParams(
            title, subtitle=subtitle, fontSize=16, subtitleFontSize=12, subtitlePadding=5, offset=16
        ),
        "padding": 16,
        "resolve": alt.Resolve(scale=alt.ScaleResolveMap(color="independent")),
        "config": alt.Config(
            view=alt.ViewConfig(stroke=None),
            axis=alt.AxisConfig(grid=False, **plain),
            legend=alt.LegendConfig(**plain),
            title=alt.TitleConfig(
                anchor="start", frame="group", subtitleColor=TEXT, fontSize=12, offset=8
            ),
        ),
    }
