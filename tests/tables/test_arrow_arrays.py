"""Arrow arrays by their buffers, against what pyarrow itself makes of the same values."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.tables.arrow_arrays import arrow_array, arrow_type, numpy_array, repeated
from tests.tables.samples import ROOT

#: What a column of each kind may hold.
VALUES = {
    "string": st.text(),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(allow_nan=False),
    "bool": st.booleans(),
}
NUMBERS = ("int32", "int64", "float64")


@st.composite
def columns(draw, kinds=tuple(VALUES)):
    kind = draw(st.sampled_from(kinds))
    missing = st.sampled_from([None, math.nan])
    return kind, draw(st.lists(VALUES[kind] | missing, max_size=40))


@given(columns())
def test_lists_become_what_pyarrow_makes_of_them(column):
    kind, values = column
    array = arrow_array(values, kind)
    array.validate(full=True)
    assert array.equals(pa.array(values, arrow_type(kind), from_pandas=True))


@given(columns(NUMBERS), st.sampled_from(["int8", "uint8", "int64", "uint64", "float32", ">f8"]))
def test_numpy_arrays_of_any_type_keep_their_numbers_or_are_refused(column, dtype):
    kind, values = column
    with np.errstate(all="ignore"):
        given_numbers = np.array([math.nan if v is None else v for v in values]).astype(dtype)
    expected = [None if v != v else v for v in given_numbers.tolist()]
    try:
        array = arrow_array(given_numbers, kind)
    except OverflowError:
        native = given_numbers.astype(given_numbers.dtype.newbyteorder("="))
        with pytest.raises(pa.ArrowInvalid):
            pa.array(native, arrow_type(kind), from_pandas=True)
        return
    array.validate(full=True)
    assert array.to_pylist() == expected


@pytest.mark.parametrize("kind", NUMBERS)
def test_memory_that_is_in_that_form_is_shared_and_a_stride_is_not(kind):
    numbers = np.arange(6).astype(kind)
    assert arrow_array(numbers, kind).buffers()[1].address == numbers.ctypes.data
    assert arrow_array(numbers[::2], kind).to_pylist() == [0, 2, 4]
    assert arrow_array(numbers[::-1], kind).to_pylist() == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("values", "kind", "error"),
    [
        ([2**31], "int32", OverflowError),
        (np.array([2**31]), "int32", OverflowError),
        (np.array([2**63], np.uint64), "int64", OverflowError),
        ([0.5], "int64", OverflowError),
        ([math.inf], "int64", OverflowError),
        (np.array([2.0**63]), "int64", OverflowError),
        ([2**53 + 1], "float64", OverflowError),
        ([2**70], "int64", TypeError),
        (["1"], "float64", TypeError),
        ([1j], "float64", TypeError),
        ([True], "int32", TypeError),
        ([1, True], "float64", TypeError),
        (np.array([True]), "int32", TypeError),
        ([1], "bool", TypeError),
        (np.array([1]), "bool", TypeError),
        ([3], "string", TypeError),
        (np.array([3]), "string", TypeError),
        (np.zeros((2, 2)), "float64", TypeError),
        ([[1.0], [2.0]], "float64", TypeError),
        ([[1.0], [2.0, 3.0]], "float64", ValueError),
        (["\ud800"], "string", ValueError),
    ],
)
def test_what_does_not_fit_is_refused(values, kind, error):
    with pytest.raises(error):
        arrow_array(values, kind)


def test_numbers_that_fit_are_taken_whatever_they_are_written_as():
    assert arrow_array([1.0, None, 3.0], "int32").to_pylist() == [1, None, 3]
    assert arrow_array([1, 2], "float64").to_pylist() == [1.0, 2.0]
    assert arrow_array([np.float32(0.5), np.int64(2)], "float64").to_pylist() == [0.5, 2.0]
    assert arrow_array(np.array([1.0, math.nan]), "int64").to_pylist() == [1, None]
    assert arrow_array([np.True_, None], "bool").to_pylist() == [True, None]
    assert arrow_array(np.array(["a", None], object), "string").to_pylist() == ["a", None]
    assert arrow_array(np.array(["a", "é"]), "string").to_pylist() == ["a", "é"]


@pytest.mark.parametrize("value", ["é", 3, 0.25, True, math.nan])
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_value_is_repeated(value, rows):
    kind = {str: "string", int: "int32", float: "float64", bool: "bool"}[type(value)]
    expected = None if value != value else value
    assert repeated(value, kind, rows).to_pylist() == [expected] * rows


@given(columns(NUMBERS), st.integers(0, 40), st.integers(0, 40), st.booleans())
def test_numbers_come_back_as_pyarrow_gives_them(column, start, length, chunked):
    kind, values = column
    array = pa.array(values, arrow_type(kind), from_pandas=True).slice(start, length)
    if chunked:
        array = pa.chunked_array([array, array.slice(1), array.slice(0, 0)], arrow_type(kind))
    expected = array.to_numpy() if chunked else array.to_numpy(zero_copy_only=False)
    found = numpy_array(array)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == ("float64" if array.null_count else kind)


def test_tables_do_without_pandas(tmp_path):
    """A `pandas` that is found, but not looked for."""
    (tmp_path / "pandas.py").write_text("__version__ = '0'\n")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from spectrakit.tables import SPECTRUM, RunWriter\n"
        "from spectrakit.tables.arrow_arrays import numpy_array\n"
        "from tests.tables.samples import manifest, spectrum_columns\n"
        "with RunWriter(Path(sys.argv[1]), manifest()) as writer:\n"
        "    writer.append(SPECTRUM, SPECTRUM.table(spectrum_columns()))\n"
        "numpy_array(writer.run.table('spectrum')['re'])\n"
        "print({'pandas', 'pyarrow.compute', 'pyarrow.dataset'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run")],
        env={"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"
