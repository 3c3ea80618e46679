"""Where the eigenvalues of a run lie, gathered for drawing: points with counts.

The exact eigenvalues of `spectrum` and the bins of `spectrum_histogram` come out in one form, so
that every picture is drawn in one way.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from spectrakit._lazy import lazy_import
from spectrakit.tables import SPECTRUM, SPECTRUM_HISTOGRAM
from spectrakit.tables.arrow_arrays import numpy_array
from spectrakit.tables.gauges import in_shown_gauge

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
    from numpy.typing import NDArray

    from spectrakit.tables import Run
else:
    pa = lazy_import("pyarrow")
    pc = lazy_import("pyarrow.compute")

Floats: TypeAlias = "NDArray[np.float64]"

_PHASE_STEP = 1.0
"""Degrees; a wider bin of phase is drawn as several points, or the disc would show spokes."""

_LARGEST_LOG = 700.0
"""Of a modulus that is still a number; no picture reaches as far."""


@dataclass(frozen=True)
class Distribution:
    """Eigenvalues of all layers in one domain; entry i stands for `count[i]` of them.

    layer (index), decay_rate (-log|lambda| or -Re lambda), real, imaginary, count: (n,) each.
    """

    layer: Floats
    decay_rate: Floats
    real: Floats
    imaginary: Floats
    count: Floats

    def of_layer(self, layer: int) -> Distribution:
        """The part that belongs to one layer."""
        return self.where(self.layer == layer)

    def where(self, chosen: NDArray[np.bool_]) -> Distribution:
        """The chosen entries."""
        return Distribution(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @property
    def timescale(self) -> Floats:
        """1 / decay rate: inf where nothing decays, negative where it grows, 0 at |lambda| = 0."""
        with np.errstate(divide="ignore"):
            inverse: Floats = 1 / np.abs(self.decay_rate)
        return np.where(self.decay_rate < 0, -inverse, inverse)


def finest_distribution(
    run: Run, domain: str, gauge: str | None = None
) -> tuple[Distribution, frozenset[int]]:
    """As `distribution`, from bins only in layers that have nothing finer; and which those are."""
    exact, binned = _from_spectrum(run, domain, gauge), _from_histogram(run, domain, gauge)
    binned = binned.where(~np.isin(binned.layer, exact.layer))
    return _both(exact, binned), frozenset(np.unique(binned.layer).astype(int).tolist())


def distribution(
    run: Run, domain: str, *, fine_phases: bool = False, gauge: str | None = None
) -> Distribution:
    """The eigenvalues of `run` in `domain`; empty where there are none.

    gauge: of the layers that have it; None takes each in the one that it is shown in.

    The histogram says all there is to say of timescales, and of eigenvalues that are positive. Its
    phases are bins of several degrees; `fine_phases` takes the exact eigenvalues instead where the
    run has them. Continuous time has no histogram.
    """
    binned = _from_histogram(run, domain, gauge)
    if len(binned.count) and not (fine_phases and binned.imaginary.any()):
        return binned
    exact = _from_spectrum(run, domain, gauge)
    return _both(exact, binned.where(~np.isin(binned.layer, exact.layer)))


def _from_spectrum(run: Run, domain: str, gauge: str | None) -> Distribution:
    columns = ["layer", "decay_rate", "re", "im", "multiplicity"]
    if SPECTRUM.name not in run.tables:
        return _nothing()
    table = run.table(SPECTRUM.name)
    table = table.filter(pc.equal(table["domain"], domain))
    table = table.filter(_in_gauge(table, gauge))
    return Distribution(*(_floats(table, name) for name in columns))


def _from_histogram(run: Run, domain: str, gauge: str | None) -> Distribution:
    if SPECTRUM_HISTOGRAM.name not in run.tables:
        return _nothing()
    table = run.table(SPECTRUM_HISTOGRAM.name)
    # NumPy's masks suffice here, and spare most reports the import of pyarrow.compute.
    of_domain = [name == domain for name in table.column("domain").to_pylist()]
    rows = np.array(of_domain, bool) & np.isnan(_floats(table, "head"))
    rows &= _in_gauge(table, gauge)
    rate = _middle(_floats(table, "decay_rate_low"), _floats(table, "decay_rate_high"))[rows]
    low, high = _floats(table, "phase_low_deg")[rows], _floats(table, "phase_high_deg")[rows]
    parts = np.ceil((high - low) / _PHASE_STEP).clip(1).astype(int)
    index = np.repeat(np.arange(len(parts)), parts)
    part = np.arange(len(index)) - np.repeat(parts.cumsum() - parts, parts)
    phase = np.radians(low[index] + (high - low)[index] * (part + 0.5) / parts[index])
    modulus = np.exp((-rate[index]).clip(max=_LARGEST_LOG))
    return Distribution(
        layer=_floats(table, "layer")[rows][index],
        decay_rate=rate[index],
        real=modulus * np.cos(phase),
        imaginary=modulus * np.sin(phase),
        count=(_floats(table, "count")[rows] / parts)[index],
    )


def _in_gauge(table: pa.Table, gauge: str | None) -> NDArray[np.bool_]:
    if gauge is None:
        return in_shown_gauge(table)
    return np.array([name == gauge for name in table.column("gauge").to_pylist()], bool)


def _middle(low: Floats, high: Floats) -> Floats:
    """The rate that stands for a logarithmic bin; exact counters have low = high."""
    exact = low == high
    inside = np.sqrt(np.where(exact, 1, low * high))
    return np.where(exact, low, np.sign(high + low) * inside)


def _floats(table: pa.Table, name: str) -> Floats:
    values: Floats = numpy_array(table.column(name)).astype(np.float64)
    return values


def _both(one: Distribution, other: Distribution) -> Distribution:
    names = [field.name for field in fields(Distribution)]
    return Distribution(*(np.concatenate([getattr(one, n), getattr(other, n)]) for n in names))


def _nothing() -> Distribution:
    return Distribution(*(np.zeros(0) for _ in fields(Distribution)))
