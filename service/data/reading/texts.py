"""The cells of a sound CSV file as columns of texts, block by block, in memory that does not grow with the file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from service.data.reading.scan import Scanned

MISSING = ("", "NA", "N/A", "NaN", "null", "None")
BLOCK_BYTES = 4 << 20
# For every column of texts that it reads at once pyarrow reserves a block and more. Little of it is touched, but it
# counts as memory; wide tables are therefore read by way of dictionaries, which take longer and reserve nothing.
RESERVED_BYTES = 256 << 20


@dataclass(frozen=True)
class Part:
    """Some rows of one column: texts, null where a value is missing."""

    first_row: int
    # Which column of the file.
    index: int
    texts: pa.StringArray


def read_texts(path: Path, scanned: Scanned, indices: Sequence[int]) -> Iterator[Part]:
    """Those columns: all parts of the first rows in the order of `indices`, then those of the next rows."""
    row = 0
    for arrays in read_columns(path, scanned, indices, {}) if indices else ():
        for index, texts in zip(indices, arrays, strict=True):
            yield Part(row, index, texts)
        row += len(arrays[0])


def read_columns(
    path: Path, scanned: Scanned, indices: Sequence[int], types: Mapping[int, pa.DataType]
) -> Iterator[list[pa.Array]]:
    """Those columns as arrays of `types`, of texts where none is given, some rows after some rows.

    Raises pyarrow.ArrowInvalid for a value that is not of the type, and, where the file is unchecked, for a row of
    another width.
    """
    row = 0
    for batch in _open(path, scanned, indices, types):
        row += batch.num_rows
        yield [_texts(column, scanned) if _textual(column.type) else column for column in batch.columns]
    if row != scanned.row_count:
        raise AssertionError(f"the parser sees {row} rows, {scanned.row_count} were counted")


def _open(
    path: Path, scanned: Scanned, indices: Sequence[int], types: Mapping[int, pa.DataType]
) -> pcsv.CSVStreamingReader:
    names = [f"c{index}" for index in range(len(scanned.names))]
    wanted = {index: names[index] for index in indices}
    block = max(BLOCK_BYTES, 2 * scanned.longest_row)
    wide = len(indices) * block > RESERVED_BYTES
    text = pa.dictionary(pa.int32(), pa.string()) if wide else pa.string()
    return pcsv.open_csv(
        str(path),
        read_options=pcsv.ReadOptions(use_threads=False, block_size=block, skip_rows=1, column_names=names),
        parse_options=pcsv.ParseOptions(
            delimiter=scanned.delimiter,
            newlines_in_values=scanned.multiline,
            quote_char=False if scanned.unchecked else '"',
            ignore_empty_lines=not scanned.unchecked,
        ),
        convert_options=pcsv.ConvertOptions(
            include_columns=list(wanted.values()),
            column_types={name: types.get(index, text) for index, name in wanted.items()},
            null_values=list(MISSING),
            strings_can_be_null=True,
        ),
    )


def _textual(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_dictionary(kind))


def _texts(column: pa.Array, scanned: Scanned) -> pa.StringArray:
    texts = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    return _bare(texts) if scanned.spaced else texts


def _bare(texts: pa.StringArray) -> pa.StringArray:
    """Spaces and tabs around a value mean nothing."""
    bare = pc.utf8_trim(texts, characters=" \t")
    return pc.if_else(pc.is_in(bare, value_set=pa.array(MISSING)), pa.scalar(None, pa.string()), bare)
