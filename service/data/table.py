"""Tables in memory: columns of NumPy arrays, out of an Arrow file or out of the values of a call."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from service.data.layout import TYPE_KEY
from service.data.values import column_from_values
from service.errors import InvalidField, Violation, invalid, shown
from traind.v1 import tables_pb2

Column = tables_pb2.Column

NUMERIC = frozenset({Column.INTEGER, Column.NUMBER})
# Of the first rows that are shown, so that they fit into a message.
HEAD_BYTES = 2 << 20


@dataclass(frozen=True)
class TableColumn:
    """One column. `type` is a Column.Type and decides what `values` [rows] holds.

    INTEGER int64 · NUMBER float64 · BOOLEAN bool · CATEGORY int32 codes into `categories` · TEXT and TIMESTAMP str.
    Where `missing` [rows] is true the value is 0, NaN, False, -1 or "".
    """

    name: str
    type: "Column.Type.ValueType"
    values: npt.NDArray[Any]
    # None where no value is missing.
    missing: npt.NDArray[np.bool_] | None = None
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Columns of one length, by name, in order."""

    columns: dict[str, TableColumn]
    row_count: int

    def column(self, name: str) -> TableColumn:
        """The column of that name. Raises InvalidField naming those there are."""
        if name not in self.columns:
            raise _no_column(name, list(self.columns))
        return self.columns[name]


def load_table(path: Path, names: Sequence[str] | None = None) -> Table:
    """Read columns (all of them, or `names` in that order) of an Arrow file that ingest wrote.

    Numbers of a file with one batch are not copied: they lie in the mapped file and are read-only. Starts no thread,
    for it runs in forked trainers.
    """
    return _read(path, names, None)


def _read(path: Path, names: Sequence[str] | None, row_limit: int | None) -> Table:
    source = pa.memory_map(str(path))
    all_names = pa.ipc.open_file(source).schema.names
    places = {name: place for place, name in enumerate(all_names)}
    wanted = all_names if names is None else list(names)
    if unknown := [name for name in wanted if name not in places]:
        raise _no_column(unknown[0], all_names)
    # An empty list would mean every column; the rows are counted by the first then.
    fields = sorted({places[name] for name in wanted}) or [0]
    reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(use_threads=False, included_fields=fields))
    batches, row_count = [], 0
    for i in range(reader.num_record_batches):
        if row_limit is None or row_count < row_limit:
            batch = reader.get_batch(i)
            batches.append(batch if row_limit is None else batch.slice(0, row_limit - row_count))
            row_count += batches[-1].num_rows
    read = {field.name: [batch.column(place) for batch in batches] for place, field in enumerate(reader.schema)}
    fields_read = {field.name: field for field in reader.schema}
    return Table({name: _column(fields_read[name], read[name]) for name in wanted}, row_count)


def table_from_values(columns: Sequence[tables_pb2.ColumnValues], wanted: Sequence[Column]) -> Table:
    """The rows of a call as a table with the columns `wanted`, in their order.

    INTEGER and NUMBER both become NUMBER: a model that learned from whole numbers answers for 2.5 too. Raises
    InvalidField naming `columns[i]…` for a column that is absent, unknown, twice there, or of another kind or length.
    """
    positions = _positions(columns, wanted)
    lengths = [max(len(column.numbers), len(column.strings)) for column in columns]
    made = {
        column.name: TableColumn(
            column.name,
            *column_from_values(columns[positions[column.name]], positions[column.name], column, lengths[0]),
        )
        for column in wanted
    }
    return Table(made, lengths[0] if lengths else 0)


def head(path: Path, n: int) -> list[tables_pb2.ColumnValues]:
    """The first `n` rows: numbers as `numbers` (NaN where missing), everything else as `strings`.

    Fewer where they would not fit into a message, at least one.
    """
    width = len(pa.ipc.open_file(pa.memory_map(str(path))).schema.names)
    n = min(n, max(HEAD_BYTES // 8 // width, 1))
    while True:
        columns = [_shown_column(column) for column in _read(path, None, n).columns.values()]
        size = sum(column.ByteSize() for column in columns)
        if size <= HEAD_BYTES or n == 1:
            return columns
        n = max(n * HEAD_BYTES // size, 1) if n * HEAD_BYTES // size < n else n - 1


def _no_column(name: str, known: Sequence[str]) -> InvalidField:
    listed = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    return invalid("columns", f"there is no column {shown(name)}; there are {listed or 'none'}")


def _positions(columns: Sequence[tables_pb2.ColumnValues], wanted: Sequence[Column]) -> dict[str, int]:
    """Where each wanted column stands in the call."""
    names = [column.name for column in wanted]
    expected = f"the model takes {', '.join(names[:20])}{', …' if len(names) > 20 else ''}"
    violations: list[Violation] = []
    positions: dict[str, int] = {}
    for i, column in enumerate(columns):
        if column.name in positions:
            violations.append(Violation(f"columns[{i}].name", f"{shown(column.name)} stands twice; send it once"))
        elif column.name not in names:
            violations.append(Violation(f"columns[{i}].name", f"{shown(column.name)} is unknown; {expected}"))
        positions.setdefault(column.name, i)
    violations += [
        Violation("columns", f"lacks {shown(name)}; {expected}, and {len(columns)} columns came")
        for name in names
        if name not in positions
    ]
    if violations:
        first = violations[0]
        raise InvalidField(f"{first.field}: {first.description}", violations[:20], {"field": first.field})
    return positions


def _column(field: pa.Field, parts: Sequence[pa.Array]) -> TableColumn:
    """One Arrow column, which may come in several batches, as NumPy."""
    kind = Column.Type.Value((field.metadata or {})[TYPE_KEY].decode())
    categories: tuple[str, ...] = ()
    if kind == Column.CATEGORY:
        categories = tuple(parts[0].dictionary.to_pylist()) if parts else ()
        parts = [part.indices for part in parts]
    missing = _join([_missing(part) for part in parts], np.bool_) if any(part.null_count for part in parts) else None
    values = _join([_values(part, kind) for part in parts], _DTYPES[kind])
    if missing is not None and kind in _FILL:
        values = np.where(missing, np.asarray(_FILL[kind], values.dtype), values)
    return TableColumn(field.name, kind, values, missing, categories)


_DTYPES: "dict[Column.Type.ValueType, Any]" = {
    Column.INTEGER: np.int64,
    Column.NUMBER: np.float64,
    Column.BOOLEAN: np.bool_,
    Column.CATEGORY: np.int32,
    Column.TEXT: np.object_,
    Column.TIMESTAMP: np.object_,
}
# What stands where a value is missing; texts bring their own "".
_FILL: "dict[Column.Type.ValueType, object]" = {
    Column.INTEGER: 0,
    Column.NUMBER: np.nan,
    Column.BOOLEAN: False,
    Column.CATEGORY: -1,
}


def _values(part: pa.Array, kind: "Column.Type.ValueType") -> npt.NDArray[Any]:
    """The values of one batch; undefined where they are missing."""
    if kind in {Column.TEXT, Column.TIMESTAMP}:
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


def _shown_column(column: TableColumn) -> tables_pb2.ColumnValues:
    missing = [] if column.missing is None else column.missing.tolist()
    if column.type in NUMERIC:
        numbers = column.values.astype(np.float64)
        if column.missing is not None:
            numbers[column.missing] = np.nan
        return tables_pb2.ColumnValues(name=column.name, numbers=numbers.tolist(), missing=missing)
    return tables_pb2.ColumnValues(name=column.name, strings=_strings(column), missing=missing)


def _strings(column: TableColumn) -> list[str]:
    values = column.values.tolist()
    if column.type == Column.CATEGORY:
        return [column.categories[code] if code >= 0 else "" for code in values]
    if column.type == Column.BOOLEAN:
        gone = [False] * len(values) if column.missing is None else column.missing.tolist()
        return ["" if absent else str(value).lower() for value, absent in zip(values, gone, strict=True)]
    return [str(text) for text in values]
