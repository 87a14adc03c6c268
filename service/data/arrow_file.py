"""Writes a table as an Arrow file (layout.py): first as it is read, then, where texts became codes, anew."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.data.detect import Detected, Misfit, Seen, columns_to_see, refusal
from service.data.forms import typed
from service.data.layout import ARROW_TYPES, BATCH_BYTES, BATCH_CELLS, CATEGORY, NUMBER, TEXT, TYPE_KEY, kind_of
from service.data.reading.source import ReadAgain, Source, check_cells
from service.errors import InvalidTable, TooLarge

# Of an Arrow file: a file that is compressed may claim to hold anything.
TABLE_BYTES = 4 << 30
CATEGORIES = 20
CATEGORIES_SHARE = 0.05


def write_table(source: Source, asked: Mapping[str, str], target: Path) -> tuple[list[Detected], int]:
    """Write a table to `target`; answers its columns, of the types that were asked for or found, and its rows.

    Raises InvalidTable for a value that does not fit and for infinite numbers, TooLarge for too many cells or bytes.
    """
    spool = target.with_suffix(".spool")
    seen = _spool(source, asked, spool)
    rows = seen[0].rows
    if not rows:
        raise InvalidTable("the table has 0 data rows", metadata={"rows": "0"})
    categories = _categories(spool, [column.type for column in seen], rows)
    columns = [
        Detected(
            name, column.type or (CATEGORY if i in categories else TEXT), column.missing, tuple(categories.get(i, ()))
        )
        for i, (name, column) in enumerate(zip(source.names, seen, strict=True))
    ]
    if schema_of(columns).equals(pa.ipc.open_file(pa.OSFile(str(spool))).schema, check_metadata=True):
        spool.rename(target)
    else:
        _rewrite(spool, columns, target)
        spool.unlink()
    return columns, rows


def read_batches(path: Path, indices: Sequence[int]) -> Iterator[pa.RecordBatch]:
    """The batches of an Arrow file with those columns only, in the order of the file."""
    options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=sorted(indices))
    with pa.OSFile(str(path)) as file:
        reader = pa.ipc.open_file(file, options=options)
        for i in range(reader.num_record_batches):
            yield reader.get_batch(i)


def _spool(source: Source, asked: Mapping[str, str], path: Path) -> list[Seen]:
    """Write all rows as they are read; answers what was seen of every column."""
    while True:
        seen = columns_to_see(source, asked)
        try:
            _write_batches(source, seen, path)
        except ReadAgain:
            continue
        for index, column in enumerate(seen):
            if column.unfit:
                raise refusal(source, index, NUMBER)
        return seen


def _write_batches(source: Source, seen: Sequence[Seen], path: Path) -> None:
    """One reading of the source."""
    writer = None
    try:
        for arrays in source.batches():
            kept = [_taken(source, seen, index, array) for index, array in enumerate(arrays)]
            check_cells(seen[0].rows, len(seen))
            writer = writer or TableWriter(path, _read_schema(source.names, kept))
            writer.add(kept)
        if writer:
            writer.finish()
    finally:
        if writer:
            writer.close()


def _taken(source: Source, seen: Sequence[Seen], index: int, array: pa.Array) -> pa.Array:
    try:
        return seen[index].take(array)
    except Misfit:
        raise refusal(source, index, seen[index].type) from None


class TableWriter:
    """Writes rows to an Arrow file in batches of bounded size."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._file = pa.OSFile(str(path), "wb")
        # A job's process writes tables too, and no thread may be started in it.
        options = pa.ipc.IpcWriteOptions(use_threads=False)
        self._writer = pa.ipc.new_file(self._file, schema, options=options)
        self._waiting: list[list[pa.Array]] = [[] for _ in schema]
        self._rows = self._bytes = 0

    def add(self, arrays: Sequence[pa.Array]) -> None:
        """More rows."""
        for several, array in zip(self._waiting, arrays, strict=True):
            several.append(array)
        self._rows += len(arrays[0])
        self._bytes += sum(array.get_total_buffer_size() for array in arrays)
        if self._rows * len(arrays) >= BATCH_CELLS or self._bytes >= BATCH_BYTES:
            self.finish()

    def finish(self) -> None:
        """Write what waits."""
        if self._rows:
            arrays = []
            for several in self._waiting:
                arrays.append(pa.concat_arrays(several))
                several.clear()
            self.write(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._rows = self._bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """One batch as it is."""
        self._writer.write_batch(batch)
        if self._file.tell() > TABLE_BYTES:
            raise TooLarge(
                f"the table takes more than {TABLE_BYTES >> 30} GiB in memory: upload fewer rows or columns",
                metadata={"limit": str(TABLE_BYTES)},
            )

    def close(self) -> None:
        """End the file."""
        self._writer.close()
        self._file.close()


def _rewrite(spool: Path, columns: Sequence[Detected], target: Path) -> None:
    """Write the rows with the types that their columns have."""
    schema = schema_of(columns)
    coders = {index: _Coder(column.categories) for index, column in enumerate(columns) if column.type == CATEGORY}
    writer = TableWriter(target, schema)
    try:
        for batch in read_batches(spool, range(len(columns))):
            arrays = [
                coders[i].coded(array)
                if i in coders
                else typed(column.type, array)
                if pa.types.is_string(array.type)
                else array
                for i, (column, array) in enumerate(zip(columns, batch.columns, strict=True))
            ]
            writer.write(pa.RecordBatch.from_arrays(arrays, schema=schema))
    finally:
        writer.close()


class _Coder:
    """Turns texts into codes into the sorted categories."""

    def __init__(self, categories: Sequence[str]) -> None:
        self._dictionary = pa.array(categories, pa.string())
        self._codes = {text: code for code, text in enumerate(categories)}

    def coded(self, texts: pa.StringArray) -> pa.DictionaryArray:
        """The texts as codes; null where the text is."""
        found = texts.dictionary_encode()
        # One more at the end for texts that are all null.
        translation = np.array([self._codes[text] for text in found.dictionary.to_pylist()] + [0], np.int32)
        gone = texts.is_null().to_numpy(zero_copy_only=False)
        codes = pa.array(translation.take(found.indices.fill_null(0).to_numpy()), mask=gone)
        return pa.DictionaryArray.from_arrays(codes, self._dictionary)


def _categories(spool: Path, types: Sequence[str | None], rows: int) -> dict[int, list[str]]:
    """The sorted values of the columns that are to be CATEGORY, and of those undecided that have few values."""
    limits = {CATEGORY: rows, None: max(CATEGORIES, int(CATEGORIES_SHARE * rows))}
    found: dict[int, set[str]] = {index: set() for index, kind in enumerate(types) if kind in limits}
    order = sorted(found)
    for batch in read_batches(spool, order) if order else ():
        for index, texts in zip(order, batch.columns, strict=True):
            if index in found:
                found[index].update(pc.unique(texts.drop_null()).to_pylist())
                if len(found[index]) > limits[types[index]]:
                    del found[index]
    return {index: sorted(values) for index, values in found.items()}


def schema_of(columns: Sequence[Detected]) -> pa.Schema:
    """The schema of a table with these columns."""
    return pa.schema([_field(column.name, ARROW_TYPES[column.type], column.type) for column in columns])


def _read_schema(names: Sequence[str], arrays: Sequence[pa.Array]) -> pa.Schema:
    """Of values as they are read."""
    return pa.schema([_field(name, a.type, kind_of(a.type)) for name, a in zip(names, arrays, strict=True)])


def _field(name: str, arrow_type: pa.DataType, kind: str) -> pa.Field:
    return pa.field(name, arrow_type, metadata={TYPE_KEY: kind.encode()})
