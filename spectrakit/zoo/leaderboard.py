"""How the models of a zoo stand to each other: the boards, as one table.

What decides a place is said in `schemas.BOARDS`. Only like is set beside like, by what
`spectra.Comparable` says: runs whose layers are of one mode and gauge and, in data mode, have read
one text in sequences of one length. A hybrid has a place for each kind of its layers that differ
in these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from spectrakit._lazy import lazy_import
from spectrakit.display.numbers import humanise
from spectrakit.errors import MalformedError
from spectrakit.progress import Progress, Silent
from spectrakit.zoo.neighbours import Neighbours, neighbours
from spectrakit.zoo.schemas import BOARDS, LEADERBOARD
from spectrakit.zoo.spectra import CELL, Comparable, NoSpectrumError, Spectrum, spectra

if TYPE_CHECKING:
    import pyarrow as pa

    from spectrakit.tables.manifest import Manifest
    from spectrakit.zoo.results import Results
else:
    pa = lazy_import("pyarrow")

Row: TypeAlias = "dict[str, Any]"

MEMORY, SELECTIVE, PAIRS, ODDEST = BOARDS

MOST_PAIRS = 100
"""Closest pairs that are kept; the other boards have every run."""

_BIN = 0.01
"""How far a rate can be off that is known by its bin, of itself: as `relative_error` has it."""


@dataclass(frozen=True)
class _Entry:
    """A run among those it may be compared with.

    all_layers: of its model, also others. untrained: whether weights of it were drawn anew.
    """

    run: str
    model_id: str
    revision: str
    all_layers: int
    untrained: bool
    spectrum: Spectrum

    @property
    def identity(self) -> Row:
        """Its columns."""
        return {"run": self.run, "model_id": self.model_id, "revision": self.revision}

    @property
    def remarks(self) -> list[str]:
        """That it is a control; which part of the model this is, where it is not all of it."""
        layers = self.spectrum.layers
        told = ["weights drawn anew"] if self.untrained else []
        part = f"{layers} of {self.all_layers} layers"
        return [*told, part] if layers < self.all_layers else told


def leaderboard(results: Results, progress: Progress | None = None) -> pa.Table:
    """All boards of the finished runs: a table of `LEADERBOARD`, empty where there are none.

    Rows are in order of board, of what is compared (most runs first), rank and run; last come the
    runs that have no place on a board.
    """
    groups, without = _entries(results, progress or Silent())
    found = {group: _neighbours(entries) for group, entries in groups.items()}
    names = [column.name for column in LEADERBOARD.given]
    pieces = []
    for board in BOARDS:  # one after the other: rows as Python has them are large
        rows = list(_rows(board, groups, found, without))
        columns = {name: [row.get(name) for row in rows] for name in names}
        pieces.append(LEADERBOARD.table(columns, len(rows)))
    return pa.concat_tables(pieces).combine_chunks()


def _rows(
    board: str,
    groups: Mapping[Comparable, list[_Entry]],
    found: Mapping[Comparable, Neighbours],
    without: Sequence[Row],
) -> Iterator[Row]:
    for group, entries in groups.items():
        if board != SELECTIVE or group.mode != "static":
            yield from _labelled(board, group, _PLACES[board](entries, found[group]))
    yield from _without_place(board, groups, found)
    if board != PAIRS:
        yield from (row | {"board": board} for row in without)


def _entries(
    results: Results, progress: Progress
) -> tuple[dict[Comparable, list[_Entry]], list[Row]]:
    """Every run, by what it may be compared with; and those without a spectrum, with the reason."""
    groups: dict[Comparable, list[_Entry]] = {}
    without: list[Row] = []
    with progress.task("comparing", total=None, unit="runs") as task:
        for name, path, manifest in results.runs():
            task.advance(1)
            identity = {"model_id": manifest.model_id, "revision": manifest.revision, "run": name}
            try:
                found = spectra(path, manifest)
            except (NoSpectrumError, MalformedError) as error:
                without.append(identity | {"note": str(getattr(error, "message", error))})
                continue
            for group, spectrum in found.items():
                untrained = manifest.settings().get("randomize") is not None
                entry = _Entry(
                    **identity,
                    all_layers=_layers(manifest),
                    untrained=untrained,
                    spectrum=spectrum,
                )
                groups.setdefault(group, []).append(entry)
    largest_first = sorted(groups, key=lambda group: (-len(groups[group]), group))
    return {group: groups[group] for group in largest_first}, without


def _layers(manifest: Manifest) -> int:
    written = manifest.tables.get("layers")
    return 0 if written is None or written.rows is None else written.rows


def _neighbours(entries: Sequence[_Entry]) -> Neighbours:
    below = np.stack([entry.spectrum.below for entry in entries])
    return neighbours(below, CELL, [entry.revision for entry in entries], MOST_PAIRS)


# ---- the boards --------------------------------------------------------------------------------


def _longest(entries: Sequence[_Entry], _: Neighbours) -> Iterator[Row]:
    for entry in entries:
        own = entry.spectrum
        told = [f"median {humanise(own.median)}"]
        if own.longest is not None and own.layers > 1:
            value, layer = own.longest
            told.append(f"longest in layer {layer}: {humanise(value)}")
        yield entry.identity | {
            "value": own.timescale,
            "unit": "step",
            "uncertainty": _BIN * own.timescale if math.isfinite(own.timescale) else None,
            "layers": own.layers,
            "note": "; ".join([*told, *entry.remarks]),
        }


def _selective(entries: Sequence[_Entry], _: Neighbours) -> Iterator[Row]:
    for entry in entries:
        own = entry.spectrum
        if own.spread is None or own.widest is None:
            continue
        value, layer = own.widest
        told = [f"most in layer {layer}: {humanise(value)}"] if own.layers > 1 else []
        yield entry.identity | {
            "value": own.spread,
            "unit": "decade",
            "layers": own.layers,
            "note": "; ".join([*told, *entry.remarks]) or None,
        }


def _closest(entries: Sequence[_Entry], found: Neighbours) -> Iterator[Row]:
    for distance, one, other in found.pairs:
        yield _apart(entries[one], entries[other], distance)


def _odd(entries: Sequence[_Entry], found: Neighbours) -> Iterator[Row]:
    for entry, nearest, distance in zip(
        entries, found.nearest.tolist(), found.distance.tolist(), strict=True
    ):
        if nearest >= 0:
            yield _apart(entry, entries[nearest], distance)


def _apart(entry: _Entry, other: _Entry, distance: float) -> Row:
    return entry.identity | {
        "value": distance,
        "unit": "decade",
        # The cell that stands for a rate is its own or, of Mamba in data mode, the next.
        "uncertainty": 2 * CELL,
        "layers": entry.spectrum.layers,
        "other_run": other.run,
        "other_model_id": other.model_id,
        "other_revision": other.revision,
        "note": "; ".join(entry.remarks) or None,
    }


_PLACES: dict[str, Callable[[Sequence[_Entry], Neighbours], Iterable[Row]]] = {
    MEMORY: _longest,
    SELECTIVE: _selective,
    PAIRS: _closest,
    ODDEST: _odd,
}
#: Boards on which the least value comes first.
_LEAST_FIRST = (PAIRS,)


def _labelled(board: str, group: Comparable, rows: Iterable[Row]) -> Iterator[Row]:
    """The rows of one board among runs that may be compared, ranked."""
    sign = 1 if board in _LEAST_FIRST else -1
    in_order = sorted(
        rows, key=lambda row: (sign * row["value"], row["run"], row.get("other_run", ""))
    )
    labels = {
        "board": board,
        "mode": group.mode,
        "gauge": group.gauge,
        "text": group.text or None,
        "seq_len": group.seq_len or None,
    }
    rank, before = 0, None
    for place, row in enumerate(in_order, 1):
        if row["value"] != before:
            rank, before = place, row["value"]
        yield row | labels | {"rank": rank}


# ---- those without a place ---------------------------------------------------------------------

_NOT_SELECTIVE = {
    "static": "its decay rates are the same at every token",
    "nominal": "weights alone do not tell how decay rates vary: that needs mode data",
}
_NO_SPREAD = "its tables do not tell how decay rates vary over tokens"
_ALONE = "no other model of its mode and gauge to compare it with"


def _without_place(
    board: str,
    groups: Mapping[Comparable, list[_Entry]],
    found: Mapping[Comparable, Neighbours],
) -> Iterator[Row]:
    """The runs that have spectra, but not what this board is about, with the reason."""
    for group, entries in groups.items():
        for entry, nearest in zip(entries, found[group].nearest.tolist(), strict=True):
            if board == SELECTIVE and (group.mode == "static" or entry.spectrum.spread is None):
                note = _NOT_SELECTIVE.get(group.mode, _NO_SPREAD)
                yield entry.identity | {"board": board, "note": note}
            elif board == ODDEST and nearest < 0:
                yield entry.identity | {"board": board, "note": _ALONE}
