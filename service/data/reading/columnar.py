"""Parquet and Arrow IPC as sources: their types become those that a table has, and nothing in their footers is believed.

A file is read piece by piece and checked; it is written anew afterwards and never mapped as it came.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from service.data.forms import as_texts
from service.data.layout import CATEGORY, TIMESTAMP
from service.data.reading.formats import ARROW, PARQUET
from service.data.reading.names import check_names
from service.data.reading.source import CELLS, Place, check_cells, row_place
from service.errors import InvalidTable, shown

BATCH_ROWS = 64 << 10
_PIECE_CELLS = 1 << 20


class _Opened(Protocol):
    """A file that is open."""

    schema: pa.Schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its rows."""


class ColumnarFile:
    """A file of columns that have types. `open_file` opens it anew for each reading."""

    texts_are_texts = True

    def __init__(self, path: Path, kind: str) -> None:
        self._path = path
        self._kind = kind
        with readable(kind):
            self._schema = _open(path, kind).schema
        self.names = tuple(self._schema.names)
        check_names(self.names)
        for field in self._schema:
            _check_type(field.name, field.type)

    @cached_property
    def stated(self) -> Mapping[int, str]:
        """Dictionaries of texts are categories, dates and times are times."""
        return {i: kind for i, field in enumerate(self._schema) if (kind := _stated(field.type))}

    def batches(self) -> Iterator[list[pa.Array]]:
        """The rows, in pieces of a bounded number of cells."""
        rows = 0
        with readable(self._kind):
            opened = _open(self._path, self._kind)
            for batch in opened.batches():
                batch.validate(full=True)
                step = max(_PIECE_CELLS // len(self.names), 1)
                for start in range(0, batch.num_rows, step):
                    piece = batch.slice(start, step)
                    check_cells(rows + piece.num_rows, len(self.names))
                    yield [plain(array, name, rows) for name, array in zip(self.names, piece.columns, strict=True)]
                    rows += piece.num_rows

    def column(self, index: int) -> Iterator[pa.Array]:
        """The texts of one column."""
        for arrays in self.batches():
            yield as_texts(arrays[index])

    def place(self, row: int) -> Place:
        """The number of the row."""
        return row_place(row)


class readable:
    """Turns what the parser says of a damaged file into an InvalidTable."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # Memory that runs out is another matter, and pyarrow's error of it is a MemoryError.
        if isinstance(error, (pa.ArrowException, OSError, EOFError)) and not isinstance(error, MemoryError):
            if isinstance(error, OSError) and error.errno:
                return
            raise InvalidTable(
                f"the file is no sound {self._kind} file: {shown(str(error).splitlines()[0] if str(error) else '')}; "
                "write it again, or upload the table as CSV",
                metadata={"format": self._kind},
            ) from None


def plain(array: pa.Array, name: str, first_row: int) -> pa.Array:
    """Values of any accepted type as int64, float64, bool or string; NaN and NaT are missing."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return plain(array.dictionary_decode(), name, first_row)
    if pa.types.is_boolean(kind):
        return array
    if pa.types.is_null(kind):
        return pa.nulls(len(array), pa.string())
    if pa.types.is_integer(kind):
        if pa.types.is_uint64(kind):
            _check_unsigned(array, name, first_row)
        return pc.cast(array, pa.int64())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = pc.cast(array, pa.float64(), safe=False)
        return pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return _stamps(array)
    return pc.cast(array, pa.string())


def _stamps(array: pa.Array) -> pa.StringArray:
    """Dates and times as ISO 8601 writes them; those with a zone in UTC."""
    if pa.types.is_date(array.type):
        return pc.cast(pc.cast(array, pa.date32(), safe=False), pa.string())
    zone = "Z" if array.type.tz else ""
    bare = pc.cast(array, pa.timestamp(array.type.unit)) if zone else array
    return pc.binary_join_element_wise(pc.strftime(bare, format="%Y-%m-%dT%H:%M:%S"), zone, "")


def _check_unsigned(array: pa.Array, name: str, first_row: int) -> None:
    above = pc.index(pc.greater(array, pa.scalar((1 << 63) - 1, pa.uint64())), value=True).as_py()
    if above >= 0:
        row = first_row + above
        raise InvalidTable(
            f"row {row + 1}, column {shown(name)}: {array[above].as_py()} is no whole number of 64 bits with a sign: "
            "write the column as numbers of double precision",
            metadata={"row": str(row + 1), "column": name},
        )


def _stated(kind: pa.DataType) -> str:
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return TIMESTAMP
    return CATEGORY if pa.types.is_dictionary(kind) and _is_text(kind.value_type) else ""


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _accepted(kind: pa.DataType) -> bool:
    tests = (
        pa.types.is_boolean, pa.types.is_null, pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal,
        pa.types.is_date, pa.types.is_timestamp, _is_text,
    )  # fmt: skip
    # An extension type is none of these, though its storage may be.
    return any(test(kind) for test in tests)


def _check_type(name: str, kind: pa.DataType) -> None:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not _accepted(inner):
        raise InvalidTable(
            f"column {shown(name)} is of the type {shown(kind)}, which no column of a table can be; accepted are "
            "numbers, booleans, texts, dates and times: turn it into columns of these, or leave it away",
            metadata={"column": name, "type": str(kind)[:100]},
        )


def _open(path: Path, kind: str) -> _Opened:
    if kind == PARQUET:
        return _Parquet(path)
    with path.open("rb") as file:
        is_file = file.read(6) == b"ARROW1"
    assert kind == ARROW
    return _ArrowFile(path) if is_file else _ArrowStream(path)


class _Parquet:
    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        # No buffering ahead: it would hold a row group, whose size the file chooses.
        self._file = pq.ParquetFile(
            pa.OSFile(str(path)),
            memory_map=False,
            pre_buffer=False,
            buffer_size=1 << 20,
            arrow_extensions_enabled=False,
        )
        self.schema = self._file.schema_arrow
        _refuse_claim(self._file.metadata.num_rows, len(self.schema))

    def batches(self) -> Iterator[pa.RecordBatch]:
        return self._file.iter_batches(_rows_at_once(self.schema), use_threads=False)


class _ArrowFile:
    def __init__(self, path: Path) -> None:
        self._reader = pa.ipc.open_file(pa.OSFile(str(path)), options=pa.ipc.IpcReadOptions(use_threads=False))
        self.schema = self._reader.schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        return (self._reader.get_batch(i) for i in range(self._reader.num_record_batches))


class _ArrowStream:
    def __init__(self, path: Path) -> None:
        self._reader = pa.ipc.open_stream(pa.OSFile(str(path)), options=pa.ipc.IpcReadOptions(use_threads=False))
        self.schema = self._reader.schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        return iter(self._reader)


def _rows_at_once(schema: pa.Schema) -> int:
    return max(min(BATCH_ROWS, _PIECE_CELLS // max(len(schema), 1)), 1)


def _refuse_claim(rows: int, columns: int) -> None:
    """A footer that claims too much is believed; one that claims little is not, for rows are counted as they come."""
    if rows > CELLS:
        check_cells(rows, max(columns, 1))
    check_cells(rows, columns)
