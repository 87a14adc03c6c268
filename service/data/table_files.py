"""Stored tables as CSV and as Parquet, some rows at a time: both are read back by our own ingest.

CSV is made for spreadsheets too: a text that one of them would take for a formula gets an apostrophe before it.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from service.data.layout import CATEGORY, TEXT, TYPE_KEY

# Rows and bytes that are written at once.
ROWS_AT_ONCE, BYTES_AT_ONCE = 16_384, 4 << 20
# Of a row group of Parquet: larger ones are read faster, and each is in memory here until it is complete.
GROUP_CELLS, GROUP_BYTES = 1_000_000, 16 << 20
# What makes a formula of a cell, and what is a number in spite of it.
_FORMULA = r"^[=+\-@\t\r]"
_NUMBER = r"^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$"


def csv(path: Path) -> Iterator[bytes]:
    """An Arrow file that ingest wrote as CSV: the header, then rows."""
    import pyarrow.csv as pcsv

    reader = _open(path)
    names = harmless(pa.array(reader.schema.names, pa.string()))
    yield _line(names)
    guarded = [_kind(entry) in {CATEGORY, TEXT} for entry in reader.schema]
    options = pcsv.WriteOptions(include_header=False, quoting_style="needed")
    for batch in _batches(reader, ROWS_AT_ONCE, BYTES_AT_ONCE):
        columns = [
            _texts(column, guarded=guard) if pa.types.is_dictionary(column.type) or guard else column
            for column, guard in zip(batch.columns, guarded, strict=True)
        ]
        out = io.BytesIO()
        pcsv.write_csv(pa.RecordBatch.from_arrays(columns, names=reader.schema.names), out, options)
        yield out.getvalue()


def parquet(path: Path) -> Iterator[bytes]:
    """An Arrow file that ingest wrote as Parquet, every value as it is."""
    import pyarrow.parquet as pq

    reader, out = _open(path), _Draining()
    rows = max(GROUP_CELLS // max(len(reader.schema), 1), 1)
    with pq.ParquetWriter(pa.PythonFile(out, mode="w"), reader.schema, compression="snappy") as writer:
        for batch in _batches(reader, rows, GROUP_BYTES):
            writer.write_table(pa.Table.from_batches([batch]), row_group_size=rows)
            yield out.drain()
    yield out.drain()


def harmless(texts: pa.StringArray) -> pa.StringArray:
    """Texts with an apostrophe before those that a spreadsheet would take for a formula; numbers stay."""
    formula = pc.and_(pc.match_substring_regex(texts, _FORMULA), pc.invert(pc.match_substring_regex(texts, _NUMBER)))
    if not pc.any(formula, min_count=0).as_py():
        return texts
    return pc.if_else(formula, pc.binary_join_element_wise("'", texts, ""), texts)


def _texts(column: pa.Array, *, guarded: bool) -> pa.StringArray:
    """A column of texts or categories as texts."""
    if not pa.types.is_dictionary(column.type):
        return harmless(column) if guarded else column
    # Categories are looked at once, and not each time that they stand in a row.
    known = harmless(column.dictionary) if guarded else column.dictionary
    return known.take(column.indices)


def _line(texts: pa.StringArray) -> bytes:
    """One line of CSV."""
    import csv as lines

    out = io.StringIO(newline="")
    lines.writer(out, lineterminator="\n").writerow(texts.to_pylist())
    return out.getvalue().encode()


def _batches(reader: pa.ipc.RecordBatchFileReader, rows: int, most_bytes: int) -> Iterator[pa.RecordBatch]:
    """The rows in batches of at most so many, and fewer where they are long."""
    for place in range(reader.num_record_batches):
        batch = reader.get_batch(place)
        start = 0
        while start < batch.num_rows:
            part = batch.slice(start, rows)
            while part.num_rows > 1 and part.nbytes > most_bytes:
                part = part.slice(0, max(part.num_rows * most_bytes // part.nbytes, 1))
            yield part
            start += part.num_rows


def _kind(entry: pa.Field) -> str:
    kind: str = (entry.metadata or {})[TYPE_KEY].decode()
    return kind


def _open(path: Path) -> pa.ipc.RecordBatchFileReader:
    return pa.ipc.open_file(pa.memory_map(str(path)), options=pa.ipc.IpcReadOptions(use_threads=False))


class _Draining(io.RawIOBase):
    """A file that is only written to, and whose bytes leave it while it grows."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._place = 0

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: "bytes | memoryview") -> int:  # type: ignore[override]
        """Keep some bytes until they are drained."""
        self._held += data
        self._place += len(data)
        return len(data)

    def tell(self) -> int:
        """Bytes that were written in all."""
        return self._place

    def drain(self) -> bytes:
        """What was written since the last time."""
        drained = bytes(self._held)
        self._held.clear()
        return drained
