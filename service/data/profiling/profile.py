"""A table by figures: computed column by column from its Arrow file, exactly, in bounded memory.

What comes out is the contract's Profile in JSON, for the generated code would cost the ingest child too much time.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.data.arrow_file import read_batches
from service.data.layout import BOOLEAN, CATEGORY, INTEGER, NUMBER, TIMESTAMP, TYPE_KEY
from service.data.profiling import correlation
from service.data.profiling.arrays import GROUP_BYTES, Growing, Scratch, present
from service.data.profiling.duplicates import count_duplicates
from service.data.profiling.findings import findings
from service.data.profiling.numbers import Moments, number_figures, top_integers
from service.data.profiling.texts import Parts, Top, category_figures, text_figures, top_counted
from service.data.profiling.times import time_figures

# Bytes of the most frequent values of all columns together: so much fits into a message.
TOP_BYTES = 1 << 20


def profile_table(path: Path, scratch: Path) -> dict[str, Any]:
    """The profile of a table that ingest wrote. `scratch` is a folder for large arrays."""
    with pa.OSFile(str(path)) as file:
        schema = pa.ipc.open_file(file).schema
    return _Profiling(path, schema, Scratch(scratch)).run()


class _Profiling:
    def __init__(self, path: Path, schema: pa.Schema, scratch: Scratch) -> None:
        self._path = path
        self._scratch = scratch
        self._names = schema.names
        self._types = [field.metadata[TYPE_KEY].decode() for field in schema]
        self._rows = sum(batch.num_rows for batch in self._batches([0]))
        self._moments: dict[int, Moments] = {}

    def run(self) -> dict[str, Any]:
        columns = [self._column(index) for group in self._groups() for index in self._load(group)]
        correlated, matrix = self._correlation()
        _bound_tops(columns)
        apart = any(column["distinct_count"] == self._rows for column in columns)
        profile = {
            "row_count": self._rows,
            "columns": columns,
            "correlation": correlated,
            # Rows that one column tells apart need not be compared.
            "duplicate_row_count": 0
            if apart
            else count_duplicates(self._batches, len(self._names), self._rows, self._scratch),
        }
        profile["findings"] = findings(profile, matrix)
        written: dict[str, Any] = _json(profile)
        return written

    def _batches(self, indices: Sequence[int]) -> Iterator[pa.RecordBatch]:
        return read_batches(self._path, indices)

    def _groups(self) -> Iterator[list[int]]:
        """Columns that are read together, so that a wide table is not opened once for each."""
        several = max(GROUP_BYTES // (8 * self._rows), 1)
        for start in range(0, len(self._names), several):
            yield list(range(start, min(start + several, len(self._names))))

    def _load(self, group: list[int]) -> Iterator[int]:
        """Hold a group's batches where they are few bytes; answers its columns one by one."""
        self._held: dict[int, list[pa.Array]] = {}
        if len(group) > 1:
            held = list(self._batches(group))
            self._held = {index: [batch.column(i) for batch in held] for i, index in enumerate(group)}
        yield from group

    def _parts(self, index: int) -> Iterator[pa.Array]:
        if index in self._held:
            return iter(self._held[index])
        return (batch.column(0) for batch in self._batches([index]))

    def _column(self, index: int) -> dict[str, Any]:
        missing = sum(part.null_count for part in self._parts(index))
        count, kind = self._rows - missing, self._types[index]
        column: dict[str, Any] = {
            "name": self._names[index],
            "type": kind,
            "count": count,
            "missing_count": missing,
            "distinct_count": 0,
        }
        if not count:
            return column
        top: Top = []
        if kind in {INTEGER, NUMBER}:
            top = self._numbers(column, index, count)
        elif kind == BOOLEAN:
            top = self._booleans(column, index)
        elif kind == CATEGORY:
            column["texts"], column["distinct_count"], top = category_figures(self._parts_of(index))
        else:
            figures, column["distinct_count"], top = text_figures(self._parts_of(index), count, self._scratch)
            if kind == TIMESTAMP:
                column["times"] = time_figures(self._parts(index))
            else:
                column["texts"] = figures
        column["top_values"] = [{"value": value, "count": times} for value, times in top]
        return column

    def _parts_of(self, index: int) -> Parts:
        return lambda: self._parts(index)

    def _numbers(self, column: dict[str, Any], index: int, count: int) -> Top:
        whole = column["type"] == INTEGER
        values = Growing(self._scratch.reused(count, np.int64 if whole else np.float64))
        for part in self._parts(index):
            values.add(present(part))
        column["numbers"], column["distinct_count"], self._moments[index] = number_figures(values.values)
        return top_integers(values.values) if whole else []

    def _booleans(self, column: dict[str, Any], index: int) -> Top:
        true = sum(pc.sum(part).as_py() or 0 for part in self._parts(index))
        counts = [column["count"] - true, true]
        column["distinct_count"] = sum(times > 0 for times in counts)
        return top_counted(["false", "true"], counts)

    def _correlation(self) -> tuple[dict[str, Any], correlation.Matrix]:
        indices = [i for i, kind in enumerate(self._types) if kind in {INTEGER, NUMBER}][: correlation.COLUMNS]
        # A column without any value has no moments and correlates with nothing.
        moments = [self._moments.get(i, Moments(0.0, 0.0, True)) for i in indices]
        matrix = correlation.correlate(self._batches, indices, moments) if indices else np.empty((0, 0))
        shown = {"shape": list(matrix.shape), "values": matrix.ravel().tolist()}
        return {"columns": [self._names[i] for i in indices], "values": shown}, matrix


def _bound_tops(columns: Sequence[dict[str, Any]]) -> None:
    """Tell fewer of the most frequent values where all of them would not fit into a message."""
    for limit in (20, 5, 1, 0):
        for column in columns:
            column["top_values"] = column.get("top_values", [])[:limit]
        if sum(len(top["value"].encode()) for column in columns for top in column["top_values"]) <= TOP_BYTES:
            return


def _json(value: Any) -> Any:
    """The same with NaN and Inf written as the contract's JSON has them."""
    if isinstance(value, dict):
        return {key: _json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_json(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
