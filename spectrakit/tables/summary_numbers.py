"""Numbers that a run summarises, from tables of any shape, with how far each can be off.

A summary is told apart by where it is (a layer, a depth), and by what else its table has columns
for: domain, metric, positions. What it is of besides (a mode, a length of sequences) has to be the
same in both runs, or their numbers are two quantities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import pyarrow as pa

    from spectrakit.tables.run import Run

Row: TypeAlias = Mapping[str, Any]
#: What a number is of, by the code of `REASONS` where that of another run differs.
Conditions: TypeAlias = Mapping[str, object]


@dataclass(frozen=True)
class Number:
    """A value, None where its table has none, and its uncertainty, None where that is not known.

    conditions: what must be the same of two numbers for them to be one quantity.
    """

    value: float | None
    uncertainty: float | None
    conditions: Conditions = field(default_factory=dict)

    def unlike(self, other: Number) -> str | None:
        """The code of `REASONS` why the two are not one quantity; None where they are."""
        own, theirs = self.conditions, other.conditions
        return next((code for code in own if own[code] != theirs[code]), None)


def _as_stored(table: pa.Table) -> Iterable[Row]:
    rows: list[Row] = table.to_pylist()
    return rows


def _no_conditions(_row: Row, _settings: Mapping[str, object]) -> Conditions:
    return {}


@dataclass(frozen=True)
class SummaryTable:
    """Which columns of a table are summaries.

    place: the column that says where a row belongs. labels: columns that tell rows of a place
    apart. values: names and columns' numbers of a row. kept: which rows are summaries at all.
    errors: whether uncertainties are standard errors, or bounds. rows: of the table, put together
    where what it holds is finer than a summary. conditions: of a row, and of the settings of its
    run, what another run's must share.
    """

    table: str
    place: str
    labels: tuple[str, ...]
    values: Callable[[Row], Iterator[tuple[str, Number]]]
    kept: Callable[[Row], bool]
    errors: Literal["bound", "standard"]
    rows: Callable[[pa.Table], Iterable[Row]] = _as_stored
    conditions: Callable[[Row, Mapping[str, object]], Conditions] = _no_conditions

    def numbers(self, run: Run) -> dict[int, dict[str, dict[str, Number]]]:
        """By place, gauge, and metric with its labels; empty where the run lacks the table.

        The gauge is "" in a table that has none.
        """
        found: dict[int, dict[str, dict[str, Number]]] = {}
        if self.table not in run.tables:
            return found
        settings = run.manifest.settings()
        for row in self.rows(run.table(self.table)):
            if not self.kept(row):
                continue
            told = [str(row[label]) for label in self.labels if row[label] is not None]
            conditions = self.conditions(row, settings)
            gauge = row.get("gauge", "")
            numbers = found.setdefault(row[self.place], {}).setdefault(gauge, {})
            for name, number in self.values(row):
                of = {**number.conditions, **conditions}
                numbers[" ".join([name, *told])] = replace(number, conditions=of)
        return found

    def combined(self, one: Number, other: Number) -> tuple[float | None, str | None]:
        """The uncertainty of a difference, or the code of `REASONS` why it is not known."""
        if one.uncertainty is None or other.uncertainty is None:
            return None, "no-bound" if self.errors == "bound" else "no-standard-error"
        if self.errors == "standard":
            return math.hypot(one.uncertainty, other.uncertainty), None
        return one.uncertainty + other.uncertainty, None


def in_gauge(row: Row) -> Conditions:
    """That the other number is in the same gauge."""
    return {"other-gauge": row["gauge"]}


def options_alike(settings: Mapping[str, object], *names: str) -> Conditions:
    """That these options of the other run, `propagation.rank_tokens` and so on, are the same."""
    return {"other-option": tuple((name, settings.get(name)) for name in names)} if names else {}


def of_a_layer(row: Row) -> bool:
    """Whether it is of a layer as a whole."""
    return row["head"] is None and row.get("channel") is None
