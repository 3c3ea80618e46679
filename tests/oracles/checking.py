"""What compares a run's columns with their recomputation, and records which ones were compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Interval:
    """What lies between two bounds, both (n,) or one for all rows; None expects null."""

    low: Sequence[float | None]
    high: Sequence[float | None]


def near(values, rel=0.0, absolute=0.0):
    """Values (n,), or one for all, within rel |value| + absolute; infinities exactly."""
    values = _floats(values)
    with np.errstate(invalid="ignore"):
        reach = np.where(np.isfinite(values), rel * np.abs(values) + absolute, 0.0)
    return between(values - reach, values + reach)


def between(low, high):
    """Values no less than `low` and no more than `high`; NaN in both expects null."""
    return Interval(_nullable(low), _nullable(high))


def _floats(values):
    return np.array([np.nan if v is None else v for v in np.atleast_1d(values).tolist()], float)


def _nullable(values):
    return [None if np.isnan(v) else v for v in _floats(values)]


class Report:
    """What one oracle compared: `compared` holds "table.column"."""

    def __init__(self):
        self.compared: set[str] = set()

    def compare(self, run, table, key, expected, where=None):
        """Hold rows of a run's table against `expected`, a column's values by its name.

        key: columns that tell rows apart, in `expected` too. where: columns and values of the rows
        that are looked at; of these, none may be missing or too many. They count as compared.

        Raises AssertionError with table, column, row and both values.
        """
        where = dict(where or {})
        rows = run.rows(table)
        for column, value in where.items():
            rows = [row for row in rows if row[column] == value]
        columns = {name: _column(values) for name, values in expected.items()}
        length = max((len(low) for low, _ in columns.values()), default=1)
        columns = {
            name: [side * length if len(side) == 1 else side for side in sides]
            for name, sides in columns.items()
        }
        key = key.split()
        found = {tuple(row[c] for c in key): row for row in rows}
        places = list(zip(*(columns[c][0] for c in key), strict=True)) if key else [()]
        assert len(found) == len(rows), f"{run}: {table}: {key} do not tell rows apart"
        missing, surplus = set(places) - set(found), set(found) - set(places)
        assert not missing, f"{run}: {table} lacks {len(missing)} rows, {min(missing, key=str)}"
        assert not surplus, f"{run}: {table}: {len(surplus)} more rows, {min(surplus, key=str)}"
        for name, (low, high) in columns.items():
            for place, least, most in zip(places, low, high, strict=True):
                value = found[place][name]
                at = f"{run}: {table}.{name} at {where | dict(zip(key, place, strict=True))}"
                assert _within(value, least, most), f"{at} is {value!r}, not {_said(least, most)}"
            self._record(table, name, low, high)
        for name, value in where.items():
            self._record(table, name, [value], [value])

    def _record(self, table, name, low, high):
        pairs = [pair for pair in zip(low, high, strict=True) if pair[0] is not None]
        bounded = [p for p in pairs if not (_number(p[0]) and p[0] == -np.inf and p[1] == np.inf)]
        # Where a column of zeros would do for what is not zero, nothing was compared.
        loose = [p for p in bounded if _number(p[0]) and p[0] < 0 < p[1] and p[0] != -p[1]]
        if len(loose) < len(bounded):
            self.compared.add(f"{table}.{name}")

    def note(self, *columns):
        """Columns whose values were held against something in another way than row by row."""
        self.compared.update(columns)


def _number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _column(values):
    """Lower and upper bounds of a column."""
    if isinstance(values, Interval):
        return values.low, values.high
    plain = values.tolist() if isinstance(values, np.ndarray) else values
    plain = [plain] if isinstance(plain, str) or not isinstance(plain, Sequence) else list(plain)
    return plain, plain


def _within(value, low, high):
    if low is None or value is None:
        return low is None and value is None
    if not (_number(low) and _number(value)):
        return type(value) is type(low) and value == low
    return low <= value <= high


def _said(low, high):
    return repr(low) if low == high else f"from {low!r} to {high!r}"


@dataclass(frozen=True)
class Oracle:
    """`run(report, long)` compares the `declared` columns, each "table.column"."""

    name: str
    run: Callable[[Report, bool], None]
    declared: set[str] = field(default_factory=set)


ORACLES: dict[str, Oracle] = {}
"""Every oracle by name, filled as the modules of this package are imported."""


def oracle(table, columns):
    """Declare that a function is an oracle of these columns; several tables by repetition."""
    declared = {f"{table}.{column}" for column in columns.split()}

    def declare(run):
        before = ORACLES.get(run.__name__)
        known = before.declared if before and before.run is run else set()
        assert before is None or before.run is run, f"two oracles are called {run.__name__}"
        ORACLES[run.__name__] = Oracle(run.__name__, run, declared | known)
        return run

    return declare
