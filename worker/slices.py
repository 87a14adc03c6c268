"""One slice of a batch prediction: its rows through the model, and the files that hold what came of them."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from service.data import answer_tables
from service.data.objects import ObjectFolder
from service.data.preprocessing import Tally
from service.data.preprocessing.apart import Rejected, apply_apart
from service.data.table import FileTable
from service.modelling import answers
from service.modelling.answers import Answers
from service.modelling.predictor import Predicted, Predictor, largest_number
from traind.v1 import tables_pb2
from worker.predicted_slices import Slice
from worker.training import Stopped

NO_FINITE_ANSWER = "the network answers Inf or NaN for it; look at its numbers, or train with dtype FLOAT64"


class Slicer:
    """Predicts slices of one table by one model. Holds the rows of one block at a time, and the answers of a slice."""

    def __init__(
        self, predictor: Predictor, table: FileTable, told: Answers, kept: list[str], objects: ObjectFolder
    ) -> None:
        self.told, self._predictor, self._table, self._kept = told, predictor, table, kept
        self._inputs = [column.name for column in predictor.fitted.columns]
        fields = [table.field(name) for name in kept]
        self.schema = answer_tables.schema_for(answers.ROW, fields, told.columns)
        self._objects = objects
        self.rejected_schema = answer_tables.schema_for(answers.ROW, [], answer_tables.rejected_columns(self._inputs))
        self._block = answers.block_rows(predictor.fitted.width)

    @property
    def rejected_columns(self) -> list[tables_pb2.Column]:
        """The columns of the rejected rows as the contract describes them."""
        row = tables_pb2.Column(name=answers.ROW, type=tables_pb2.Column.INTEGER)
        return [row, *answer_tables.rejected_columns(self._inputs)]

    def predict(self, first: int, end: int, stop: Callable[[], bool]) -> Slice:
        """Predict the rows from `first` to before `end` and store what comes of them. Raises Stopped."""
        taken, tally = np.zeros(end - first, np.bool_), Tally()
        found: list[Predicted] = []
        rejected: list[Rejected] = []
        for start in range(first, end, self._block):
            if stop():
                raise Stopped
            rows, predicted, bad = self._block_of(start, min(start + self._block, end), tally)
            taken[rows + (start - first)] = True
            found.append(predicted)
            rejected += [Rejected(one.row + start - first, one.column, one.reason) for one in bad]
        return Slice(
            done=int(taken.sum()),
            bad=len(rejected),
            unseen=tally.unseen,
            answers=self._store_answers(first, taken, found),
            rejected=self._store_rejected(first, rejected),
            first=(rejected[0].column, rejected[0].reason) if rejected else ("", ""),
        )

    def _block_of(self, start: int, end: int, tally: Tally) -> tuple[np.ndarray, Predicted, list[Rejected]]:
        """The places in the block of the rows that have an answer, the answers, and the other rows."""
        table = self._table.window(start, end, self._inputs)
        limit = largest_number(self._predictor.spec)
        features, rows, rejected = apply_apart(self._predictor.fitted, table, limit=limit, tally=tally)
        outputs = self._predictor.forward(features)
        predicted = self._predictor.tell(outputs, [])
        finite = np.isfinite(outputs).all(axis=1)
        for numbers in (predicted.values, predicted.deviations):
            if numbers is not None and not self.told.target.classes:
                finite &= np.isfinite(numbers).all(axis=1)
        if not finite.all():
            rejected += [Rejected(row, "", NO_FINITE_ANSWER) for row in rows[~finite].tolist()]
            rejected.sort(key=lambda one: one.row)
            rows, predicted = rows[finite], self._predictor.tell(outputs[finite], [])
        return rows, predicted, rejected

    def _store_answers(self, first: int, taken: np.ndarray, found: list[Predicted]) -> str:
        """The object that holds the rows with an answer; empty where there is none."""
        if not taken.any():
            return ""
        arrays: list[pa.Array] = [pa.array(np.flatnonzero(taken) + (first + 1))]
        for name in self._kept:
            pieces = self._table.stored(name, first, first + len(taken))
            arrays.append(answer_tables.choose(pieces, self._table.field(name).type, taken))
        values = np.concatenate([one.values for one in found])
        if self.told.target.classes:
            arrays.append(answer_tables.encode_classes(values, self.told.columns[0], self.told.target.classes))
        else:
            arrays += _columns(values)
        if self.told.deviations:
            arrays += _columns(np.concatenate([one.deviations for one in found if one.deviations is not None]))
        if self.told.probabilities:
            arrays += _columns(np.concatenate([one.probabilities for one in found if one.probabilities is not None]))
        return self._store(self.schema, arrays)

    def _store_rejected(self, first: int, rejected: list[Rejected]) -> str:
        if not rejected:
            return ""
        return self._store(self.rejected_schema, answer_tables.rejected_arrays(rejected, first + 1, self._inputs))

    def _store(self, schema: pa.Schema, arrays: list[pa.Array]) -> str:
        path = self._objects.new_tmp(".arrow")
        try:
            answer_tables.write_slice(path, schema, arrays)
            return self._objects.put(path)
        finally:
            path.unlink(missing_ok=True)


def _columns(values: np.ndarray) -> list[pa.Array]:
    """Numbers [rows, columns] as columns."""
    return [pa.array(np.ascontiguousarray(values[:, place])) for place in range(values.shape[1])]
