"""A comparison in the terminal: a line per layer, for each run that is compared with the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from spectrakit.analyses.massive.lines import USUAL, is_usual
from spectrakit.analyses.propagation.tables import PROPAGATION
from spectrakit.analyses.similarity.tables import SIMILARITY
from spectrakit.comparison.chart import run_label
from spectrakit.comparison.difference_blocks import other_differences, unlike_numbers
from spectrakit.comparison.run_settings import other_settings
from spectrakit.display.numbers import humanise
from spectrakit.tables import SPECTRUM_SUMMARY
from spectrakit.tables.comparison_schemas import DECAY_DISTANCE, SUMMARY_DIFFERENCE
from spectrakit.wording import named

if TYPE_CHECKING:
    from rich.console import RenderableType

    from spectrakit.tables import Run
    from spectrakit.tables.summaries import Row

_LEGEND = (
    "W1: Wasserstein distance of the two layers' decay rates, in decades (0.3: timescales differ "
    "by a factor of two, on average); median: the timescale -1/log|λ| in steps"
)
_MEMORY = "memory of exact states: the delays up to which half and 90% of the rank lie"
_SIMILAR = (
    "linear CKA of the hidden states of both models: at the same relative depth, and at the depth "
    "of the other that is most alike"
)
_GROWN = "Lyapunov exponents of the product of transitions, per step"
_CARRIED = "|C A ... A B|, what inputs at a lag contribute to an output"
_REACHED = (
    "the lag within which half of what inputs contribute to an output lies, and without each "
    "sequence's first token"
)
_PARKED = "the share of what inputs contribute that each sequence's first token has"
#: Summaries of a layer that have a column, and what that is called.
_DELAYS = {"delay_50 exact": "half by", "delay_90 exact": "90% by"}
_EXPONENTS = {"largest_exponent": "largest", "mean_exponent": "mean"}
_LAGS = {"mass at lag 0 all": "lag 0", "mass at lag 1 all": "lag 1"}
_REACH = {"kernel lag_50 all": "half in", "kernel lag_50 without_first": "half w/o"}
_SINK = {"kernel first_token_share all": "1st token"}
#: Metrics of flow that have a line of their own, on the stream without what is massive.
_FLOW = ("cosine_next", "inter_token_cosine", "normalised_variance", "effective_rank", "curvature")


def comparison_report(runs: Sequence[Run], comparison: Run) -> RenderableType:
    """What `comparison` found between the first of `runs` and each of the others."""
    parts: list[RenderableType] = []
    for number, other in enumerate(runs[1:], 1):
        title = f"{run_label(runs[0], 0)} and {run_label(other, number)}"
        distances = _rows(comparison, DECAY_DISTANCE.name, number)
        differences = _rows(comparison, SUMMARY_DIFFERENCE.name, number)
        parts.append(Text(title, style="bold"))
        if settings := other_settings(runs[0], other):
            parts.append(Text(f"set otherwise: {settings}"))
        if distances:
            parts += [_spectra(distances, differences), Text(_LEGEND, style="dim")]
            if any(row["gauge"] == row["other_gauge"] == "dsf" for row in distances):
                parts.append(Text(_of_writing(), style="dim"))
        shown = {SPECTRUM_SUMMARY.name} if distances else set()
        flow = [row for row in differences if row["of_table"] == PROPAGATION.name]
        if flow:
            shown.add(PROPAGATION.name)
            parts += ["", _flow(flow)]
        for columns, number_text, legend in (
            (_DELAYS, _steps, _MEMORY),
            (_EXPONENTS, _three_digits, _GROWN),
            (_LAGS, _three_digits, _CARRIED),
            (_REACH, _steps, _REACHED),
            (_SINK, _share, _PARKED),
        ):
            chosen = [row for row in differences if row["metric"] in columns]
            if chosen:
                shown |= {row["of_table"] for row in chosen}
                parts += ["", _by_layer(chosen, columns, number_text), Text(legend, style="dim")]
        parts += other_differences([row for row in differences if row["of_table"] not in shown])
        parts += unlike_numbers(differences)
        alike = _between(comparison, number)
        if alike:
            parts += ["", _similar(alike), Text(_SIMILAR, style="dim")]
        if not distances and not differences and not alike:
            parts.append(Text("the two runs have no table in common that is compared"))
        parts.append("")
    return Group(*parts)


def _of_writing() -> str:
    return (
        "attention in gauge dsf, whose eigenvalues another writing of the same function changes: "
        f"run both without {named('gauge')} to compare functions"
    )


def _between(comparison: Run, number: int) -> list[Row]:
    """The CKA of hidden states of the first model with those of run `number`."""
    return [
        row
        for row in _rows(comparison, SIMILARITY.name, number)
        if row["estimator"] == "cka" and is_usual(row) and row["value"] is not None
    ]


def _rows(comparison: Run, table: str, number: int) -> list[Row]:
    if table not in comparison.tables:
        return []
    rows = comparison.table(table).to_pylist()
    return [row for row in rows if row["other_run"] == number]


def _spectra(distances: Sequence[Row], differences: Sequence[Row]) -> Table:
    medians = {
        row["layer"]: (row["value"], row["other_value"])
        for row in differences
        if row["metric"].startswith("timescale_q50 discrete")
    }
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("layer", "other", "W1", "±", "median", "other's"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("note")
    for row in distances:
        if row["domain"] == "discrete":
            table.add_row(
                str(row["layer"]),
                str(row["other_layer"]),
                _number(row["wasserstein_decades"]),
                _number(row["uncertainty_decades"]),
                *(_steps(value) for value in medians.get(row["layer"], (None, None))),
                row["reason"] or "",
            )
    return table


def _flow(rows: Sequence[Row]) -> Table:
    """Means over depths of a few metrics of the residual stream."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("flow, mean over depths")
    for heading in ("first", "other", "difference"):
        table.add_column(heading, justify="right", no_wrap=True)
    for metric in _FLOW:
        chosen = [
            row
            for row in rows
            if row["metric"] == f"{metric} stream {USUAL} {USUAL}" and row["difference"] is not None
        ]
        if chosen:
            means = (
                sum(row[name] for row in chosen) / len(chosen)
                for name in ("value", "other_value", "difference")
            )
            table.add_row(metric, *(f"{mean:.3g}" for mean in means))
    return table


def _by_layer(
    rows: Sequence[Row], columns: Mapping[str, str], number_text: Callable[[float | None], str]
) -> Table:
    """Some metrics of both layers, side by side; columns: headings by metric."""
    found: dict[tuple[int, int], dict[str, Row]] = {}
    for row in rows:
        found.setdefault((row["layer"], row["other_layer"]), {})[row["metric"]] = row
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("layer", "other", *(h for name in columns.values() for h in (name, "other's"))):
        table.add_column(heading, justify="right", no_wrap=True)
    for pair, metrics in sorted(found.items()):
        cells = [
            number_text(metrics[name][side]) if name in metrics else "-"
            for name in columns
            for side in ("value", "other_value")
        ]
        table.add_row(*map(str, pair), *cells)
    return table


def _similar(rows: Sequence[Row]) -> Table:
    """A line per depth of the first model: CKA at the same relative depth, and the largest."""
    value = {(row["depth"], row["other_depth"]): row["value"] for row in rows}
    last, other_last = (max(depths) for depths in zip(*value, strict=True))
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("depth", "other", "CKA", "most alike", "CKA"):
        table.add_column(heading, justify="right", no_wrap=True)
    for depth in sorted({depth for depth, _ in value}):
        same = round(depth / max(last, 1) * other_last)
        found = {theirs: cka for (own, theirs), cka in value.items() if own == depth}
        most = max(found, key=found.__getitem__)
        cells = (depth, same, _number(found.get(same)), most, _number(found[most]))
        table.add_row(*map(str, cells))
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _three_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _steps(value: float | None) -> str:
    return "-" if value is None else humanise(value)
