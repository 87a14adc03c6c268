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
    """Everything a model answered, in the form of the question: arrays, tensors (classes that are texts stay a list),
    series and frames, Arrow arrays and tables; else lists.

    `values` has one number, or one class, for each row; of several targets a row of numbers in the order of
    `targets`, [rows, targets]. `probabilities` is [rows, classes] in the order of `classes`, None for numbers and for
    a perceptron; `deviations` are the standard deviations that a model of `gaussian_nll` expects, shaped as `values`,
    else None; `hidden` has [rows, width] for each hidden layer, if it was asked for.
    """

    model: str
    targets: list[str]
    values: Any
    classes: list[str]
    probabilities: Any
    deviations: Any
    hidden: dict[str, Any]

    @property
    def target(self) -> str:
        """The only target, or the first of several."""
        return self.targets[0] if self.targets else ""

    def columns(self) -> dict[str, list[Any]]:
        """The values of each target by its name, as lists."""
        return _by_target(self.targets, self.values)

    def deviation_columns(self) -> dict[str, list[Any]]:
        """The deviations of each target by its name, as lists; empty where the model tells none."""
        return {} if self.deviations is None else _by_target(self.targets, self.deviations)


def decode_prediction(
    answers: Sequence[predictions_pb2.PredictResponse], outputs: Sequence[tables_pb2.Column], table: TableIn
) -> Prediction:
    """Put the answers to all parts together; `outputs` are the model's, `table` is what was asked."""
    first = answers[0]
    kinds = {column.name: column.type for column in outputs}
    values: dict[str, list[Any]] = {column.name: [] for column in first.predictions}
    deviations: dict[str, list[Any]] = {column.name: [] for column in first.deviations}
    for answer in answers:
        for column in answer.predictions:
            values[column.name] += _values(column, kinds.get(column.name, tables_pb2.Column.TYPE_UNSPECIFIED))
        for column in answer.deviations:
            deviations[column.name] += column.numbers
    classes = [column.name for column in first.probabilities]
    shares = [row for answer in answers for row in zip(*(c.numbers for c in answer.probabilities), strict=True)]
    hidden = {layer.name: _matrix(answers, i) for i, layer in enumerate(first.hidden)}
    return Prediction(
        model=first.model,
        targets=list(values),
        values=_shaped(values, table),
        classes=classes,
        probabilities=_shares([list(row) for row in shares], classes, table) if classes else None,
        deviations=_shaped(deviations, table) if deviations else None,
        hidden={name: _rows(rows, table) for name, rows in hidden.items()},
    )


def _values(column: tables_pb2.ColumnValues, kind: int) -> list[Any]:
    """Numbers, or classes as the training column had them: 3, true, `Adelie`."""
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


def _shaped(columns: dict[str, list[Any]], table: TableIn) -> Any:
    """One target's values as a series, several targets' as a table [rows, targets]."""
    if len(columns) == 1:
        ((name, values),) = columns.items()
        return _series(values, name, table)
    if table.kind == "pyarrow":
        return sys.modules["pyarrow"].table(columns)
    if table.kind == "pandas":
        return sys.modules["pandas"].DataFrame(columns, index=table.index)
    if table.kind == "polars":
        return sys.modules["polars"].DataFrame(columns)
    return _rows([list(row) for row in zip(*columns.values(), strict=True)], table)


def _by_target(targets: list[str], values: Any) -> dict[str, list[Any]]:
    if len(targets) == 1:
        return {targets[0]: list(values)}
    if hasattr(values, "columns"):  # a data frame
        return {name: list(values[name]) for name in targets}
    return dict(zip(targets, ([row[i] for row in values] for i in range(len(targets))), strict=True))


def _series(values: list[Any], name: str, table: TableIn) -> Any:
    if table.kind == "numpy":
        return sys.modules["numpy"].array(values)
    if table.kind == "pandas":
        return sys.modules["pandas"].Series(values, index=table.index, name=name)
    if table.kind == "polars":
        return sys.modules["polars"].Series(name, values)
    if table.kind == "pyarrow":
        return sys.modules["pyarrow"].array(values)
    if table.kind == "torch" and not any(isinstance(value, str) for value in values):
        torch = sys.modules["torch"]
        return torch.tensor(values, dtype=torch.float64 if any(isinstance(v, float) for v in values) else None)
    return values


def _rows(rows: list[list[float]], table: TableIn) -> Any:
    """[rows, columns] without names."""
    if table.kind == "torch":
        return sys.modules["torch"].tensor(rows, dtype=sys.modules["torch"].float64)
    numpy = sys.modules.get("numpy")
    return numpy.array(rows) if numpy is not None and table.kind not in {"list", "torch"} else rows


def _shares(rows: list[list[float]], classes: list[str], table: TableIn) -> Any:
    """A column for each class."""
    if table.kind == "pandas":
        return sys.modules["pandas"].DataFrame(rows, index=table.index, columns=classes)
    if table.kind == "polars":
        return sys.modules["polars"].DataFrame(rows, schema=classes, orient="row")
    if table.kind == "pyarrow":
        return sys.modules["pyarrow"].table(dict(zip(classes, map(list, zip(*rows, strict=True)), strict=True)))
    return _rows(rows, table)
