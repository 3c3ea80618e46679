"""Which part of the complex plane a picture shows, and how many eigenvalues its cells hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spectrakit.display.binning import counted, records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spectrakit.display.binning import Records
    from spectrakit.tables.distribution import Distribution, Floats

_DISC_WINDOWS = ((1.12, 0.04), (1.5, 0.05), (2.0, 0.0625), (3.0, 0.1))
"""How far the picture of the disc may reach, and its cells: 1 is always an edge of a cell."""

_ENOUGH = 0.995
"""The share of the eigenvalues that a window should hold; what it leaves out is named."""

_CELLS = 56


@dataclass(frozen=True)
class Window:
    """The part of the complex plane that is drawn, and the size of its cells.

    Rows of cells are centred on the real axis, where eigenvalues like to lie. `flat`: all of them
    lie there, and the window is a band along it.
    """

    left: float
    right: float
    top: float
    width: float
    height: float
    flat: bool

    def cells(self, eigenvalues: Distribution) -> Records:
        """The share of all eigenvalues in each cell (x0, x1) x (y0, y1) that holds any."""
        shown = eigenvalues.where(self.holds(eigenvalues))
        column = _outward(shown.real, self.width)
        row = np.rint(shown.imaginary / self.height).astype(np.int64)
        (x, y), count = counted([column, row], shown.count)
        return records(
            x0=x * self.width,
            x1=(x + 1) * self.width,
            y0=(y - 0.5) * self.height,
            y1=(y + 0.5) * self.height,
            share=count / eigenvalues.count.sum(),
        )

    def strips(self, eigenvalues: Distribution) -> Records:
        """The share of all eigenvalues in each strip (x0, x1), whatever their imaginary part."""
        shown = eigenvalues.where(self.holds(eigenvalues))
        (x,), count = counted([_outward(shown.real, self.width)], shown.count)
        share = count / eigenvalues.count.sum()
        return records(x0=x * self.width, x1=(x + 1) * self.width, share=share)

    def holds(self, eigenvalues: Distribution) -> NDArray[np.bool_]:
        """Which entries are drawn."""
        across = (eigenvalues.real >= self.left) & (eigenvalues.real <= self.right)
        return across & (np.abs(eigenvalues.imaginary) <= self.top)

    def beyond(self, eigenvalues: Distribution) -> float:
        """The share of the eigenvalues that is not drawn."""
        outside = ~self.holds(eigenvalues)
        return float(eigenvalues.count[outside].sum() / eigenvalues.count.sum())


def disc_window(eigenvalues: Distribution) -> Window:
    """A window around the unit disc, wider where the eigenvalues leave it."""
    flat = not eigenvalues.imaginary.any()
    for limit, cell in _DISC_WINDOWS:
        top, height = (limit / 2, 3 * cell) if flat else (limit, cell)
        window = Window(-limit, limit, top, cell, height, flat)
        if window.beyond(eigenvalues) <= 1 - _ENOUGH:
            break
    return window


def half_plane_window(eigenvalues: Distribution) -> Window:
    """A window on the eigenvalues in continuous time, with the imaginary axis in it."""
    tail = (1 - _ENOUGH) / 2
    left, right = _quantiles(eigenvalues.real, eigenvalues.count, (tail, 1 - tail))
    width = (max(right, 0.0) - min(left, 0.0) or 1.0) / _CELLS
    left = width * (math.floor(min(left, 0.0) / width) - 2)
    right = width * (math.ceil(max(right, 0.0) / width) + 2)
    (top,) = _quantiles(np.abs(eigenvalues.imaginary), eigenvalues.count, (1 - tail,))
    if top == 0:
        return Window(left, right, 1.0, width, 0.2, flat=True)
    return Window(left, right, 1.05 * top, width, 2.1 * top / _CELLS, flat=False)


def _outward(values: Floats, width: float) -> NDArray[np.int64]:
    """Cells closed on the side away from zero, so that 1 is inside the unit circle."""
    scaled = np.round(values / width, 9)
    return np.where(scaled > 0, np.ceil(scaled) - 1, np.floor(scaled)).astype(np.int64)


def _quantiles(values: Floats, weights: Floats, at: Sequence[float]) -> list[float]:
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    found = np.searchsorted(cumulative, np.array(at) * cumulative[-1])
    return [float(value) for value in values[order][found.clip(0, len(values) - 1)]]
