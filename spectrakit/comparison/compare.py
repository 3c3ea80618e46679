"""The comparison of runs: the first with each of the others, as tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from spectrakit.analyses.kind import ComparisonChart
from spectrakit.comparison.decay_distance import decay_distance, resolution
from spectrakit.comparison.pairing import LayerPair, check_comparable, layer_pairs
from spectrakit.plugins import plugins
from spectrakit.registry import Later
from spectrakit.tables import (
    Manifest,
    MemorySink,
    RunWriter,
    check_apart,
    check_replaceable,
    read_run,
)
from spectrakit.tables.comparison_schemas import DECAY_DISTANCE, SUMMARY_DIFFERENCE
from spectrakit.tables.distribution import finest_distribution
from spectrakit.tables.gauges import shared_gauges
from spectrakit.tables.sinks import Tee
from spectrakit.tables.summaries import summaries_in_gauges

if TYPE_CHECKING:
    from pathlib import Path

    from spectrakit.tables import Run, Sink
    from spectrakit.tables.summary_numbers import Number, SummaryTable

Row: TypeAlias = dict[str, Any]

#: Renders the charts of a comparison that has something to draw for them: contents by the files'
#: names. `spectrakit.report.drawing.draw_comparison` is one.
DrawComparison: TypeAlias = (
    "Callable[[Sequence[Run], Run, Sequence[ComparisonChart]], Mapping[str, bytes]]"
)
#: Of the distances between spectra.
CHART = ComparisonChart(
    name="comparison", draw=Later("spectrakit.comparison.chart:compared_figure")
)


def compare(
    runs: Sequence[Run],
    out: Path | None = None,
    *,
    similarity: ModelsAlike | None = None,
    overwrite: bool = False,
    draw: DrawComparison | None = None,
    command: str = "",
) -> Run:
    """Compare the first of `runs` with each of the others; the result is a run of its own.

    out: the folder to write it into; None keeps it in memory. similarity: compares the hidden
    states of the models, too. overwrite: replace a run that is in the folder even where it is
    another one. draw: renders the pictures into the folder.

    Raises OutputError where it cannot be written, UsageError where the runs cannot be compared (see
    `check_comparable`), and where `out` is, contains or lies in the folder of one of them, or holds
    another run.
    """
    check_comparable(runs)
    first = runs[0].manifest
    settings = None if similarity is None else similarity.settings
    manifest = Manifest(
        model_id=first.model_id,
        revision=first.revision,
        mode=first.mode,
        command=command,
        spec={"runs": [_named(run) for run in runs], "similarity": settings},
    )
    kept = MemorySink(manifest)
    if out is None:
        _compare_all(runs, kept, similarity)
        return kept.run
    check_apart(out, [run.folder for run in runs if run.folder is not None])
    check_replaceable(out, manifest, overwrite=overwrite)
    with RunWriter(out, manifest) as writer:
        _compare_all(runs, Tee([writer, kept]), similarity)
        if draw is not None:
            for name, content in draw(runs, kept.run, comparison_charts()).items():
                writer.add_file(name, content)
    return read_run(out)


class ModelsAlike(Protocol):
    """Compares the hidden states of the models of two runs."""

    @property
    def settings(self) -> Mapping[str, object]:
        """What decides its numbers, for the record."""

    def __call__(self, number: int, first: Run, other: Run, sink: Sink) -> None:
        """Write rows of the models of the first run and of the other, run `number`."""


def comparison_charts() -> list[ComparisonChart]:
    """Every picture that a comparison may have."""
    registry = plugins().analysis_kinds()
    kinds = (registry[name] for name in registry.things)
    return [CHART, *(chart for kind in kinds for chart in kind.comparison_charts)]


def _compare_all(runs: Sequence[Run], sink: Sink, similarity: ModelsAlike | None) -> None:
    compare_runs(runs, sink)
    if similarity is not None:
        for number, other in enumerate(runs[1:], 1):
            similarity(number, runs[0], other, sink)


def _named(run: Run) -> Row:
    manifest = run.manifest
    folder = None if run.folder is None else str(run.folder)
    return {"model_id": manifest.model_id, "revision": manifest.revision, "folder": folder}


def compare_runs(runs: Sequence[Run], sink: Sink) -> None:
    """Write to `sink` how each of the other runs differs from the first.

    Raises UsageError where the runs cannot be compared (see `check_comparable`).
    """
    check_comparable(runs)
    first = runs[0]
    for number, other in enumerate(runs[1:], 1):
        told = {
            "other_model_id": other.manifest.model_id,
            "other_revision": other.manifest.revision,
            "other_run": number,
        }
        distances = [told | row for row in _distances(first, other)]
        differences = [told | row for row in _differences(first, other)]
        for schema, rows in ((DECAY_DISTANCE, distances), (SUMMARY_DIFFERENCE, differences)):
            if rows:
                columns = {name: [row[name] for row in rows] for name in rows[0]}
                sink.append(schema, schema.table(columns))


def _distances(first: Run, other: Run) -> Iterator[Row]:
    for domain in ("discrete", "continuous"):
        summaries = [_by_layer(run, domain) for run in (first, other)]
        own, theirs = (cache(partial(finest_distribution, run, domain)) for run in (first, other))
        for pair in layer_pairs(first, other):
            if pair.layer not in summaries[0] or pair.other not in summaries[1]:
                continue
            by_gauge = summaries[0][pair.layer], summaries[1][pair.other]
            gauges = shared_gauges(*by_gauge)
            mine, its = (rows[gauge] for rows, gauge in zip(by_gauge, gauges, strict=True))
            (one, own_binned), (another, their_binned) = own(gauges[0]), theirs(gauges[1])
            found = decay_distance(one.of_layer(pair.layer), another.of_layer(pair.other))
            reason = None
            if gauges[0] != gauges[1]:
                reason = f"in gauges {gauges[0]} and {gauges[1]}, which are not compared"
            elif found.distance is None:
                reason = "one of the two has no eigenvalue that decays at a finite rate"
            blurred = resolution(mine["relative_error"], binned=pair.layer in own_binned)
            blurred += resolution(its["relative_error"], binned=pair.other in their_binned)
            yield _placed(pair) | {
                "domain": domain,
                "mode": mine["mode"],
                "other_mode": its["mode"],
                "gauge": mine["gauge"],
                "other_gauge": its["gauge"],
                "wasserstein_decades": None if reason else found.distance,
                "uncertainty_decades": None if reason or math.isinf(blurred) else blurred,
                "never_decaying": found.never[0],
                "other_never_decaying": found.never[1],
                "gone_at_once": found.gone[0],
                "other_gone_at_once": found.gone[1],
                "reason": reason,
            }


def _by_layer(run: Run, domain: str) -> dict[int, dict[str, Row]]:
    """Rows of whole layers, by layer and gauge."""
    found: dict[int, dict[str, Row]] = {}
    for row in summaries_in_gauges(run, domain):
        found.setdefault(row["layer"], {})[row["gauge"]] = row
    return found


def _differences(first: Run, other: Run) -> Iterator[Row]:
    pairs = layer_pairs(first, other)
    for summary in _summaries():
        own, theirs = summary.numbers(first), summary.numbers(other)
        placed = pairs if summary.place == "layer" else _depth_pairs(own, theirs)
        for pair in placed:
            if pair.layer in own and pair.other in theirs:
                where = _placed(pair) if summary.place == "layer" else _of_depth(pair)
                one, another = own[pair.layer], theirs[pair.other]
                gauges = shared_gauges(one, another)
                for row in _pair_differences(summary, one[gauges[0]], another[gauges[1]]):
                    yield where | row


def _summaries() -> Iterator[SummaryTable]:
    """The tables whose numbers are compared, of all analyses."""
    registry = plugins().analysis_kinds()
    for name in registry.things:
        if (compared := registry[name].compared) is not None:
            yield from compared().summaries


def _depth_pairs(own: Mapping[int, object], theirs: Mapping[int, object]) -> list[LayerPair]:
    """Depths of the residual stream, or driven blocks, paired as layers are.

    Every depth has rows, also where it has no value: the last one is the model's own.
    """
    if not own or not theirs:
        return []
    last, other_last = max(own), max(theirs)
    return [
        LayerPair(depth / max(last, 1), depth, round(depth / max(last, 1) * other_last))
        for depth in sorted(own)
    ]


def _pair_differences(
    summary: SummaryTable, own: Mapping[str, Number], theirs: Mapping[str, Number]
) -> Iterator[Row]:
    for metric, one in own.items():
        if metric not in theirs:
            continue
        other = theirs[metric]
        if one.value is None and other.value is None:
            continue
        difference, reason = _difference(one, other)
        uncertainty = None
        if difference is not None:
            uncertainty, reason = summary.combined(one, other)
        yield {
            "of_table": summary.table,
            "metric": metric,
            "value": one.value,
            "other_value": other.value,
            "difference": difference,
            "uncertainty": uncertainty,
            "reason": reason,
        }


def _difference(first: Number, second: Number) -> tuple[float | None, str | None]:
    one, other = first.value, second.value
    if one is None or other is None:
        return None, "no-value"
    if (code := first.unlike(second)) is not None:
        return None, code
    if math.isinf(one) and math.isinf(other):
        return (0.0, None) if one == other else (None, "opposite-infinities")
    return other - one, None


def _placed(pair: LayerPair) -> Row:
    return {"depth": pair.depth, "layer": pair.layer, "other_layer": pair.other}


def _of_depth(pair: LayerPair) -> Row:
    return {"depth": pair.depth, "layer": None, "other_layer": None}
