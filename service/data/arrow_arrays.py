"""Columns of an Arrow file as NumPy arrays, copied only where a column comes in several batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from service.data.times import times_of
from traind.v1 import tables_pb2

Column = tables_pb2.Column


def arrays_of(
    kind: "Column.Type.ValueType", parts: Sequence[pa.Array]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
    """The values [rows] of a column's batches, as TableColumn has them, and where they are missing; None = nowhere."""
    missing = _join([_missing(part) for part in parts], np.bool_) if any(part.null_count for part in parts) else None
    values = _join([_values(part, kind) for part in parts], _DTYPES[kind])
    if missing is not None and kind in _FILL:
        values = np.where(missing, np.asarray(_FILL[kind], values.dtype), values)
    return values, missing


_DTYPES: "dict[Column.Type.ValueType, Any]" = {
    Column.INTEGER: np.int64,
    Column.NUMBER: np.float64,
    Column.BOOLEAN: np.bool_,
    Column.CATEGORY: np.int32,
    Column.TEXT: np.object_,
    Column.TIMESTAMP: "datetime64[us]",
}
# What stands where a value is missing; texts and times bring their own.
_FILL: "dict[Column.Type.ValueType, object]" = {
    Column.INTEGER: 0,
    Column.NUMBER: np.nan,
    Column.BOOLEAN: False,
    Column.CATEGORY: -1,
}


def _values(part: pa.Array, kind: "Column.Type.ValueType") -> npt.NDArray[Any]:
    """The values of one batch; undefined where they are missing."""
    if kind == Column.TIMESTAMP:
        return times_of(part)
    if kind == Column.TEXT:
        texts = np.empty(len(part), np.object_)
        texts[:] = ["" if text is None else text for text in part.to_pylist()]
        return texts
    data = part.buffers()[1]
    if kind == Column.BOOLEAN:
        return _bits(data, part.offset, len(part))
    return np.frombuffer(data, _DTYPES[kind])[part.offset : part.offset + len(part)]


def _missing(part: pa.Array) -> npt.NDArray[np.bool_]:
    """Where a batch has no value: [rows] bool."""
    valid = part.buffers()[0]
    return np.zeros(len(part), np.bool_) if valid is None else ~_bits(valid, part.offset, len(part))


def _bits(buffer: pa.Buffer, offset: int, length: int) -> npt.NDArray[np.bool_]:
    """Arrow's bits, least significant first, as bools."""
    packed = np.frombuffer(buffer, np.uint8)
    return np.unpackbits(packed, count=offset + length, bitorder="little")[offset:].view(np.bool_)


def _join(parts: Sequence[npt.NDArray[Any]], dtype: Any) -> npt.NDArray[Any]:
    """The batches of a column as one array; a single one is not copied."""
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, dtype)
