"""What a run found of decay kernels, in the terminal: one line per layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from spectrakit.analyses.kernel.tables import DECAY_KERNEL_SUMMARY
from spectrakit.display.plain_tables import layer_table
from spectrakit.tables import LAYERS

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import RenderableType

    from spectrakit.tables import Run
    from spectrakit.tables.summaries import Row

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


def view(run: Run) -> list[RenderableType]:
    """The kernel of every layer, with a legend."""
    kinds = {row["layer"]: row["kind"] for row in run.table(LAYERS.name).to_pylist()}
    return _kernel(run.table(DECAY_KERNEL_SUMMARY.name), kinds)


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
    return [layer_table(headings, rows), Text(legend, style="dim")]


def _reach(row: Row) -> list[str]:
    """The lags of half and of most of a kernel."""
    return ["-" if row[name] is None else str(row[name]) for name in ("lag_50", "lag_90")]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
