"""Arrow arrays from values of NumPy and Python, and back, by way of their buffers.

`pa.array`, `pa.scalar` and `to_numpy` first ask whether what they are given is of pandas, and where
pandas is installed they import it to find out, which takes a tenth of what weights mode does. How
the buffers are laid out: https://arrow.apache.org/docs/format/Columnar.html
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pyarrow as pa
else:
    np = lazy_import("numpy")
    pa = lazy_import("pyarrow")

ColumnType = Literal["string", "int32", "int64", "float64", "bool"]


@cache
def arrow_type(name: ColumnType) -> pa.DataType:
    """The Arrow type a `ColumnType` names."""
    return pa.bool_() if name == "bool" else getattr(pa, name)()


def arrow_array(values: np.ndarray | Sequence[Any], kind: ColumnType) -> pa.Array:
    """The values (n,) as Arrow stores `kind`; None and NaN become null.

    The array shares the memory of values that NumPy holds in that form already.

    Raises:
        TypeError: a value is of another type.
        ValueError: a sequence of sequences, or text that is not Unicode.
        OverflowError: a number is not one that `kind` can hold.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        return _of_numbers(values, np.isnan(values) if values.dtype.kind == "f" else None, kind)
    # NaN is what does not equal itself.
    missing = np.fromiter((v is None or v != v for v in values), bool, len(values))
    blank = {"string": "", "bool": False}.get(kind, 0)
    filled = [blank if gone else value for value, gone in zip(values, missing, strict=True)]
    if kind == "string":
        return _of_texts(filled, missing)
    # NumPy would count True as 1 among numbers.
    if any(isinstance(value, (bool, np.bool)) != (kind == "bool") for value in filled):
        raise TypeError(f"truth values and numbers are two things: {filled!r:.80}")
    return _of_numbers(np.array(filled, bool if kind == "bool" else None), missing, kind)


def repeated(value: object, kind: ColumnType, rows: int) -> pa.Array:
    """One value for all rows; see `arrow_array`."""
    if kind == "string":
        return pa.repeat(arrow_array([value], kind)[0], rows)
    return arrow_array(np.full(rows, value), kind)


def numpy_array(numbers: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Numbers (n,) in NumPy, read-only; floats with NaN for null where there is a null."""
    chunks = numbers.chunks if isinstance(numbers, pa.ChunkedArray) else [numbers]
    parts = [_numbers(chunk) for chunk in chunks if len(chunk)]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([np.zeros(0, numbers.type.to_pandas_dtype()), *parts])


def _of_numbers(values: np.ndarray, missing: np.ndarray | None, kind: ColumnType) -> pa.Array:
    if values.dtype.kind not in ("b" if kind == "bool" else "iuf") or values.ndim != 1:
        raise TypeError(f"{values.dtype} of shape {values.shape} is no column of {kind}")
    if kind == "bool":
        data = np.packbits(values, bitorder="little")
    elif values.dtype == kind:
        data = np.ascontiguousarray(values)
    else:
        data = _cast(values if missing is None else np.where(missing, 0, values), kind)
    return _array(kind, len(values), missing, data)


def _cast(numbers: np.ndarray, kind: ColumnType) -> np.ndarray:
    """The same numbers in another type. Raises OverflowError where they would not be the same."""
    with np.errstate(invalid="ignore", over="ignore"):  # which is found out below
        cast = numbers.astype(kind)
        same = (cast == numbers) & (cast.astype(numbers.dtype) == numbers)
    if not same.all():
        raise OverflowError(f"{numbers[~same][0]} is not a number that fits")
    return cast


def _of_texts(texts: Sequence[Any], missing: np.ndarray) -> pa.Array:
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"{text!r:.80} is not text")
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)])
    return _array("string", len(texts), missing, _cast(ends, "int32"), b"".join(encoded))


def _array(
    kind: ColumnType, length: int, missing: np.ndarray | None, *buffers: np.ndarray | bytes
) -> pa.Array:
    validity = None
    if missing is not None and missing.any():
        validity = pa.py_buffer(np.packbits(~missing, bitorder="little"))
    data = [pa.py_buffer(buffer) for buffer in buffers]
    return pa.Array.from_buffers(arrow_type(kind), length, [validity, *data])


def _numbers(chunk: pa.Array) -> np.ndarray:
    validity, data = chunk.buffers()
    dtype = np.dtype(chunk.type.to_pandas_dtype())
    numbers = np.frombuffer(data, dtype, len(chunk), chunk.offset * dtype.itemsize)
    if not chunk.null_count:
        return numbers
    bits = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")
    return np.where(bits[chunk.offset :][: len(chunk)], numbers, np.nan)
