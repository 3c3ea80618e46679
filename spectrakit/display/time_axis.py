"""The log axis that all layers of a picture share, and how many eigenvalues its cells hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spectrakit.display.binning import counted, records
from spectrakit.display.numbers import humanise

if TYPE_CHECKING:
    from spectrakit.display.binning import Records
    from spectrakit.tables.distribution import Distribution, Floats

_CELLS = 48
_SHORT = 2
"""Decades; a shorter axis is labelled between its powers of ten too."""


@dataclass(frozen=True)
class TimeAxis:
    """A log axis of timescales, with places at its ends for what has no place on it.

    low, high: log10 of its ends. Left of `low` comes what is forgotten at once, right of `high`
    what never decays, and right of that what grows; `growth` is how the domain says that.
    """

    low: float
    high: float
    forgets: bool
    keeps: bool
    grows: bool
    growth: str

    @property
    def span(self) -> float:
        """Decades from `low` to `high`."""
        return self.high - self.low

    @property
    def place(self) -> float:
        """Width of a place at the ends."""
        return 0.07 * self.span

    @property
    def gap(self) -> float:
        """What keeps a place apart."""
        return 0.02 * self.span

    @property
    def cell(self) -> float:
        """Width of a cell in decades: an even number of them make a decade."""
        return 1 / max(4, 2 * math.floor(_CELLS / self.span / 2))

    @property
    def left(self) -> float:
        """Where the axis begins, its place for 0 included."""
        return self.low - (self.gap + self.place) * self.forgets

    @property
    def right(self) -> float:
        """Where the axis ends, its places for infinity and for growth included."""
        return self.high + (self.gap + self.place) * (self.keeps + self.grows)

    @property
    def labels(self) -> dict[float, str]:
        """The ticks: powers of ten, unless close to a place at an end, and the places' names."""
        powers = range(math.floor(self.low), math.floor(self.high) + 1)
        steps = (1, 2, 5) if self.span <= _SHORT else (1,)
        marks = [
            (power + math.log10(step), step * 10.0**power) for power in powers for step in steps
        ]
        first = self.low + self.place * self.forgets
        last = self.high - self.place * (self.keeps or self.grows)
        labels = {at: humanise(mark) for at, mark in marks if first <= at <= last}
        if self.forgets:
            labels[self.place_of_zero + self.place / 2] = "0"
        if self.keeps:
            labels[self.place_of_infinity + self.place / 2] = "∞"
        if self.grows:
            labels[self.place_of_growth + self.place / 2] = self.growth
        return labels

    @property
    def place_of_zero(self) -> float:
        """Left edge of the place for what is forgotten at once."""
        return self.low - self.gap - self.place

    @property
    def place_of_infinity(self) -> float:
        """Left edge of the place for what never decays."""
        return self.high + self.gap

    @property
    def place_of_growth(self) -> float:
        """Left edge of the place for what grows."""
        return self.high + self.gap + (self.gap + self.place) * self.keeps

    def positions(self, timescale: Floats) -> Floats:
        """Where on the axis each timescale lies."""
        with np.errstate(divide="ignore", invalid="ignore"):
            power = np.log10(timescale)
        power = np.where(power < self.low, self.place_of_zero, power)
        power = np.where(power >= self.high, self.place_of_infinity, power)
        return np.where(timescale < 0, self.place_of_growth, power)

    def centres(self, timescale: Floats) -> Floats:
        """Where to mark each timescale: as `positions`, but in the middle of the places."""
        position = self.positions(timescale)
        on_axis = (position >= self.low) & (position < self.high)
        return np.where(on_axis, position, position + self.place / 2)

    def cells(self, layer: int, eigenvalues: Distribution) -> Records:
        """The share of a layer's eigenvalues in each cell (x0, x1) that holds any."""
        position = self.positions(eigenvalues.timescale)
        on_axis = (position >= self.low) & (position < self.high)
        index = np.floor((position - self.low) / self.cell)
        x0 = np.where(on_axis, self.low + index * self.cell, position)
        x1 = np.where(on_axis, x0 + self.cell, position + self.place)
        (left, right), count = counted([x0, x1], eigenvalues.count)
        share = count / eigenvalues.count.sum()
        return [{"layer": layer, **cell} for cell in records(x0=left, x1=right, share=share)]


def time_axis(eigenvalues: Distribution, lowest: int, highest: int, *, growth: str) -> TimeAxis:
    """The axis that holds the timescales of all layers, between 10^lowest and 10^highest."""
    timescale = eigenvalues.timescale
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.log10(timescale)
    on_axis = power[(power >= lowest) & (power < highest)]
    low = math.floor(2 * on_axis.min()) / 2 if len(on_axis) else 0
    high = math.floor(2 * on_axis.max() + 1) / 2 if len(on_axis) else 1
    high = max(high, low + 1)
    return TimeAxis(
        low=low,
        high=high,
        forgets=bool((power < low).any()),
        keeps=bool((power >= high).any()),
        grows=bool((timescale < 0).any()),
        growth=growth,
    )
