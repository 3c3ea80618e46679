"""The analyses beside the spectrum, in the terminal: one line per layer and analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from spectrakit.report.memory_report import memory_report
from spectrakit.report.numbers import humanise
from spectrakit.report.probe_report import probe_report
from spectrakit.report.states_report import states_report
from spectrakit.report.summaries import LayerExponents, layer_exponents
from spectrakit.tables import DECAY_KERNEL_SUMMARY, LAYERS, LYAPUNOV
from spectrakit.tables.memory_schema import MEMORY_SUMMARY
from spectrakit.tables.probe_schema import PROBE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa
    from rich.console import RenderableType

    from spectrakit.report.summaries import Row
    from spectrakit.tables import Run


def companions_report(run: Run) -> RenderableType:
    """What `run` found besides spectra; nothing where it looked for nothing else."""
    kinds = {row["layer"]: row["kind"] for row in run.table(LAYERS.name).to_pylist()}
    parts: list[RenderableType] = []
    if LYAPUNOV.name in run.tables:
        found = run.table(LYAPUNOV.name)
        gauges = set(found["gauge"].to_pylist())
        legend = _LYAPUNOV + "".join(text for gauge, text in _GROWN.items() if gauge in gauges)
        exponents = layer_exponents(found)
        erased = any(of.erased for of in exponents)
        legend += _ERASED if erased else ""
        table = _lyapunov(exponents, kinds, erased=erased)
        parts += [table, Text(legend, style="dim"), ""]
    if DECAY_KERNEL_SUMMARY.name in run.tables:
        parts += [*_kernel(run.table(DECAY_KERNEL_SUMMARY.name), kinds), ""]
    if MEMORY_SUMMARY.name in run.tables:
        parts += [*memory_report(run), ""]
    if PROBE.name in run.tables:
        parts += [probe_report(run), ""]
    parts.append(states_report(run))
    return Group(*parts)


_LYAPUNOV = (
    "Lyapunov exponents of the product of transitions, per step; timescale -1/exponent of the "
    "largest, in steps"
)
_GROWN = {
    "retained": "; in gauge retained that of attention is the mean log of the share of what a "
    "token reads that comes from before it",
    "dsf": "; in gauge dsf that of softmax attention is log(nu_1 / nu_T) / T, which says more "
    "about the length T of the sequences than about the layer",
}
_ERASED = "; erased: the share of exponents that are -inf, which the others leave out"
_KERNEL = (
    "|C A ... A B|, what an input contributes to an output, the same in every gauge, summed over "
    "the inputs: an output's mean at lags 0 and 1, and the lags within which half and 90% of the "
    "sum lie (both grow with the length of the sequences)"
)
_OF_FIRST = (
    "; 1st token: the share of the sum that the first token of a sequence has; w/o: the lags of "
    "the others' sum. The first output of a sequence is left out"
)
_OF_SINKS = "; sinks: the share of the attention weights that learned sinks have"


def _lyapunov(found: Sequence[LayerExponents], kinds: dict[int, str], *, erased: bool) -> Table:
    rows = []
    for of in found:
        values = (of.largest, of.mean, of.smallest)
        numbers = (f"{value:.3g}" for value in values)
        share = (f"{of.erased:.1%}",) if erased else ()
        rows.append((of.layer, kinds[of.layer], *numbers, humanise(of.timescale), *share))
    headings = ("largest", "mean", "smallest", "timescale")
    return _table((*headings, "erased") if erased else headings, rows)


def _kernel(found: pa.Table, kinds: dict[int, str]) -> list[RenderableType]:
    sets: dict[str, dict[int, Row]] = {"all": {}, "without_first": {}}
    for row in found.filter(found["head"].is_null()).to_pylist():
        sets[row["token_set"]][row["layer"]] = row
    others = sets["without_first"]
    sinks = any(row["learned_sink_share"] for row in others.values())
    headings = ["lag 0", "lag 1", "half in", "90% in"]
    headings += ["1st token", "half w/o", "90% w/o"] if others else []
    headings += ["sinks"] if sinks else []
    rows = []
    for layer, row in sorted(sets["all"].items()):
        cells = [f"{row['mass_lag_0']:.3g}", f"{row['mass_lag_1']:.3g}", *_reach(row)]
        if others:
            cells += [_share(row["first_token_share"]), *_reach(others[layer])]
        if sinks:
            cells.append(_share(row["learned_sink_share"]))
        rows.append((layer, kinds[layer], *cells))
    legend = _KERNEL + (_OF_FIRST if others else "") + (_OF_SINKS if sinks else "")
    return [_table(headings, rows), Text(legend, style="dim")]


def _reach(row: Row) -> list[str]:
    """The lags of half and of most of a kernel."""
    return ["-" if row[name] is None else str(row[name]) for name in ("lag_50", "lag_90")]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _table(headings: Sequence[str], rows: Iterable[tuple[object, ...]]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("layer", justify="right", no_wrap=True)
    table.add_column("kind", overflow="ellipsis", min_width=6)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    return table
