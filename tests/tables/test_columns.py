from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.errors import AnalysisError
from spectrakit.tables import SPECTRUM, Column, TableSchema
from tests.tables.samples import spectrum_columns

SMALL = TableSchema(
    "small",
    "a row of the test",
    (
        Column("name", "string", "A name."),
        Column("count", "int32", "How many."),
        Column("value", "float64", "How much.", "step", nullable=True),
        Column("sure", "bool", "Whether."),
        Column("big", "int64", "Very many.", nullable=True),
    ),
)
WHOLE = {"name": "x", "count": 1, "value": 0.5, "sure": True, "big": 2}


def test_scalars_alone_make_one_row():
    assert SMALL.table(WHOLE).to_pylist() == [WHOLE]


def test_scalars_hold_for_every_row_of_an_array():
    table = SMALL.table(WHOLE | {"count": np.arange(3)})
    assert table.column("count").to_pylist() == [0, 1, 2]
    assert table.column("name").to_pylist() == ["x"] * 3
    assert table.column("sure").to_pylist() == [True] * 3


def test_rows_may_be_said():
    assert SMALL.table(WHOLE, rows=4).num_rows == 4
    assert SMALL.table(WHOLE, rows=0).num_rows == 0


def test_a_nullable_column_left_out_is_null():
    table = SMALL.table({name: WHOLE[name] for name in ("name", "count", "sure")}, rows=2)
    assert table.column("value").to_pylist() == [None, None]
    assert table.column("value").type == pa.float64()


@pytest.mark.parametrize("missing", [np.nan, float("nan"), None])
def test_nan_and_none_are_null(missing):
    assert SMALL.table(WHOLE | {"value": missing}).column("value").to_pylist() == [None]
    values = SMALL.table(WHOLE | {"value": [1.0, missing, math.inf]}).column("value")
    assert values.to_pylist() == [1.0, None, math.inf]


@pytest.mark.parametrize(
    "values",
    [
        [1, 2],
        (1, 2),
        np.array([1, 2], np.uint8),
        np.array([1.0, 2.0], np.float32),
        pa.array([1, 2]),
        pa.chunked_array([[1], [2]]),
    ],
)
def test_many_kinds_of_values_are_taken(values):
    assert SMALL.table(WHOLE | {"count": values}).column("count").to_pylist() == [1, 2]


def test_numpy_and_torch_scalars_and_tensors_are_taken():
    torch = pytest.importorskip("torch")
    table = SMALL.table(
        WHOLE | {"count": np.int64(7), "value": torch.tensor([0.5, 0.25]), "big": torch.tensor(3)}
    )
    assert table.column("count").to_pylist() == [7, 7]
    assert table.column("value").to_pylist() == [0.5, 0.25]
    assert table.column("big").to_pylist() == [3, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "no column 'colour'"),
        ({"model_id": "me"}, "no column 'model_id'"),
        ({"count": 2**40}, "'count' must be int32"),
        ({"count": [1, 2**40]}, "'count' must be int32"),
        ({"count": "many"}, "'count' must be int32"),
        ({"count": 0.5}, "'count' must be int32"),
        ({"name": 3}, "'name' must be string"),
        ({"name": None}, "'name' lacks 1 of 1 values"),
        ({"count": [1, 2], "value": [0.1, 0.2, 0.3]}, "unequal length"),
        ({"sure": [True, None]}, "'sure' lacks 1 of 2 values"),
    ],
)
def test_a_value_that_does_not_fit_is_named(change, message):
    with pytest.raises(AnalysisError, match=message):
        SMALL.table(WHOLE | change)


def test_rows_that_disagree_with_an_array_are_refused():
    with pytest.raises(AnalysisError, match="'count' holds 3 values for 2 rows"):
        SMALL.table(WHOLE | {"count": [1, 2, 3]}, rows=2)


def test_a_missing_column_is_named():
    table = SMALL.table(WHOLE).drop_columns(["count"])
    with pytest.raises(AnalysisError, match="'count' is missing"):
        SMALL.conform(table)


def test_another_type_is_named():
    table = SMALL.table(WHOLE)
    table = table.set_column(1, "count", pa.array([1.5]))
    with pytest.raises(AnalysisError, match="'count' must be int32, not double"):
        SMALL.conform(table)


def test_nan_is_refused_where_a_table_comes_from_elsewhere():
    table = SMALL.table(WHOLE).set_column(2, "value", pa.array([math.nan]))
    with pytest.raises(AnalysisError, match="'value' holds NaN"):
        SMALL.conform(table)


@given(st.permutations([column.name for column in SPECTRUM.columns]))
def test_the_order_of_columns_is_the_schemas(order):
    table = SPECTRUM.table(spectrum_columns())
    assert SPECTRUM.conform(table.select(order)) == table


@given(
    st.lists(
        st.tuples(
            st.text(),
            st.integers(-(2**31), 2**31 - 1),
            st.none() | st.floats(allow_nan=False),
            st.booleans(),
            st.none() | st.integers(-(2**63), 2**63 - 1),
        )
    )
)
def test_values_come_out_as_they_went_in(rows):
    names = [column.name for column in SMALL.columns]
    columns = {name: [row[index] for row in rows] for index, name in enumerate(names)}
    table = SMALL.table(columns, rows=len(rows))
    assert table.to_pylist() == [dict(zip(names, row, strict=True)) for row in rows]


def test_a_column_that_is_there_twice_is_refused():
    columns = [pa.array(["a"]), pa.array([1], pa.int32())]
    fields = [SMALL.arrow.field("name"), SMALL.arrow.field("count")]
    table = pa.Table.from_arrays([*columns, columns[1]], schema=pa.schema([*fields, fields[1]]))
    with pytest.raises(AnalysisError, match="column 'count' twice"):
        SMALL.conform(table)
