"""Writes a table as an Arrow file: one column after the other, uncompressed, so that it can be mapped into memory."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from service.data.detect import BOOLEAN, CATEGORY, INTEGER, NUMBER, TEXT, TIMESTAMP, Detected, RawTable

# Where a field says which Column.Type it has: TEXT and TIMESTAMP are both strings.
TYPE_KEY = b"traind.type"
# Cells of one batch. A table below it is one batch, which a reader need not copy.
BATCH_CELLS = 4_000_000

_TYPES = {
    INTEGER: pa.int64(),
    NUMBER: pa.float64(),
    BOOLEAN: pa.bool_(),
    TIMESTAMP: pa.string(),
    CATEGORY: pa.dictionary(pa.int32(), pa.string()),
    TEXT: pa.string(),
}


def write(table: RawTable, columns: Sequence[Detected], target: Path) -> None:
    """Write the table with a column for each of `columns`, in batches of bounded size."""
    schema = pa.schema([pa.field(c.name, _TYPES[c.type], metadata={TYPE_KEY: c.type.encode()}) for c in columns])
    dictionaries = {i: pa.array(c.categories, pa.string()) for i, c in enumerate(columns) if c.type == CATEGORY}
    rows_at_once = max(BATCH_CELLS // len(columns), 1)
    with pa.OSFile(str(target), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for batch in table.typed(columns, rows_at_once):
            arrays = [
                _encoded(array, c.categories, dictionaries[i]) if i in dictionaries else array
                for i, (c, array) in enumerate(zip(columns, batch.columns, strict=True))
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def _encoded(texts: pa.Array, categories: Sequence[str], dictionary: pa.Array) -> pa.Array:
    """Texts as codes into the sorted dictionary; not by pyarrow.compute, whose import costs more than a small table."""
    found = texts.dictionary_encode()
    codes = {text: code for code, text in enumerate(categories)}
    # One more at the end for a batch that has no text at all; what stands where a value is missing does not matter.
    translation = np.array([codes[text] for text in found.dictionary.to_pylist()] + [0], np.int32)
    valid, data = found.indices.buffers()
    assert found.indices.offset == 0, "an array that was just made begins at its first byte"
    translated = pa.py_buffer(translation.take(np.frombuffer(data, np.int32)[: len(texts)], mode="clip"))
    indices = pa.Array.from_buffers(pa.int32(), len(texts), [valid, translated])
    return pa.DictionaryArray.from_arrays(indices, dictionary)
