"""Writes a table as an Arrow file (layout.py)."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa

from service.data.detect import Detected
from service.data.forms import typed
from service.data.layout import ARROW_TYPES, BATCH_CELLS, CATEGORY, TYPE_KEY
from service.data.scan import Scanned
from service.data.texts import read_texts


def write_table(path: Path, scanned: Scanned, columns: Sequence[Detected], target: Path) -> None:
    """Write the CSV file `path`, whose columns were detected, to `target`, in batches of bounded size."""
    schema = pa.schema([pa.field(c.name, ARROW_TYPES[c.type], metadata={TYPE_KEY: c.type.encode()}) for c in columns])
    coders = {index: _Coder(column.categories) for index, column in enumerate(columns) if column.type == CATEGORY}
    waiting: list[list[pa.Array]] = [[] for _ in columns]
    rows = 0
    with pa.OSFile(str(target), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for _, parts in groupby(read_texts(path, scanned, range(len(columns))), key=lambda part: part.first_row):
            for part in parts:
                kind = columns[part.index].type
                made = coders[part.index].codes(part.texts) if kind == CATEGORY else typed(kind, part.texts)
                waiting[part.index].append(made)
            rows += len(waiting[0][-1])
            if rows * len(columns) >= BATCH_CELLS:
                writer.write_batch(_batch(waiting, coders, schema))
                rows = 0
        if rows:
            writer.write_batch(_batch(waiting, coders, schema))


class _Coder:
    """Turns texts into codes into the sorted categories."""

    def __init__(self, categories: Sequence[str]) -> None:
        self.dictionary = pa.array(categories, pa.string())
        self._codes = {text: code for code, text in enumerate(categories)}

    def codes(self, texts: pa.StringArray) -> pa.Int32Array:
        """The codes; null where the text is."""
        found = texts.dictionary_encode()
        # One more at the end for texts that are all null.
        translation = np.array([self._codes[text] for text in found.dictionary.to_pylist()] + [0], np.int32)
        return pa.array(
            translation.take(found.indices.fill_null(0).to_numpy()), mask=texts.is_null().to_numpy(zero_copy_only=False)
        )


def _batch(waiting: list[list[pa.Array]], coders: dict[int, _Coder], schema: pa.Schema) -> pa.RecordBatch:
    """What waits as one batch; nothing waits afterwards."""
    arrays = []
    for index, parts in enumerate(waiting):
        whole = pa.concat_arrays(parts)
        arrays.append(pa.DictionaryArray.from_arrays(whole, coders[index].dictionary) if index in coders else whole)
        parts.clear()
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
