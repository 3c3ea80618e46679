"""Which rows of hidden states are shown, and what was left out of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spectrakit.analyses.massive.tables import MASSIVE
from spectrakit.analyses.propagation.tables import PROPAGATION
from spectrakit.analyses.similarity.tables import SIMILARITY
from spectrakit.display.numbers import humanise, ranges

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from spectrakit.tables import Run
    from spectrakit.tables.summaries import Row

#: The tokens, and the coordinates, of the values that are shown first.
USUAL = "without_massive"
_MOST = 8


def is_usual(row: Row) -> bool:
    """Whether the row is without massive tokens and coordinates."""
    return bool(row["token_set"] == USUAL and row["coordinates"] == USUAL)


def limits_of(row: Mapping[str, Any]) -> list[str]:
    """The options that decide which tokens and coordinates the row leaves out."""
    places = (("tokens", "token_set"), ("coordinates", "coordinates"))
    return [f"massive.{limit}" for limit, column in places if row[column] == USUAL]


def massive_lines(run: Run) -> list[str]:
    """What was left out, in a line each for tokens and for coordinates; none where nothing was."""
    if MASSIVE.name not in run.tables:
        return []
    rows = run.table(MASSIVE.name).to_pylist()
    return [line for line in (_tokens(rows), _coordinates(rows), _with_them(run)) if line]


def left_out(run: Run) -> str:
    """How many massive tokens and coordinates there are, in a few words."""
    if MASSIVE.name not in run.tables:
        return ""
    rows = run.table(MASSIVE.name).to_pylist()
    counts = ((len(_places(rows)), "token"), (len(_indices(rows)), "coordinate"))
    return " and ".join(f"{n:,} massive {what}{'s' * (n > 1)}" for n, what in counts if n)


def is_of_all(row: Row) -> bool:
    """Whether the row is of all tokens, but perhaps the first, and of all coordinates."""
    return bool(row["token_set"] != USUAL and row["coordinates"] == "all")


def _with_them(run: Run) -> str:
    """What two of the shown numbers are where nothing is left out."""
    told = []
    if PROPAGATION.name in run.tables:
        rows = run.table(PROPAGATION.name).to_pylist()
        told.append(_range("cosine of two tokens", (
            row for row in rows
            if is_of_all(row) and row["token_set"] == row["coordinates"]
            and row["position_low"] is None
            and (row["metric"], row["of"]) == ("inter_token_cosine", "stream")
        )))  # fmt: skip
    if SIMILARITY.name in run.tables:
        rows = run.table(SIMILARITY.name).to_pylist()
        told.append(_range("CKA to the next depth", (
            row for row in rows
            if is_of_all(row) and row["estimator"] == "cka"
            and row["other_depth"] == row["depth"] + 1
        )))  # fmt: skip
    listed = "; ".join(filter(None, told))
    return f"with them: {listed}" if listed else ""


def _range(name: str, rows: Iterable[Row]) -> str:
    values = [row["value"] for row in rows if row["value"] is not None]
    return f"{name} {min(values):.3g} to {max(values):.3g}" if values else ""


def _places(rows: Iterable[Row]) -> set[tuple[int, int]]:
    return {(row["sequence"], row["position"]) for row in rows if row["kind"] == "token"}


def _indices(rows: Iterable[Row]) -> set[int]:
    return {row["coordinate"] for row in rows if row["kind"] == "coordinate"}


def _tokens(rows: list[Row]) -> str:
    places = _places(rows)
    if not places:
        return ""
    of_tokens = [row for row in rows if row["kind"] == "token"]
    largest = max(of_tokens, key=lambda row: row["ratio"])
    first = sum(position == 0 for _, position in places)
    beyond = sorted(place for place in places if place[1] > 0)
    told = [f"{first:,} first of their sequence"] if first else []
    told += [f"token {position} of sequence {sequence}" for sequence, position in beyond[:_MOST]]
    told += [f"{len(beyond) - _MOST:,} more"] if len(beyond) > _MOST else []
    return (
        f"massive tokens: {len(places):,} ({', '.join(told)}), at depths "
        f"{ranges(sorted({row['depth'] for row in of_tokens}))}; norms of up to "
        f"{humanise(largest['ratio'])} times the median, {largest['limit']:g} counts as massive"
    )


def _coordinates(rows: list[Row]) -> str:
    found = [row for row in rows if row["kind"] == "coordinate"]
    if not found:
        return ""
    peak: dict[int, float] = {}
    for row in found:
        peak[row["coordinate"]] = max(row["ratio"], peak.get(row["coordinate"], 0.0))
    order = sorted(peak, key=lambda index: -peak[index])
    more = f" and {len(order) - _MOST} more" if len(order) > _MOST else ""
    return (
        f"massive coordinates: {len(order)} ({', '.join(map(str, order[:_MOST]))}{more}); mean "
        f"squares or variances of up to {humanise(max(peak.values()))} times the median"
    )
