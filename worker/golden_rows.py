"""Which rows of its data set a model keeps with its answers: few, and those in which most could go wrong."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from service.data.sent import as_sent
from service.data.table import CATEGORICAL, Table, TableColumn
from service.modelling import golden
from traind.v1 import tables_pb2
from worker.training_data import TrainingData

Rows = npt.NDArray[np.int64]

# Rows that are looked at, of those that were held out and of those that were trained with.
LOOKED_AT = 256
# Rows for a missing value, and for a rare category.
OF_EACH = 2
# Rows that are offered: some of them may have categories that the model refuses.
OFFERED = 3 * golden.MOST_ROWS


def draw(table: Table, data: TrainingData, seed: int) -> list[tables_pb2.ColumnValues]:
    """Rows as a call would send them, the most telling first; the same ones for the same seed.

    A held-out row, one that was trained with, rows with missing values and with the rarest categories among those that
    are looked at, then others, held-out ones before.
    """
    generator = np.random.default_rng(seed)
    held_out, train = (_some(generator, rows) for rows in (data.held_out_rows, data.train_rows))
    rows = np.concatenate([held_out, train])
    columns = [table.column(column.name).take(rows) for column in data.fitted.columns]
    order = dict.fromkeys(
        [
            *range(min(1, len(held_out))),
            *range(len(held_out), min(len(held_out) + 1, len(rows))),
            *_missing(columns),
            *_rare(columns),
            *range(len(rows)),
        ]
    )
    chosen = np.array(list(order)[:OFFERED], np.int64)
    return [as_sent(column.take(chosen)) for column in columns]


def _some(generator: np.random.Generator, rows: Rows) -> Rows:
    return rows[generator.choice(len(rows), min(len(rows), LOOKED_AT), replace=False)]


def _missing(columns: Sequence[TableColumn]) -> list[int]:
    """Places of rows with a missing value, of one column each."""
    return [int(np.argmax(column.missing)) for column in columns if column.missing is not None][:OF_EACH]


def _rare(columns: Sequence[TableColumn]) -> list[int]:
    """Places of rows with the rarest categories, of one column each, the rarest of all first."""
    return [place for _, place in sorted(_rarest(columns))[:OF_EACH]]


def _rarest(columns: Sequence[TableColumn]) -> Iterator[tuple[int, int]]:
    """How often the rarest category of each column is there, and where first."""
    for column in columns:
        present = np.flatnonzero(
            column.present if column.missing is not None else np.ones(len(column.values), np.bool_)
        )
        if column.type in CATEGORICAL and present.size:
            _, first, counts = np.unique(column.values[present], return_index=True, return_counts=True)
            yield int(counts.min()), int(present[first[counts.argmin()]])
