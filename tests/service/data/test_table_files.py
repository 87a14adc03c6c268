"""Stored tables as CSV and Parquet: harmless in a spreadsheet, read back to the same, some rows at a time."""

import csv
import io
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.data import table_files
from service.data.arrow_file import TableWriter, schema_of
from service.data.detect import Detected
from service.data.ingest import ingest_table

TEXTS = [
    "=1+1",
    "+cmd",
    "-cmd",
    "@sum",
    "\tx",
    "\rx",
    "-1.5",
    "+3e-4",
    "plain",
    'with "quotes", and\nlines',
    "펭귄",
    None,
]
COUNT = len(TEXTS)
KINDS = ["no", "=HYPERLINK(1)", "yes"]


def write(path, columns, arrays):
    writer = TableWriter(path, schema_of(columns))
    writer.write(pa.RecordBatch.from_arrays(arrays, schema=schema_of(columns)))
    writer.close()
    return path


@pytest.fixture
def stored(tmp_path):
    codes = pa.array([place % 3 for place in range(COUNT)], pa.int32())
    arrays = [
        pa.array(TEXTS, pa.string()),
        pa.DictionaryArray.from_arrays(codes, pa.array(sorted(KINDS), pa.string())),
        pa.array([None, *(-1.5e-300 * place for place in range(1, COUNT))], pa.float64()),
        pa.array(range(-5, COUNT - 5), pa.int64()),
        pa.array([True, None] * (COUNT // 2), pa.bool_()),
        pa.array(["2024-05-31T09:30:00+09:00"] * COUNT, pa.string()),
    ]
    columns = [
        Detected("=name", "TEXT", 1),
        Detected("kind", "CATEGORY", 0, tuple(sorted(KINDS))),
        Detected("x", "NUMBER", 1),
        Detected("n", "INTEGER", 0),
        Detected("yes", "BOOLEAN", COUNT // 2),
        Detected("at", "TIMESTAMP", 0),
    ]
    return write(tmp_path / "table.arrow", columns, arrays), arrays


def test_a_csv_file_is_harmless_and_whole(stored):
    path, arrays = stored
    header, *rows = csv.reader(io.StringIO(b"".join(table_files.csv(path)).decode(), newline=""))
    assert header == ["'=name", "kind", "x", "n", "yes", "at"]
    guarded = ["'=1+1", "'+cmd", "'-cmd", "'@sum", "'\tx", "'\rx", *TEXTS[6:-1], ""]
    assert [row[0] for row in rows] == guarded
    assert [row[1] for row in rows][:3] == ["'=HYPERLINK(1)", "no", "yes"]
    assert [float(row[2]) if row[2] else None for row in rows] == arrays[2].to_pylist(), "numbers keep every digit"
    assert [int(row[3]) for row in rows] == arrays[3].to_pylist(), "no apostrophe before a number that is less than 0"
    assert [row[4] for row in rows] == ["true", ""] * (COUNT // 2)


def test_a_parquet_file_has_every_value(stored):
    path, arrays = stored
    read = pq.read_table(pa.BufferReader(b"".join(table_files.parquet(path))))
    assert read.column_names[0] == "=name"
    for column, array in zip(read.columns, arrays, strict=True):
        assert column.to_pylist() == array.to_pylist()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_our_own_ingest_takes_it_back(stored, tmp_path, kind):
    path, arrays = stored
    file = tmp_path / f"again.{kind}"
    file.write_bytes(b"".join(getattr(table_files, kind)(path)))
    read = ingest_table(file, tmp=tmp_path)
    assert (read.row_count, read.format) == (COUNT, kind.upper())
    again = pa.ipc.open_file(pa.OSFile(str(read.table))).read_all()
    for place in (2, 3, 4, 5):
        assert again.columns[place].to_pylist() == arrays[place].to_pylist()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_some_rows_at_a_time_are_in_memory(tmp_path, kind):
    rows = 1_000_000
    numbers = [pa.array(np.random.default_rng(1).standard_normal(rows)) for _ in range(4)]
    path = write(tmp_path / "large.arrow", [Detected(f"x{i}", "NUMBER", 0) for i in range(4)], numbers)
    before, most, size = pa.total_allocated_bytes(), 0, 0
    tracemalloc.start()
    try:
        for part in getattr(table_files, kind)(path):
            most = max(most, pa.total_allocated_bytes() - before)
            size += len(part)
        python = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 20 << 20
    assert most + python < 64 << 20
