"""The spectra of a run, pooled: for each mode and gauge that its layers are in, one distribution.

Of every layer that a run analysed, `spectrum_histogram` has counts in bins of the decay rate. The
layers of one mode and gauge are laid over each other, each with the same weight, on one grid:

    x = log10(rate), rates from 1e-7 to 100 in bins of 1 %

What is slower has not decayed when the longest of texts ends, and what is faster is gone by the
next token: eigenvalues that never decay (|lambda| >= 1) lie in the first cell, and zeros in the
last. So no run is without a place on the grid, and every run is of one size, 8 kB.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from spectrakit._lazy import lazy_import
from spectrakit.analyses.spectrum.sketch import GROWTH, WIDTH
from spectrakit.errors import MalformedError
from spectrakit.plain import plain
from spectrakit.tables import SPECTRUM_HISTOGRAM, SPECTRUM_SUMMARY
from spectrakit.tables.arrow_arrays import numpy_array
from spectrakit.tables.parquet import RERUN

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray

    from spectrakit.tables.manifest import Manifest
else:
    pa = lazy_import("pyarrow")
    pq = lazy_import("pyarrow.parquet")

Floats: TypeAlias = "NDArray[np.float64]"

_FIRST = math.floor(math.log(1e-7) / WIDTH)
_LAST = math.floor(math.log(1e2) / WIDTH)
CELLS = _LAST - _FIRST + 1
CELL = math.log10(GROWTH)
"""Decades that a cell is wide."""

_LONG, _MEDIAN = 0.95, 0.5
_ROUNDING = 1e-12
#: Of attention; a bias on the keys changes it and no output: no number to compare models by.
_NOT_COMPARED = "dsf"


@dataclass(frozen=True, order=True)
class Comparable:
    """What the spectra of two runs must share to be compared.

    content, seq_len: of what was read in data mode, its SHA-256 ("" for the bundled text) and how
    long sequences were. text: what it is called; a copy of a file is the same text.
    """

    mode: str
    gauge: str
    content: str = ""
    seq_len: int = 0
    text: str = field(default="", compare=False)


@dataclass(frozen=True)
class Spectrum:
    """The eigenvalues of a run's layers of one mode and gauge.

    layers: how many these are. timescale, median: the 95 % and the 50 % quantile of the timescales,
    in steps; inf where so many never decay. longest: of all layers' 95 % quantiles the largest, and
    the layer's index. spread: the layers' mean standard deviation of log10(rate) over tokens, None
    where it is not known; widest: the largest, and the layer's index. below: the share of the
    distribution in all cells up to each: (CELLS,), float32.
    """

    layers: int
    timescale: float
    median: float
    longest: tuple[float, int] | None
    spread: float | None
    widest: tuple[float, int] | None
    below: NDArray[np.float32]


class NoSpectrumError(Exception):
    """A run has nothing that could be compared; says why, in a few words."""


def spectra(path: Path, manifest: Manifest) -> dict[Comparable, Spectrum]:
    """The spectra of the run in `path`.

    Raises:
        NoSpectrumError: it has none to compare.
        MalformedError: its tables cannot be read.
    """
    for schema in (SPECTRUM_HISTOGRAM, SPECTRUM_SUMMARY):
        if schema.name not in manifest.tables:
            raise NoSpectrumError("no discrete spectrum: the run has no table " + schema.name)
    summaries = dict(_by_labels(path / f"{SPECTRUM_SUMMARY.name}.parquet", _SUMMARIES))
    found = {
        _comparable(*labels, manifest): _pooled(bins, summaries.get(labels))
        for labels, bins in _by_labels(path / f"{SPECTRUM_HISTOGRAM.name}.parquet", _BINS)
    }
    if not found:
        raise NoSpectrumError("no discrete spectrum in a gauge that models are compared in")
    return found


def _comparable(mode: str, gauge: str, manifest: Manifest) -> Comparable:
    if mode != "data" or manifest.tokens is None:
        return Comparable(mode, gauge)
    settings = manifest.settings()
    content, text = "", "the bundled text"
    for name in ("text", "tokens"):
        if settings.get(name) is not None:
            sha = manifest.contents.get(name)
            content = sha or f"not known, of {settings[name]}"
            text = plain(Path(str(settings[name])).name) + (f" ({sha[:8]})" if sha else "")
    seq_len = settings.get("seq_len")
    return Comparable(mode, gauge, content, seq_len if isinstance(seq_len, int) else 0, text)


# ---- what the tables hold ----------------------------------------------------------------------

#: What tells rows of a table apart: whose mode and gauge they are.
_Labels: TypeAlias = "tuple[str, str]"
_WHERE = ("layer", "head", "domain", "mode", "gauge")


def _by_labels(
    file: Path, columns: tuple[str, ...]
) -> Iterator[tuple[_Labels, dict[str, NDArray[Any]]]]:
    """The rows of whole layers in discrete time, by mode and gauge: `layer` and these columns.

    A column that the file lacks is NaN, as null is.
    """
    rows = _whole_layers(file, columns)
    labels = list(zip(rows.pop("mode").tolist(), rows.pop("gauge").tolist(), strict=True))
    for label in sorted(set(labels)):
        if label[1] != _NOT_COMPARED:
            own = np.array([each == label for each in labels], bool)
            yield label, {name: values[own] for name, values in rows.items()}


def _whole_layers(file: Path, columns: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    wanted = (*_WHERE, *columns)
    found: dict[str, list[NDArray[Any]]] = {name: [] for name in wanted}
    try:
        with (
            pa.OSFile(os.fsencode(file), "rb") as opened,
            pq.ParquetFile(opened, read_dictionary=list(_WHERE[2:])) as table,
        ):
            stored = set(table.schema_arrow.names)
            there = [name for name in wanted if name in stored]
            for batch in table.iter_batches(columns=there, use_threads=False):
                part = {name: _values(batch, name) for name in wanted}
                whole = np.isnan(part["head"]) & (part["domain"] == "discrete")
                for name in wanted:
                    found[name].append(part[name][whole])
    except (OSError, pa.ArrowException, TypeError, ValueError, AttributeError) as error:
        raise MalformedError(f"{file} cannot be read: {error}", hint=RERUN) from error
    nothing = np.zeros(0)
    kept = {name: np.concatenate([nothing[:0], *parts]) for name, parts in found.items()}
    return {name: kept[name] for name in ("layer", "mode", "gauge", *columns)}


def _values(batch: pa.RecordBatch, name: str) -> NDArray[Any]:
    """A column as floats, or as words."""
    if name not in batch.schema.names:
        return np.full(batch.num_rows, np.nan)
    column = batch.column(name)
    if name in _WHERE[2:]:
        words = np.array([*column.dictionary.to_pylist(), None], object)
        return words[numpy_array(column.indices).astype(np.int64)]
    values: NDArray[Any] = numpy_array(column).astype(np.float64)
    return values


# ---- what is made of it ------------------------------------------------------------------------

_BINS = ("decay_rate_low", "decay_rate_high", "count")
_SUMMARIES = ("timescale_q95", "token_spread")


def _pooled(bins: Mapping[str, Floats], summaries: Mapping[str, Floats] | None) -> Spectrum:
    rate, count = _middle(bins["decay_rate_low"], bins["decay_rate_high"]), bins["count"]
    if np.isnan(rate).any() or not (np.isfinite(count) & (count > 0)).all():
        message = f"table {SPECTRUM_HISTOGRAM.name} has a bin without a rate or a count"
        raise MalformedError(message, hint=RERUN)
    _, layer = np.unique(bins["layer"], return_inverse=True)
    layers = int(layer.max()) + 1
    weight = count / np.bincount(layer, count)[layer] / layers
    falling = np.argsort(-rate, kind="stable")
    exceeded = np.cumsum(weight[falling])
    long, median = (
        _timescale(rate[falling][np.searchsorted(exceeded, share - _ROUNDING)])
        for share in (_LONG, _MEDIAN)
    )
    return Spectrum(
        layers=layers,
        timescale=long,
        median=median,
        below=np.cumsum(np.bincount(_cell(rate), weight, CELLS)).astype(np.float32),
        **_of_layers(summaries),
    )


def _of_layers(summaries: Mapping[str, Floats] | None) -> dict[str, Any]:
    """What the summaries say of the layers: see `Spectrum`."""
    if summaries is None:
        return {"longest": None, "spread": None, "widest": None}
    spread = summaries["token_spread"]
    known = len(spread) > 0 and not np.isnan(spread).any()
    return {
        "longest": _largest(summaries["timescale_q95"], summaries["layer"]),
        "spread": float(spread.mean()) if known else None,
        "widest": _largest(spread, summaries["layer"]) if known else None,
    }


def _largest(values: Floats, layer: Floats) -> tuple[float, int] | None:
    """The largest of the layers' values that are known, and the first layer that has it."""
    if np.isnan(values).all():
        return None
    where = int(np.nanargmax(values))
    return float(values[where]), int(layer[where])


def _middle(low: Floats, high: Floats) -> Floats:
    """The rate that stands for a bin; exact counters have low = high."""
    exact = low == high
    with np.errstate(invalid="ignore", over="ignore"):
        inside = np.sqrt(np.where(exact, 1, low * high))
        return np.where(exact, low, np.copysign(inside, high + low))


def _timescale(rate: float) -> float:
    return 1 / float(rate) if rate > 0 else math.inf


def _cell(rate: Floats) -> NDArray[np.int64]:
    """The cell of the grid that each rate lies in."""
    with np.errstate(divide="ignore", invalid="ignore"):
        position = np.floor(np.log(rate) / WIDTH) - _FIRST
    position = np.where(rate > 0, position, 0)  # never decays
    return position.clip(0, CELLS - 1).astype(np.int64)
