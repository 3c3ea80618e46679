"""What a run found of Lyapunov exponents, in the terminal: one line per layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from spectrakit.analyses.lyapunov.exponents import LayerExponents, layer_exponents
from spectrakit.analyses.lyapunov.tables import LYAPUNOV
from spectrakit.display.numbers import humanise
from spectrakit.display.plain_tables import layer_table
from spectrakit.tables import LAYERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from spectrakit.tables import Run

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


def view(run: Run) -> list[RenderableType]:
    """The exponents of every layer, with a legend."""
    kinds = {row["layer"]: row["kind"] for row in run.table(LAYERS.name).to_pylist()}
    found = run.table(LYAPUNOV.name)
    gauges = set(found["gauge"].to_pylist())
    legend = _LYAPUNOV + "".join(text for gauge, text in _GROWN.items() if gauge in gauges)
    exponents = layer_exponents(found)
    erased = any(of.erased for of in exponents)
    legend += _ERASED if erased else ""
    return [_lyapunov(exponents, kinds, erased=erased), Text(legend, style="dim")]


def _lyapunov(found: Sequence[LayerExponents], kinds: dict[int, str], *, erased: bool) -> Table:
    rows = []
    for of in found:
        values = (of.largest, of.mean, of.smallest)
        numbers = (f"{value:.3g}" for value in values)
        share = (f"{of.erased:.1%}",) if erased else ()
        rows.append((of.layer, kinds[of.layer], *numbers, humanise(of.timescale), *share))
    headings = ("largest", "mean", "smallest", "timescale")
    return layer_table((*headings, "erased") if erased else headings, rows)
