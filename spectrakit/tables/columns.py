"""What a table is: its columns with their types, units and meanings, said once.

The Arrow schema, the validation of what an analysis hands in, and `docs/tables.md` all follow
from a `TableSchema`. An analysis of a plugin describes its table with the same class.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from spectrakit._lazy import lazy_import
from spectrakit.errors import AnalysisError
from spectrakit.tables.arrow_arrays import (
    ColumnType,
    arrow_array,
    arrow_type,
    numpy_array,
    repeated,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pyarrow as pa
else:
    np = lazy_import("numpy")
    pa = lazy_import("pyarrow")

SCHEMA_VERSION = 3
"""The version of every table's layout; a reader refuses tables newer than it knows.

Raised when a column or a key of `run.json` goes, is renamed or changes its type, unit or whether it
may be null. A new table or column is no such change. What this version has is in tests/snapshots.
"""


@dataclass(frozen=True)
class Column:
    """One column: how it is stored, its unit ("" where there is none) and what it says."""

    name: str
    type: ColumnType
    meaning: str
    unit: str = ""
    nullable: bool = False

    def arrow(self) -> pa.Field:
        """The Arrow field, with `unit` and `meaning` in its metadata."""
        return pa.field(
            self.name,
            arrow_type(self.type),
            nullable=self.nullable,
            metadata={"unit": self.unit, "meaning": self.meaning},
        )


IDENTITY = (
    Column("model_id", "string", "The model: a Hub id, a catalog name or a local path."),
    Column("revision", "string", "The commit (or content hash) of the checkpoint that was read."),
)
"""The first columns of every table, so that runs concatenate; of one model, the sink has them."""


@dataclass(frozen=True)
class TableSchema:
    """A table: its name, what one row is, and the columns that follow `IDENTITY`.

    of_one_model: the sink fills the identity columns in; else each row is handed in with its own.
    """

    name: str
    row: str
    columns: tuple[Column, ...]
    of_one_model: bool = True

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """Every column as stored, `IDENTITY` first."""
        return IDENTITY + self.columns

    @cached_property
    def arrow(self) -> pa.Schema:
        """The stored Arrow schema, `IDENTITY` included."""
        return pa.schema([column.arrow() for column in self.all_columns])

    @property
    def given(self) -> tuple[Column, ...]:
        """The columns that are handed in: of one model, all but `IDENTITY`."""
        return self.columns if self.of_one_model else self.all_columns

    @cached_property
    def _own(self) -> pa.Schema:
        return pa.schema([column.arrow() for column in self.given])

    def table(self, columns: Mapping[str, Any], rows: int | None = None) -> pa.Table:
        """Build a table of the columns that are handed in: see `given`.

        A value is an array (NumPy, torch on the CPU, Arrow) or a sequence of `rows` entries, or a
        scalar that holds for all rows. A nullable column that is left out is null. NaN means
        missing, as null does. `rows` may be left out where an array tells it; scalars alone make
        one row.

        Raises:
            AnalysisError: a column is unknown, missing, of another length or of another type.
        """
        _refuse_unknown(self, columns)
        length = _rows(self, columns) if rows is None else rows
        arrays = [_array(self, column, columns.get(column.name), length) for column in self.given]
        return pa.table(arrays, schema=self._own)

    def conform(self, table: pa.Table) -> pa.Table:
        """`table` with this schema's columns in their order, after checking that they fit.

        Raises:
            AnalysisError: naming the column that is unknown, missing, there twice, of another type,
                or holds nulls or NaN where it must not.
        """
        names = table.column_names
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise AnalysisError(f"table {self.name!r} has the column {twice[0]!r} twice")
        columns = dict(zip(names, table.columns, strict=True))
        _refuse_unknown(self, columns)
        for column in self.given:
            _check(self, column, columns.get(column.name))
        return pa.table([columns[column.name] for column in self.given], schema=self._own)


def _refuse_unknown(schema: TableSchema, names: Mapping[str, Any]) -> None:
    known = {column.name for column in schema.given}
    unknown = [name for name in names if name not in known]
    if not unknown:
        return
    if unknown[0] in {column.name for column in IDENTITY}:
        hint = "leave it out: the run's sink fills it in"
    else:
        hint = f"the columns are {', '.join(column.name for column in schema.given)}"
    raise AnalysisError(f"table {schema.name!r} has no column {unknown[0]!r} to fill", hint=hint)


def _is_scalar(value: object) -> bool:
    if isinstance(value, (str, bytes)) or getattr(value, "ndim", None) == 0:
        return True
    return not hasattr(value, "__len__")


def _rows(schema: TableSchema, columns: Mapping[str, Any]) -> int:
    lengths = {name: len(value) for name, value in columns.items() if not _is_scalar(value)}
    if len(set(lengths.values())) > 1:
        raise AnalysisError(f"table {schema.name!r}: columns of unequal length: {lengths}")
    return next(iter(lengths.values()), 1)


def _array(schema: TableSchema, column: Column, value: Any, rows: int) -> pa.Array:  # noqa: ANN401
    try:
        array = _converted(value, column.type, rows)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise AnalysisError(
            f"table {schema.name!r}: column {column.name!r} must be {column.type}: {error}"
        ) from error
    if len(array) != rows:
        raise AnalysisError(
            f"table {schema.name!r}: column {column.name!r} holds {len(array)} values for "
            f"{rows} rows"
        )
    _check_nulls(f"table {schema.name!r}: column {column.name!r}", column, array)
    return array


def _converted(value: Any, kind: ColumnType, rows: int) -> pa.Array | pa.ChunkedArray:  # noqa: ANN401
    if _is_scalar(value):
        one = value.item() if hasattr(value, "item") else value  # a NumPy or torch scalar
        return pa.nulls(rows, arrow_type(kind)) if one is None else repeated(one, kind, rows)
    if isinstance(value, (pa.Array, pa.ChunkedArray)):
        return value.cast(arrow_type(kind))
    if hasattr(value, "__array__"):
        return arrow_array(value.__array__(), kind)
    return arrow_array(list(value), kind)


def _check(schema: TableSchema, column: Column, values: pa.ChunkedArray | None) -> None:
    where = f"table {schema.name!r}: column {column.name!r}"
    if values is None:
        raise AnalysisError(f"{where} is missing")
    if values.type != arrow_type(column.type):
        raise AnalysisError(f"{where} must be {column.type}, not {values.type}")
    _check_nulls(where, column, values)
    if column.type == "float64" and _has_nan(values):
        raise AnalysisError(f"{where} holds NaN", hint="a value that is not there is null")


def _check_nulls(where: str, column: Column, values: pa.Array | pa.ChunkedArray) -> None:
    if values.null_count and not column.nullable:
        raise AnalysisError(f"{where} lacks {values.null_count} of {len(values)} values")


def _has_nan(values: pa.ChunkedArray) -> bool:
    """Whether there is a NaN; in NumPy, nulls become NaN too."""
    array = numpy_array(values)
    return bool(np.count_nonzero(np.isnan(array)) > values.null_count)
