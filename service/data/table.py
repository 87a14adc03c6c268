"""Tables: columns of NumPy arrays, out of a mapped Arrow file or out of the values of a call."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from typing_extensions import override

from service.data.arrow_arrays import arrays_of
from service.data.layout import TYPE_KEY
from service.data.values import column_from_values
from service.errors import InvalidField, Violation, invalid, shown
from traind.v1 import tables_pb2

Column = tables_pb2.Column

NUMERIC = frozenset({Column.INTEGER, Column.NUMBER})
CATEGORICAL = frozenset({Column.CATEGORY, Column.BOOLEAN})
# Of the first rows that are shown, so that they fit into a message.
HEAD_BYTES = 2 << 20


@dataclass(frozen=True)
class TableColumn:
    """One column. `type` is a Column.Type and decides what `values` [rows] holds.

    INTEGER int64 · NUMBER float64 · BOOLEAN bool · CATEGORY int32 codes into `categories` · TIMESTAMP datetime64[us] in
    UTC · TEXT str. Where `missing` [rows] is true the value is 0, NaN, False, -1, NaT or "".
    """

    name: str
    type: "Column.Type.ValueType"
    values: npt.NDArray[Any]
    # None where no value is missing.
    missing: npt.NDArray[np.bool_] | None = None
    categories: tuple[str, ...] = ()
    # Where its values stand in a call, `columns[2].strings`; empty for those of a data set.
    path: str = field(default="", compare=False)

    @property
    def missing_count(self) -> int:
        """How many values are missing."""
        return 0 if self.missing is None else int(np.count_nonzero(self.missing))

    @property
    def present(self) -> Any:
        """What chooses the values that are there, as an index."""
        return slice(None) if self.missing is None else ~self.missing

    def take(self, rows: npt.NDArray[np.int64] | slice) -> "TableColumn":
        """The values of some rows; a slice copies nothing."""
        if isinstance(rows, slice) and rows == slice(None):
            return self
        missing = None if self.missing is None else self.missing[rows]
        if missing is not None and not missing.any():
            missing = None
        return replace(self, values=self.values[rows], missing=missing)


@dataclass(frozen=True)
class Table:
    """Columns of one length, by name, in order."""

    columns: Mapping[str, TableColumn]
    row_count: int

    def column(self, name: str) -> TableColumn:
        """The column of that name. Raises InvalidField naming those there are."""
        if name not in self.columns:
            raise _no_column(name, list(self.columns))
        return self.columns[name]

    def parts(self) -> Iterator[tuple[int, "Table"]]:
        """The table in pieces that lie in memory together: the first row of each, and the piece."""
        yield 0, self


class FileTable(Table):
    """A table in an Arrow file. A column is made when it is asked for, and kept by whoever asks.

    So the memory that a table costs is that of the columns, or of the piece, in use.
    """

    def __init__(self, file: "_ArrowFile", names: Sequence[str]) -> None:
        super().__init__(_FileColumns(file, names), sum(file.lengths))
        object.__setattr__(self, "file", file)

    file: "_ArrowFile"

    @override
    def parts(self) -> Iterator[tuple[int, Table]]:
        """The batches of the file."""
        first = 0
        for place, length in enumerate(self.file.lengths):
            yield first, Table({name: self.file.column(name, place) for name in self.columns}, length)
            first += length

    def window(self, first: int, end: int, names: Sequence[str]) -> Table:
        """The rows from `first` to before `end`, and of them those columns, in memory."""
        return Table({name: self.file.column(name, window=(first, end)) for name in names}, end - first)

    def stored(self, name: str, first: int, end: int) -> list[pa.Array]:
        """Some rows of a column as they lie in the file, in pieces; nothing is copied."""
        return self.file.arrays(name, (first, end))

    def field(self, name: str) -> pa.Field:
        """Name, type and Column.Type of a column as they lie in the file (layout.py)."""
        return self.file.fields[name][1]


class _FileColumns(Mapping[str, TableColumn]):
    """The columns of a file, each read anew when it is asked for."""

    def __init__(self, file: "_ArrowFile", names: Sequence[str]) -> None:
        self._file = file
        self._names = dict.fromkeys(names)

    @override
    def __getitem__(self, name: str) -> TableColumn:
        if name not in self._names:
            raise KeyError(name)
        return self._file.column(name)

    @override
    def __contains__(self, name: object) -> bool:
        return name in self._names

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    @override
    def __len__(self) -> int:
        return len(self._names)


class _ArrowFile:
    """A mapped Arrow file whose columns can be read one by one. Starts no thread: it is used in forked trainers.

    Every batch is opened whole, for that copies nothing; one of which only some columns were asked for would be read
    into memory.
    """

    def __init__(self, path: Path) -> None:
        self._reader = pa.ipc.open_file(pa.memory_map(str(path)), options=pa.ipc.IpcReadOptions(use_threads=False))
        self.fields: dict[str, tuple[int, pa.Field]] = {
            entry.name: (place, entry) for place, entry in enumerate(self._reader.schema)
        }
        self._dictionaries: dict[str, tuple[str, ...]] = {}

    @cached_property
    def lengths(self) -> list[int]:
        """Rows of each batch."""
        return [batch.num_rows for batch in self._batches]

    @cached_property
    def _batches(self) -> list[pa.RecordBatch]:
        return [self._reader.get_batch(place) for place in range(self._reader.num_record_batches)]

    def arrays(self, name: str, window: tuple[int, int]) -> list[pa.Array]:
        """A column's rows from the first number of `window` to before the second, as they lie in the file."""
        place, found, begin = self.fields[name][0], [], 0
        for batch in self._batches:
            start, stop = (min(max(edge - begin, 0), batch.num_rows) for edge in window)
            if start < stop:
                found.append(batch.column(place).slice(start, stop - start))
            begin += batch.num_rows
        return found

    def column(self, name: str, batch: int | None = None, window: tuple[int, int] | None = None) -> TableColumn:
        """A column, of one batch, of the rows of a window, or of all of them."""
        place, entry = self.fields[name]
        if window is not None:
            parts = self.arrays(name, window)
        else:
            batches = self._batches if batch is None else [self._batches[batch]]
            parts = [part.column(place) for part in batches]
        kind = Column.Type.Value((entry.metadata or {})[TYPE_KEY].decode())
        categories: tuple[str, ...] = ()
        if kind == Column.CATEGORY:
            categories = self._categories(name, parts)
            parts = [part.indices for part in parts]
        return _column(name, kind, parts, categories)

    def _categories(self, name: str, parts: Sequence[pa.DictionaryArray]) -> tuple[str, ...]:
        """All batches of a file share one dictionary."""
        if name not in self._dictionaries and parts:
            self._dictionaries[name] = tuple(parts[0].dictionary.to_pylist())
        return self._dictionaries.get(name, ())


def load_table(path: Path, names: Sequence[str] | None = None) -> FileTable:
    """The columns (all of them, or `names` in that order) of an Arrow file that ingest wrote.

    Numbers of a file with one batch are not copied: they lie in the mapped file and are read-only.
    """
    file = _ArrowFile(path)
    wanted = list(file.fields) if names is None else list(names)
    if unknown := [name for name in wanted if name not in file.fields]:
        raise _no_column(unknown[0], list(file.fields))
    return FileTable(file, wanted)


def numbers_of(column: TableColumn) -> npt.NDArray[np.float64]:
    """A column of numbers as float64 [rows], NaN where they are missing."""
    if column.missing is None or column.type == Column.NUMBER:
        return column.values.astype(np.float64, copy=False)
    return np.where(column.missing, np.nan, column.values)


def labels_of(column: TableColumn) -> tuple[str, ...]:
    """The texts that the values of a CATEGORY or BOOLEAN count."""
    return ("false", "true") if column.type == Column.BOOLEAN else column.categories


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
            *column_from_values(
                columns[positions[column.name]], f"columns[{positions[column.name]}]", column, lengths[0]
            ),
        )
        for column in wanted
    }
    return Table(made, lengths[0] if lengths else 0)


def head(path: Path, n: int) -> list[tables_pb2.ColumnValues]:
    """The first `n` rows: numbers as `numbers` (NaN where missing), everything else as `strings`.

    Fewer where they would not fit into a message, at least one.
    """
    reader = pa.ipc.open_file(pa.memory_map(str(path)), options=pa.ipc.IpcReadOptions(use_threads=False))
    n = min(n, max(HEAD_BYTES // 8 // len(reader.schema.names), 1))
    while True:
        columns = _first_rows(reader, n)
        size = sum(column.ByteSize() for column in columns)
        if size <= HEAD_BYTES or n == 1:
            return columns
        n = max(n * HEAD_BYTES // size, 1) if n * HEAD_BYTES // size < n else n - 1


def _first_rows(reader: pa.ipc.RecordBatchFileReader, n: int) -> list[tables_pb2.ColumnValues]:
    batches, rows = [], 0
    for place in range(reader.num_record_batches):
        if rows < n:
            batches.append(reader.get_batch(place).slice(0, n - rows))
            rows += batches[-1].num_rows
    return [
        _shown_column(entry, [batch.column(place) for batch in batches]) for place, entry in enumerate(reader.schema)
    ]


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


def _column(
    name: str, kind: "Column.Type.ValueType", parts: Sequence[pa.Array], categories: tuple[str, ...]
) -> TableColumn:
    """One Arrow column, which may come in several batches, as NumPy."""
    values, missing = arrays_of(kind, parts)
    if kind == Column.NUMBER:
        # NaN is no value either.
        nan = np.isnan(values)
        missing = nan if nan.any() else None
    return TableColumn(name, kind, values, missing, categories)


def _shown_column(entry: pa.Field, parts: Sequence[pa.Array]) -> tables_pb2.ColumnValues:
    """The values of a column as a preview tells them: times as the file has them."""
    kind = Column.Type.Value((entry.metadata or {})[TYPE_KEY].decode())
    values = [value for part in parts for value in part.to_pylist()]
    missing = [value is None for value in values] if None in values else []
    if kind in NUMERIC:
        numbers = [float("nan") if value is None else float(value) for value in values]
        return tables_pb2.ColumnValues(name=entry.name, numbers=numbers, missing=missing)
    strings = ["" if value is None else str(value) for value in values]
    if kind == Column.BOOLEAN:
        strings = [text.lower() for text in strings]
    return tables_pb2.ColumnValues(name=entry.name, strings=strings, missing=missing)
