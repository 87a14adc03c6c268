"""Slices of a table as Arrow files of their own, and the table that they make one after the other.

A slice is written when it is known, by whatever process has come to it; the table has the same bytes then, however many
processes have worked at it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from service.data.arrow_file import TableWriter, schema_of
from service.data.detect import Detected
from service.data.layout import INTEGER
from service.data.preprocessing.apart import Rejected
from service.errors import TooLarge
from traind.v1 import tables_pb2

Column = tables_pb2.Column


@dataclass(frozen=True)
class Joined:
    """A table that was made of slices."""

    row_count: int
    # Of each column, in order.
    missing: list[int]
    sha256: str
    size_bytes: int


def schema_for(row: str, kept: Sequence[pa.Field], told: Sequence[Column]) -> pa.Schema:
    """The schema of a table with the rows' numbers, columns of another table, and columns of the contract."""
    made = [Detected(c.name, Column.Type.Name(c.type), 0, tuple(c.categories)) for c in told]
    first = schema_of([Detected(row, INTEGER, 0)])
    return pa.schema([*first, *kept, *schema_of(made)])


def rejected_columns(inputs: Sequence[str]) -> list[Column]:
    """The columns that follow the row's number in a table of rejected rows: the column, and the reason."""
    return [
        Column(name="column", type=Column.CATEGORY, categories=sorted(inputs)),
        Column(name="reason", type=Column.TEXT),
    ]


def rejected_arrays(rejected: Sequence[Rejected], first: int, inputs: Sequence[str]) -> list[pa.Array]:
    """Rejected rows as columns; `first` is the number in the data set, from 1, of the row whose place is 0."""
    codes = {name: code for code, name in enumerate(sorted(inputs))}
    places = pa.array([codes.get(one.column) for one in rejected], pa.int32())
    return [
        pa.array([first + one.row for one in rejected], pa.int64()),
        pa.DictionaryArray.from_arrays(places, pa.array(sorted(inputs), pa.string())),
        pa.array([one.reason for one in rejected], pa.string()),
    ]


def encode_classes(codes: npt.NDArray[Any], column: Column, classes: Sequence[str]) -> pa.Array:
    """Codes into classes [rows] as values of the target's column."""
    match column.type:
        case Column.CATEGORY:
            return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(classes, pa.string()))
        case Column.BOOLEAN:
            return pa.array(np.array([label == "true" for label in classes], np.bool_)[codes])
        case Column.INTEGER:
            return pa.array(np.array([int(label) for label in classes], np.int64)[codes])
        case _:
            return pa.array(np.array([float(label) for label in classes], np.float64)[codes])


def choose(pieces: Sequence[pa.Array], kind: pa.DataType, chosen: npt.NDArray[np.bool_]) -> pa.Array:
    """The chosen rows of a stored column that comes in pieces."""
    whole = pa.concat_arrays(pieces) if pieces else pa.array([], kind)
    return whole if chosen.all() else pc.filter(whole, pa.array(chosen))


def write_slice(path: Path, schema: pa.Schema, arrays: Sequence[pa.Array]) -> None:
    """Write some rows as a file of their own."""
    options = pa.ipc.IpcWriteOptions(use_threads=False)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema, options=options) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(list(arrays), schema=schema))


def join(slices: Iterable[Path], schema: pa.Schema, target: Path) -> Joined:
    """Write the rows of slices one after the other as one table. Raises TooLarge."""
    writer, rows, missing = TableWriter(target, schema), 0, [0] * len(schema)
    try:
        for path in slices:
            reader = pa.ipc.open_file(pa.memory_map(str(path)), options=pa.ipc.IpcReadOptions(use_threads=False))
            for place in range(reader.num_record_batches):
                batch = reader.get_batch(place)
                rows += batch.num_rows
                missing = [before + array.null_count for before, array in zip(missing, batch.columns, strict=True)]
                writer.add(batch.columns)
        writer.finish()
    except TooLarge as error:
        raise TooLarge(
            f"the predictions take more than {int(error.metadata['limit']) >> 30} GiB; keep fewer columns, leave the "
            "probabilities out, or predict a part of the rows at a time",
            metadata=error.metadata,
        ) from error
    finally:
        writer.close()
    with target.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Joined(rows, missing, sha256, target.stat().st_size)
