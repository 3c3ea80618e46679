"""How alike the depths of a model are: a square per estimator, and the way from depth to depth.

+--------------------+--------------------+
| CKA: depth against | mutual neighbours: |
| depth              | the same           |
+--------------------+--------------------+
| Procrustes distance to the next depth   |
+-----------------------------------------+
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.analyses.massive.lines import is_usual, left_out
from spectrakit.analyses.similarity.estimators import BY_NAME, Estimator
from spectrakit.analyses.similarity.tables import SIMILARITY
from spectrakit.display.chart_style import (
    BAR,
    data,
    fixed,
    run_style,
)
from spectrakit.display.heat_map import SIDE, Side, heat_map, ticks
from spectrakit.errors import AnalysisError

if TYPE_CHECKING:
    import altair as alt

    from spectrakit.tables import Run
    from spectrakit.tables.summaries import Row
else:
    alt = lazy_import("altair")

_GAP = 40
_WHOLE = 2 * SIDE + _GAP + 30
"""Two squares with the axis between them."""

_STRIP = 110
_READ = ["depth", "other_depth", "estimator", "value", "tokens", "tokens_seen", "token_set",
         "coordinates", "width", "reason"]  # fmt: skip


def similarity_figure(run: Run) -> alt.VConcatChart:
    """The heat maps of a run's `similarity` table: of one kind of CKA, and of neighbourhoods.

    What has no value stays grey.

    Raises:
        AnalysisError: the run compared no depths of its model.
    """
    table = run.table(SIMILARITY.name)
    rows = table.filter(table["other_run"].is_null()).select(_READ).to_pylist()
    rows = [row for row in rows if is_usual(row)]
    if not rows:
        raise AnalysisError(f"{run.manifest.model_id} has no similarities to draw")
    depths = max(row["other_depth"] for row in rows) + 1
    of = {row["estimator"]: [r for r in rows if r["estimator"] == row["estimator"]] for row in rows}
    squares = [
        _square(of[name], f"{BY_NAME[name].title}: {_of_tokens(of[name])}", depths)
        for name in _drawn(of)
    ]
    parts: list[alt.Chart | alt.HConcatChart | alt.LayerChart] = []
    if squares:
        parts.append(alt.hconcat(*squares, spacing=_GAP))
    for name, own in BY_NAME.items():
        if own.adjacent and name in of:
            title = f"{own.title}: {_of_tokens(of[name])}"
            parts.append(_strip(of[name], title, depths, len(squares)))
    return alt.vconcat(*parts, spacing=24, **run_style(run, _subtitle(run, rows)))


def _drawn(found: Collection[str]) -> list[Estimator]:
    """Of the estimators of each square, the first that was found."""
    first: dict[str, Estimator] = {}
    for name, own in BY_NAME.items():
        if own.square is not None and name in found:
            first.setdefault(own.square, name)
    return list(first.values())


def _subtitle(run: Run, rows: list[Row]) -> list[str]:
    first = rows[0]
    what = left_out(run)
    without = f", without {what}" if what else "; no token or coordinate is massive"
    return [
        "the residual stream where it enters the first block (0) and leaves the others (1, 2, ...)",
        f"{first['tokens_seen']:,} tokens, {first['width']} features{without}",
    ]


def _valued(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["value"] is not None]


def _of_tokens(rows: list[Row]) -> str:
    """How many tokens the values are of, or why there are none."""
    if all(row["value"] is None for row in rows):
        return str(rows[0]["reason"])
    found, seen = rows[0]["tokens"], rows[0]["tokens_seen"]
    return f"{found:,} tokens" if found == seen else f"{found:,} of the tokens"


def _square(rows: list[Row], title: str, depths: int) -> alt.LayerChart:
    """Depth against depth, the lower half mirrored."""
    cells = []
    for row in _valued(rows):
        ends = {(row["depth"], row["other_depth"]), (row["other_depth"], row["depth"])}
        cells += [(x, y, row["value"]) for x, y in sorted(ends)]
    side = Side("depth", depths)
    return heat_map(cells, title, side, side)


def _strip(rows: list[Row], title: str, depths: int, squares: int) -> alt.Chart:
    """The distance from each depth to the next, between the two."""
    steps = [
        {"x0": row["depth"] + 0.1, "x1": row["other_depth"] - 0.1, "value": row["value"], "zero": 0}
        for row in _valued(rows)
    ]
    highest = max((step["value"] for step in steps), default=0.0)
    chart: alt.Chart = (
        alt.Chart(
            data(steps),
            title=title,
        )
        .mark_rect(color=BAR)
        .encode(
            x=alt.X(
                "x0:Q",
                title="depth",
                scale=fixed(-0.5, depths - 0.5),
                axis=alt.Axis(values=ticks(depths), format="d"),
            ),
            x2="x1",
            y=alt.Y(
                "value:Q",
                title="distance",
                scale=alt.Scale(domain=[0, 1.05 * highest or 1.0], nice=False),
                axis=alt.Axis(tickCount=4),
            ),
            y2="zero",
        )
    )
    return chart.properties(width=SIDE if squares < 2 else _WHOLE, height=_STRIP)
