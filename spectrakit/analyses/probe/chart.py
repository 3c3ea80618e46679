"""Linear probes: accuracy over depth beside its control and the model's own.

+---------------------------+---------------------------+---+
| accuracy over depth,      | depth x gold position,    | m |    a row per target
| control, chance, model    | colour is accuracy        |   |
+---------------------------+---------------------------+---+
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spectrakit._lazy import lazy_import
from spectrakit.analyses.probe.tables import PROBE
from spectrakit.display.chart_style import ACCENT, BAR, TEXT, data, run_style
from spectrakit.errors import AnalysisError

if TYPE_CHECKING:
    import altair as alt

    from spectrakit.display.binning import Records
    from spectrakit.tables import Run
    from spectrakit.tables.summaries import Row
else:
    alt = lazy_import("altair")

_WIDTH, _HEIGHT, _STRIP = 340, 200, 24

#: What is drawn over depth: its name, the columns of value and interval, and its colour and stroke.
_LINES: tuple[tuple[str, str, tuple[str, str] | None, str, list[int]], ...] = (
    ("probe", "accuracy", ("accuracy_low", "accuracy_high"), BAR, [1, 0]),
    ("probe, shuffled labels", "shuffled_accuracy", None, "#999999", [5, 3]),
    ("most frequent label", "chance", None, TEXT, [1, 3]),
    ("the model's choice", "model_accuracy", ("model_accuracy_low", "model_accuracy_high"),
     ACCENT, [1, 0]),
)  # fmt: skip


def probe_figure(run: Run) -> alt.VConcatChart:
    """The `probe` table of a run.

    Raises:
        AnalysisError: no probe could be fitted.
    """
    rows = [row for row in run.table(PROBE.name).to_pylist() if row["reason"] is None]
    if not rows:
        raise AnalysisError(f"{run.manifest.model_id} has no probes to draw")
    targets = dict.fromkeys(row["target"] for row in rows)
    charts = []
    for target in sorted(targets, key=lambda name: (name != "gold_position", name)):
        own = [row for row in rows if row["target"] == target]
        pair = (_over_depth(target, own), _by_position(own))
        charts.append(alt.hconcat(*pair, spacing=40, bounds="flush").resolve_scale(
            color="independent", strokeDash="independent"))  # fmt: skip
    return alt.vconcat(*charts, spacing=30, **run_style(run, _subtitle(rows)))


def _subtitle(rows: list[Row]) -> list[str]:
    pooled = next(row for row in rows if row["gold_position"] is None)
    counted = f"{pooled['prompts']:,} prompts of {pooled['sources']:,} sources"
    return [
        f"{pooled['prompt_set']}: {counted}, {pooled['items']} items each",
        "from the state at the last token, of sources held out; bands are 95 % intervals",
    ]


def _over_depth(target: str, rows: list[Row]) -> alt.LayerChart:
    pooled = [row for row in rows if row["gold_position"] is None]
    records: Records = []
    for name, column, ends, _, _ in _LINES:
        low, high = ends or (column, column)
        records += [
            {"what": name, "depth": row["depth"], "value": row[column], "low": row[low],
             "high": row[high]}
            for row in pooled
            if row[column] is not None
        ]  # fmt: skip
    shown = [line for line in _LINES if any(record["what"] == line[0] for record in records)]
    names = [line[0] for line in shown]
    legend: dict[str, Any] = {"orient": "top", "columns": 2, "labelLimit": 0,
                              "symbolType": "stroke", "symbolSize": 300, "symbolStrokeWidth": 2,
                              "symbolOpacity": 1}  # fmt: skip
    colour = alt.Color(
        "what:N", title=None, legend=alt.Legend(**legend),
        scale=alt.Scale(domain=names, range=[line[3] for line in shown]),
    )  # fmt: skip
    dash = alt.StrokeDash(
        "what:N", title=None, legend=alt.Legend(**legend),
        scale=alt.Scale(domain=names, range=[line[4] for line in shown]),
    )  # fmt: skip
    last = max(row["depth"] for row in pooled)
    x = alt.X("depth:Q", title="depth", scale=alt.Scale(domain=[0, last], nice=False),
              axis=alt.Axis(tickCount=min(last, 8), tickMinStep=1, format="d"))  # fmt: skip
    y = alt.Y("value:Q", title="accuracy", scale=alt.Scale(domain=[0, 1]),
              axis=alt.Axis(tickCount=5, format="%"))  # fmt: skip
    base = alt.Chart(data(records))
    band = base.mark_area(opacity=0.15).encode(
        x=x, y=alt.Y("low:Q", title="accuracy"), y2="high:Q", color=colour
    )
    lines = base.mark_line(strokeWidth=1.8).encode(x=x, y=y, color=colour, strokeDash=dash)
    title = f"Probe for {target.replace('_', ' ')}"
    return alt.LayerChart(layer=[band, lines], width=_WIDTH, height=_HEIGHT, title=title)


def _by_position(rows: list[Row]) -> alt.HConcatChart:
    """Depth by position, and beside it a strip of the model's own, which has no depth."""
    by_position = [row for row in rows if row["gold_position"] is not None]
    probes = [
        {"at": row["depth"], "position": row["gold_position"], "accuracy": row["accuracy"]}
        for row in by_position
    ]
    model = [
        {"at": "model", "position": row["gold_position"], "accuracy": row["model_accuracy"]}
        for row in by_position
        if row["depth"] == 0 and row["model_accuracy"] is not None
    ]
    axis = alt.Axis(labelAngle=0, labelOverlap=True)
    charts = [_tiles(probes, _WIDTH, "Accuracy by gold position", "depth", axis, alt.Axis())]
    if model:
        axis = alt.Axis(labelAngle=0, ticks=False)
        charts.append(_tiles(model, _STRIP, "", None, axis, None))
    return alt.hconcat(*charts, spacing=12, bounds="flush")


def _tiles(
    records: Records,
    width: int,
    title: str,
    what: str | None,
    axis: alt.Axis,
    positions: alt.Axis | None,
) -> alt.Chart:
    colour = alt.Color(
        "accuracy:Q", title="accuracy",
        scale=alt.Scale(scheme="yellowgreenblue", domain=[0, 1]),
        legend=alt.Legend(orient="right", gradientLength=120, gradientThickness=10, tickCount=4,
                          format="%"),
    )  # fmt: skip
    y = alt.Y("position:O", title="gold position", axis=positions)
    return alt.Chart(
        data(records), width=width, height=_HEIGHT, title=title, mark=alt.MarkDef(type="rect")
    ).encode(x=alt.X("at:O", title=what, axis=axis), y=y, color=colour)
