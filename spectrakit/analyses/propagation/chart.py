"""How hidden states travel: a panel per metric over depth, of one run or of several together.

+--------------------+--------------------+--------------------+
| cosine to the      | inter-token cosine | the same, of what  |
| next layer         |                    | blocks add         |
+--------------------+--------------------+--------------------+
| token variance     | Dirichlet energy   | effective rank     |
+--------------------+--------------------+--------------------+
| norm               | step of a block    | curvature          |
+--------------------+--------------------+--------------------+
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from spectrakit._lazy import lazy_import
from spectrakit.analyses.massive.lines import USUAL, left_out
from spectrakit.analyses.propagation.tables import PROPAGATION
from spectrakit.display.chart_style import ACCENT, BAR, data, figure_style, run_title
from spectrakit.errors import AnalysisError

if TYPE_CHECKING:
    import altair as alt

    from spectrakit.display.binning import Records
    from spectrakit.tables import Run
    from spectrakit.tables.summaries import Row
else:
    alt = lazy_import("altair")

_COLOURS = (BAR, ACCENT, "#35b779", "#7b3294", "#999999", "#000000")
_WIDTH, _HEIGHT, _GAP = 230, 150, 56
_COLUMNS = 3

_SETS = {USUAL: "without massive tokens and coordinates", "all": "all tokens and coordinates"}


@dataclass(frozen=True)
class _Panel:
    """What is drawn, and how its axis is to be read."""

    title: str
    metric: str
    of: str = "stream"
    scale: Literal["linear", "log"] = "linear"


_PANELS = (
    _Panel("Cosine to the next layer", "cosine_next"),
    _Panel("Inter-token cosine", "inter_token_cosine"),
    _Panel("Inter-token cosine of updates", "inter_token_cosine", "update"),
    _Panel("Token variance over mean ||h||²", "normalised_variance"),
    _Panel("Dirichlet energy over mean ||h||²", "normalised_dirichlet_energy"),
    _Panel("Effective rank", "effective_rank"),
    _Panel("Norm", "norm", scale="log"),
    _Panel("Step of a block over the norm", "relative_norm", "update", "log"),
    _Panel("Curvature (degrees)", "curvature"),
)


def propagation_figure(*runs: Run) -> alt.VConcatChart:
    """The `propagation` tables of one run, or of up to six: trained and random, short and long.

    Raises:
        AnalysisError: a run has no such values, or there are too many runs to tell apart.
    """
    if len(runs) > len(_COLOURS):
        message = f"{len(runs)} runs in one picture cannot be told apart"
        raise AnalysisError(message, hint=f"at most {len(_COLOURS)}")
    rows = [_rows(run) for run in runs]
    labels = _labels(runs, rows)
    records = [
        _record(row, label)
        for label, of_run in zip(labels, rows, strict=True)
        for row in of_run
        if row["value"] is not None and row["token_set"] == row["coordinates"]
    ]
    depths = max(record["depth"] for record in records)
    charts = [_chart(panel, records, labels, depths) for panel in _PANELS]
    grid = [
        alt.hconcat(*charts[first : first + _COLUMNS], spacing=_GAP, bounds="flush")
        for first in range(0, len(charts), _COLUMNS)
    ]
    style = figure_style(_title(runs), _subtitle(runs, rows))
    style["resolve"] = alt.Resolve(scale=alt.ScaleResolveMap(color="shared"))
    return alt.vconcat(*grid, spacing=20, **style)


def _rows(run: Run) -> list[Row]:
    names = ["depth", "of", "metric", "token_set", "coordinates", "value", "standard_error",
             "sequences", "seq_len"]  # fmt: skip
    table = run.table(PROPAGATION.name)
    rows: list[Row] = table.filter(table["position_low"].is_null()).select(names).to_pylist()
    if all(row["value"] is None for row in rows):
        raise AnalysisError(f"{run.manifest.model_id} has no flow of hidden states to draw")
    return rows


def _labels(runs: Sequence[Run], rows: Sequence[list[Row]]) -> list[str]:
    """What tells each run from the others."""
    lengths = [f"{of_run[0]['seq_len']:,} tokens" for of_run in rows]
    titles = [run_title(run) for run in runs]
    told = [parts for parts in (titles, lengths) if len(set(parts)) > 1] or [titles]
    labels = [", ".join(parts) for parts in zip(*told, strict=True)]
    if len(set(labels)) < len(labels):  # the same model on other texts
        labels = [f"{label} ({number})" for number, label in enumerate(labels, 1)]
    return labels


def _title(runs: Sequence[Run]) -> str:
    models = list(dict.fromkeys(run.manifest.model_id for run in runs))
    return run_title(runs[0]) if len(runs) == 1 else " and ".join(models)


def _subtitle(runs: Sequence[Run], rows: Sequence[list[Row]]) -> list[str]:
    sequences = max(row["sequences"] for row in rows[0])
    longest = max(of_run[0]["seq_len"] for of_run in rows)
    return [
        "the residual stream where it enters the first block (0) and leaves the others (1, 2, ...)",
        f"means over {sequences:,} sequences of up to {longest:,} tokens, and two standard errors",
        f"solid lines: without massive tokens and coordinates{_how_many(runs)}; dotted: all",
    ]


def _how_many(runs: Sequence[Run]) -> str:
    """What of a single run was left out."""
    return f" ({left_out(runs[0]) or 'there are none'})" if len(runs) == 1 else ""


def _record(row: Row, label: str) -> Row:
    error = 2 * (row["standard_error"] or 0.0)
    return {
        "depth": row["depth"],
        "of": row["of"],
        "metric": row["metric"],
        "tokens": _SETS[row["token_set"]],
        "run": label,
        "value": row["value"],
        "low": row["value"] - error,
        "high": row["value"] + error,
    }


def _chart(panel: _Panel, records: Records, labels: Sequence[str], depths: int) -> alt.LayerChart:
    """Lines over depth, with bands of two standard errors."""
    drawn = [row for row in records if (row["metric"], row["of"]) == (panel.metric, panel.of)]
    if panel.scale == "log":  # a band cannot reach down to 0
        drawn = [row for row in drawn if row["value"] > 0]
        drawn = [row | {"low": max(row["low"], row["value"] / 2)} for row in drawn]
    x = alt.X(
        "depth:Q",
        title="depth",
        scale=alt.Scale(domain=[0, depths], nice=False),
        axis=alt.Axis(tickCount=min(depths, 8), tickMinStep=1, format="d"),
    )
    y = alt.Y(
        "value:Q",
        title=None,
        scale=alt.Scale(type=panel.scale, zero=False),
        axis=alt.Axis(tickCount=4),
    )
    base = alt.Chart(data(drawn)).encode(x=x, color=_colour(labels))
    band = base.mark_area(opacity=0.2, clip=True).encode(
        y=alt.Y("low:Q", title=None), y2="high:Q", detail="tokens:N"
    )
    lines = base.mark_line(strokeWidth=1.5, point=alt.OverlayMarkDef(size=14)).encode(
        y=y, strokeDash=_dash()
    )
    return alt.LayerChart(layer=[band, lines], width=_WIDTH, height=_HEIGHT, title=panel.title)


def _colour(labels: Sequence[str]) -> alt.Color:
    """A colour for each run, named above the panels where there are several."""
    legend = alt.Legend(
        orient="top",
        columns=1,
        symbolType="stroke",  # bands would be shown as pale spots
        symbolOpacity=1,
        symbolSize=300,
        symbolStrokeWidth=2,
        labelLimit=0,
    )
    return alt.Color(
        "run:N",
        title=None,
        scale=alt.Scale(domain=list(labels), range=list(_COLOURS[: len(labels)])),
        legend=legend if len(labels) > 1 else None,
    )


def _dash() -> alt.StrokeDash:
    dashes = [[1, 0] if name == USUAL else [3, 3] for name in _SETS]
    scale = alt.Scale(domain=list(_SETS.values()), range=dashes)
    return alt.StrokeDash("tokens:N", title=None, scale=scale, legend=None)


def compared_figure(runs: Sequence[Run], _: Run) -> alt.TopLevelMixin | None:
    """The same of all the runs that have the table, beside each other."""
    flowing = [run for run in runs if PROPAGATION.name in run.tables]
    return propagation_figure(*flowing) if len(flowing) > 1 else None
