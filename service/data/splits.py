"""Which rows are held out to measure with, and which are left to learn from."""

from typing import assert_never

import numpy as np
import numpy.typing as npt

from service.data.table import NUMERIC, Table, TableColumn, labels_of, numbers_of
from service.data.values import KNOWN_SHOWN
from service.errors import invalid, shown
from traind.v1 import splits_pb2, tables_pb2

Column = tables_pb2.Column

DEFAULT_FRACTION = 0.2
PATH = "job.train.split"
# Rows of which it is told who was held out: two bits for each fill most of the largest message.
MOST_SPLIT_ROWS = 14_000_000

Rows = npt.NDArray[np.int64]


def split_rows(
    table: Table, rows: Rows, split: splits_pb2.Split, labels: npt.NDArray[np.int64] | None, seed: int
) -> tuple[Rows, Rows]:
    """Of `rows`, which ascend, those to train with and those held out, both ascending.

    `labels` [rows] are class codes, None for numbers; with them every class keeps its share of a drawn fraction and at
    least one training row, unless the split says otherwise. The same arguments give the same rows on every machine and
    with every NumPy: the draw orders the raw numbers of PCG64. Raises InvalidField where no row would be left on
    either side.
    """
    kind = split.WhichOneof("kind")
    match kind:
        case "none" | None:
            return rows, rows[:0]
        case "hold_out":
            held = _drawn(len(rows), split.hold_out, labels, seed)
        case "column":
            held = _by_column(table.column(split.column.column).take(rows), split.column)
        case "time":
            held = _by_time(table.column(split.time.column).take(rows), split.time)
        case _:
            assert_never(kind)
    return rows[~held], rows[held]


def _drawn(
    count: int, hold_out: splits_pb2.HoldOut, labels: npt.NDArray[np.int64] | None, seed: int
) -> npt.NDArray[np.bool_]:
    """A fraction, drawn by the seed: [rows] whether it is held out."""
    wanted = _wanted(count, hold_out.fraction if hold_out.HasField("fraction") else DEFAULT_FRACTION)
    stratify = hold_out.stratify if hold_out.HasField("stratify") else labels is not None
    if stratify and labels is None:
        raise invalid(f"{PATH}.hold_out.stratify", "needs classes, and the target holds numbers; leave it out")
    order = np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable")
    chosen = _stratified(order, labels, wanted) if stratify and labels is not None else order[:wanted]
    held = np.zeros(count, np.bool_)
    held[chosen] = True
    return held


def _wanted(count: int, fraction: float) -> int:
    """How many rows to hold out, so that one is left on either side."""
    if count < 2:
        raise invalid(PATH, f'{count} rows cannot be split; set "none"')
    return min(max(int(count * fraction + 0.5), 1), count - 1)


def _stratified(order: Rows, labels: npt.NDArray[np.int64], wanted: int) -> Rows:
    """The first rows of each class in the drawn order, as many as its share of `wanted`."""
    classes, sizes = np.unique(labels, return_counts=True)
    takes = _shares(sizes, wanted)
    if not takes.any():
        raise invalid(PATH, 'every class has one row, so none can be held out; set "none"')
    drawn = labels[order]
    held: Rows = np.concatenate([order[drawn == label][:take] for label, take in zip(classes, takes, strict=True)])
    return held


def _shares(sizes: Rows, wanted: int) -> Rows:
    """How many of `wanted` rows each class gives: its share rounded down, the rest to the largest remainders."""
    shares = sizes * (wanted / sizes.sum())
    takes: Rows = np.minimum(shares.astype(np.int64), sizes - 1)
    # Ties go to the class that comes first.
    for index in np.argsort(takes - shares, kind="stable"):
        if takes.sum() == wanted:
            break
        takes[index] += takes[index] < sizes[index] - 1
    return takes


def _by_column(column: TableColumn, split: splits_pb2.SplitByColumn) -> npt.NDArray[np.bool_]:
    """The rows that have one of the values named; those without a value are trained with."""
    path = f"{PATH}.column"
    if column.type not in {Column.CATEGORY, Column.BOOLEAN, Column.INTEGER}:
        kind = Column.Type.Name(column.type)
        raise invalid(
            f"{path}.column",
            f"{shown(column.name)} is {kind}; rows are chosen by a CATEGORY, BOOLEAN or INTEGER column",
        )
    held = np.zeros(len(column.values), np.bool_)
    for index, text in enumerate(split.held_out):
        value = _value_of(column, text)
        found = np.zeros_like(held) if value is None else column.values == value
        if column.missing is not None:
            found &= ~column.missing
        if not found.any():
            raise invalid(
                f"{path}.held_out[{index}]",
                f"{shown(text)} stands in no row of column {shown(column.name)} that can be used; there are "
                f"{_listed(column)}",
            )
        held |= found
    if held.all():
        raise invalid(f"{path}.held_out", "would hold out every row; name fewer values, for rows to learn from")
    return held


def _value_of(column: TableColumn, text: str) -> int | None:
    """What stands in the column for a text of the file; None where that is nothing."""
    if column.type == Column.INTEGER:
        try:
            value = int(text)
        except ValueError:
            return None
        return value if -(1 << 63) <= value < 1 << 63 else None
    labels = labels_of(column)
    wanted = text.lower() if column.type == Column.BOOLEAN else text
    return labels.index(wanted) if wanted in labels else None


def _listed(column: TableColumn) -> str:
    there = np.unique(column.values[column.present]).tolist()
    labels = labels_of(column)
    names = [shown(labels[int(value)] if labels else value) for value in there[:KNOWN_SHOWN]]
    return ", ".join(names) + (f" and {len(there) - KNOWN_SHOWN} more" if len(there) > KNOWN_SHOWN else "")


def _by_time(column: TableColumn, split: splits_pb2.SplitByTime) -> npt.NDArray[np.bool_]:
    """The newest rows; those of the time at the border are all trained with where not all of them are held out."""
    path = f"{PATH}.time"
    times = _times(column, f"{path}.column")
    wanted = _wanted(len(times), split.fraction if split.HasField("fraction") else DEFAULT_FRACTION)
    border = np.partition(times, (len(times) - wanted - 1, len(times) - wanted))
    last_trained, first_held = border[len(times) - wanted - 1], border[len(times) - wanted]
    held: npt.NDArray[np.bool_] = times > last_trained if last_trained == first_held else times >= first_held
    if not held.any():
        raise invalid(
            f"{path}.fraction",
            f"the newest rows of {shown(column.name)} all have one time, so none can be held out; use a larger "
            "fraction, or another split",
        )
    return held


def _times(column: TableColumn, path: str) -> npt.NDArray[np.generic]:
    """What tells which row is newer, as numbers."""
    if column.type not in {*NUMERIC, Column.TIMESTAMP}:
        kind = Column.Type.Name(column.type)
        raise invalid(path, f"{shown(column.name)} is {kind}; times are a TIMESTAMP, INTEGER or NUMBER column")
    if column.missing_count:
        raise invalid(
            path,
            f"{shown(column.name)} is missing in {column.missing_count} rows, and every row needs a time; fill or drop "
            "them, or use another split",
        )
    if column.type == Column.TIMESTAMP:
        return column.values.astype(np.int64)
    return column.values if column.type == Column.INTEGER else numbers_of(column)
