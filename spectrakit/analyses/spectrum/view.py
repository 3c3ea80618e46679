"""The spectra of a run in the terminal: one line per layer, and what the numbers mean."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table
from rich.text import Text

from spectrakit.display.numbers import humanise, near_one, percent, ranges
from spectrakit.tables import LAYERS
from spectrakit.tables.distribution import distribution
from spectrakit.tables.schemas import MODULUS_SHARES, RADIUS_EDGES, bound_name
from spectrakit.tables.summaries import layer_summaries, median_rate, summaries_in_gauges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import RenderableType

    from spectrakit.tables import Run
    from spectrakit.tables.distribution import Distribution
    from spectrakit.tables.summaries import Row

_MOST_NUMBERS = 4
_BARS = " ▁▂▃▄▅▆▇█"
_NONE = "-"
#: Which of the edges is the unit circle.
_UNIT = RADIUS_EDGES.index(1.0)
_NEAR_ZERO, _NEAR_ONE, _GROWING = (
    MODULUS_SHARES[0],
    MODULUS_SHARES[_UNIT - 1],
    MODULUS_SHARES[_UNIT:],
)


@dataclass(frozen=True)
class _Number:
    """A column of numbers: its two lines of heading, and a layer's text from its summary."""

    heading: str
    text: Callable[[Row], str]
    #: Shown only where this is not zero for some layer.
    where: Callable[[Row], float] = lambda _: 1


@dataclass(frozen=True)
class _Axis:
    """The log axis of the small histograms: the same for all layers and all runs."""

    low: float
    high: float
    bins: int

    @property
    def heading(self) -> str:
        """The ends of the axis, as wide as a histogram."""
        low, high = humanise(self.low), humanise(self.high)
        return f"{low}{high.rjust(self.bins - len(low))}"

    def bars(self, eigenvalues: Distribution) -> str:
        """The distribution of timescales; what lies beyond an end is counted in its last bin."""
        timescale = eigenvalues.timescale
        timescale = np.where(timescale < 0, np.inf, timescale).clip(self.low, self.high)
        position = np.log(timescale / self.low) / np.log(self.high / self.low)
        index = (position * self.bins).astype(int).clip(0, self.bins - 1)
        counts = np.bincount(index, eigenvalues.count, self.bins)
        levels = np.ceil(counts / max(counts.max(), 1) * (len(_BARS) - 1)).astype(int)
        return "".join(_BARS[level] for level in levels)


@dataclass(frozen=True)
class _View:
    """What the terminal shows of one domain."""

    numbers: tuple[_Number, ...]
    axis: _Axis
    stability: str
    timescale: str
    growth: str


def _growing(row: Row) -> float:
    """Share of |λ| > 1."""
    return sum(row[name] or 0.0 for name in _GROWING)


_VIEWS = {
    "discrete": _View(
        numbers=(
            _Number("spectral\nradius", lambda row: near_one(row["spectral_radius"])),
            _Number("median\nsteps", lambda row: _timescale(median_rate(row), "|λ|>1")),
            _Number(f"|λ|\n≤ {RADIUS_EDGES[1]:g}", lambda row: percent(row[_NEAR_ZERO])),
            _Number(
                f"|λ| in\n({RADIUS_EDGES[_UNIT - 1]:g},1]", lambda row: percent(row[_NEAR_ONE])
            ),
            _Number("|λ|\n> 1", lambda row: percent(_growing(row)), where=_growing),
        ),
        axis=_Axis(0.1, 1e5, 12),
        stability="discrete: λ per step, stable inside the unit circle",
        timescale="-1/log|λ| in steps (tokens)",
        growth="|λ| > 1",
    ),
    "continuous": _View(
        numbers=(
            _Number("spectral\nabscissa", lambda row: f"{row['spectral_abscissa']:.3g}"),
            _Number("median\ntime", lambda row: _timescale(median_rate(row), "Re>0")),
            _Number("5% of\nrates ≤", lambda row: humanise(row["decay_rate_q05"])),
            _Number("95% of\nrates ≤", lambda row: humanise(row["decay_rate_q95"])),
        ),
        axis=_Axis(1e-3, 1e3, 12),
        stability="continuous: λ per unit of time, stable where Re λ < 0; moduli, the unit circle "
        "and steps do not apply",
        timescale="-1/Re λ in units of time",
        growth="Re λ > 0",
    ),
}


def view(run: Run) -> list[RenderableType]:
    """A table for each domain that `run` looked at, with a legend; no rows of single heads."""
    layers = run.table(LAYERS.name).to_pylist()
    summaries = layer_summaries(run)
    domains = [d for d in _VIEWS if any(row["domain"] == d for row in summaries)]
    parts: list[RenderableType] = []
    for domain in domains:
        rows = {row["layer"]: row for row in summaries if row["domain"] == domain}
        told = _gauges(run, domain, rows)
        parts += [""] if parts else []
        parts += [_table(run, domain, layers, rows), _legend(_VIEWS[domain], rows, told)]
    return parts


def _table(run: Run, domain: str, layers: Iterable[Row], rows: dict[int, Row]) -> Table:
    view = _VIEWS[domain]
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("\nlayer", justify="right", no_wrap=True)
    table.add_column("\nkind", overflow="ellipsis", min_width=6)
    table.add_column("\nmode", no_wrap=True)
    table.add_column("state\nsize", justify="right", no_wrap=True)
    shown = [number for number in view.numbers if any(map(number.where, rows.values()))]
    # Lines fit 80 columns: a column more of numbers is four bars less.
    axis = view.axis if len(shown) <= _MOST_NUMBERS else replace(view.axis, bins=8)
    for number in shown:
        table.add_column(number.heading, justify="right", no_wrap=True)
    table.add_column(f"timescale\n{axis.heading}", no_wrap=True)
    eigenvalues = distribution(run, domain)
    for layer in layers:
        head = [str(layer["layer"]), layer["kind"]]
        state = _NONE if layer["state_size"] is None else str(layer["state_size"])
        if layer["layer"] not in rows:
            table.add_row(*head, layer["status"], state, *[_NONE] * len(shown), style="dim")
            continue
        row = rows[layer["layer"]]
        numbers = [number.text(row) for number in shown]
        bars = axis.bars(eigenvalues.of_layer(layer["layer"]))
        table.add_row(*head, row["mode"], state, *numbers, bars)
    return table


_MODES = {
    "static": "static: A does not depend on the input; exact",
    "nominal": "nominal: an input-dependent A at its bias, from weights alone; an idealisation",
    "data": "data: observed on tokens",
}


#: Of a layer observed on tokens: growth at some of them is undone at others.
_GROWS = " (in data mode |λ| > 1 is growth at a token, not instability)"


#: What λ is in a gauge, where that is not plain.
_GAUGES = {
    "retained": "in gauge retained λ is the share of what a token reads that comes from before it",
    "dsf": "in gauge dsf, that of the papers, λ is a ratio of normalisers, which a bias on the "
    "keys changes though no output does: not for comparing models",
}


def _gauges(run: Run, domain: str, rows: dict[int, Row]) -> Iterable[str]:
    """Lines about the gauges that layers are shown in, and which have not the one asked for."""
    layers: dict[str, list[int]] = {}
    for number, row in rows.items():
        layers.setdefault(row["gauge"], []).append(number)
    every = {row["gauge"] for row in summaries_in_gauges(run, domain)}
    others = f"; also in the tables: {', '.join(sorted(every - {*layers}))}"
    yield f"gauge: {', '.join(sorted(layers))}{others if every - {*layers} else ''}"
    yield from (text for gauge, text in _GAUGES.items() if gauge in layers)
    asked = run.manifest.settings().get("gauge")
    if asked is not None:
        for gauge, numbers in layers.items():
            if gauge != asked:
                yield f"not in gauge {asked}, which they do not have: {_layers(numbers)} ({gauge})"


def _legend(view: _View, rows: dict[int, Row], gauges: Iterable[str]) -> Text:
    lines = [text for mode, text in _MODES.items() if mode in {r["mode"] for r in rows.values()}]
    grows = any(row["mode"] == "data" and not row["stable"] for row in rows.values())
    lines += [view.stability + (_GROWS if grows else ""), *gauges]
    lines.append(
        f"median and bars: the timescale {view.timescale}, on a log axis; the outermost bars "
        f"take in what lies beyond, {view.growth} on the right"
    )
    bound = max(row[bound_name(name)] or 0 for row in rows.values() for name in MODULUS_SHARES)
    if bound > 0:
        lines.append(f"shares are within {percent(bound)} of those observed")
    unstable = [n for n, row in rows.items() if not row["stable"] and row["mode"] != "data"]
    if unstable:
        lines.append(f"not stable: {_layers(unstable)}")
    return Text("\n".join(lines), style="dim")


def _layers(numbers: list[int]) -> str:
    return f"layer{'s' if len(numbers) > 1 else ''} {ranges(sorted(numbers))}"


def _timescale(decay_rate: float, growth: str) -> str:
    if decay_rate < 0:
        return growth
    return humanise(1 / decay_rate if decay_rate else math.inf)
