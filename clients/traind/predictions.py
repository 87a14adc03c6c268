"""What a model answered, in the form the question came in."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from traind.v1 import tables_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traind.tables_in import TableIn
    from traind.v1 import predictions_pb2


@dataclass(frozen=True)
class Prediction:
    """Everything a model answered. Arrays where the question was a NumPy array, else lists.

    `values` has one number, or one class, for each row; `probabilities` is [rows, classes] in the order of `classes`,
    None for numbers and for a perceptron; `hidden` has [rows, width] for each hidden layer, if it was asked for.
    """

    model: str
    target: str
    values: Any
    classes: list[str]
    probabilities: Any
    hidden: dict[str, Any]


def decode_prediction(
    answers: Sequence[predictions_pb2.PredictResponse], outputs: Sequence[tables_pb2.Column], table: TableIn
) -> Prediction:
    """Put the answers to all parts together; `outputs` are the model's, `table` is what was asked."""
    first = answers[0]
    target = first.predictions[0].name if first.predictions else ""
    kind = next((column.type for column in outputs if column.name == target), tables_pb2.Column.TYPE_UNSPECIFIED)
    values = [value for answer in answers for value in _values(answer, kind)]
    classes = [column.name for column in first.probabilities]
    shares = [row for answer in answers for row in zip(*(c.numbers for c in answer.probabilities), strict=True)]
    hidden = {layer.name: _matrix(answers, i) for i, layer in enumerate(first.hidden)}
    return Prediction(
        model=first.model,
        target=target,
        values=_series(values, target, table),
        classes=classes,
        probabilities=_rows([list(row) for row in shares], table) if classes else None,
        hidden={name: _rows(rows, table) for name, rows in hidden.items()},
    )


def _values(answer: predictions_pb2.PredictResponse, kind: int) -> list[Any]:
    """Numbers, or classes as the training column had them: 3, true, `Adelie`."""
    column = answer.predictions[0]
    if column.strings:
        if kind == tables_pb2.Column.BOOLEAN:
            return [text == "true" for text in column.strings]
        return list(column.strings)
    if kind == tables_pb2.Column.BOOLEAN:
        return [number != 0 for number in column.numbers]
    if kind == tables_pb2.Column.INTEGER and all(number.is_integer() for number in column.numbers):
        return [int(number) for number in column.numbers]
    return list(column.numbers)


def _matrix(answers: Sequence[predictions_pb2.PredictResponse], layer: int) -> list[list[float]]:
    rows: list[list[float]] = []
    for answer in answers:
        tensor = answer.hidden[layer].output
        width = tensor.shape[-1]
        rows += [list(tensor.values[i : i + width]) for i in range(0, len(tensor.values), width)]
    return rows


def _series(values: list[Any], name: str, table: TableIn) -> Any:
    if table.kind == "numpy":
        return sys.modules["numpy"].array(values)
    if table.kind == "pandas":
        return sys.modules["pandas"].Series(values, index=table.index, name=name)
    if table.kind == "polars":
        return sys.modules["polars"].Series(name, values)
    return values


def _rows(rows: list[list[float]], table: TableIn) -> Any:
    return sys.modules["numpy"].array(rows) if table.kind in {"numpy", "pandas"} else rows
