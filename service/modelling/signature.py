"""The tensors that a model takes and answers: what clients of the Open Inference Protocol are told of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.data.table import NUMERIC
from service.data.targets import Target
from traind.v1 import tables_pb2

Column = tables_pb2.Column

# The tensor that stands for all columns at once, where all are numbers.
MATRIX = "input"
PREDICTION, PROBABILITIES, LABEL, DEVIATION = "prediction", "probabilities", "label", "deviation"
BYTES = "BYTES"
_DATATYPES = {Column.INTEGER: "INT64", Column.NUMBER: "FP64", Column.BOOLEAN: "BOOL"}


@dataclass(frozen=True)
class TensorSpec:
    """Name, datatype and shape, -1 being any number of rows."""

    name: str
    datatype: str
    shape: tuple[int, int]


@dataclass(frozen=True)
class Signature:
    """What goes in and what comes out."""

    columns: tuple[Column, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    # Whether `input` stands for all columns.
    takes_matrix: bool
    # What else clients are told: `targets` and `classes`, JSON lists.
    properties: Mapping[str, str]

    @property
    def output_names(self) -> list[str]:
        """In their order."""
        return [spec.name for spec in self.outputs]

    @property
    def width(self) -> int:
        """Elements of an answered row."""
        return sum(spec.shape[1] for spec in self.outputs)


def make(columns: Sequence[Column], target: Target, *, deviations: bool, probabilities: bool) -> Signature:
    """The signature of a model of these columns, which may tell deviations of numbers or probabilities of classes."""
    inputs = [TensorSpec(column.name, _DATATYPES.get(column.type, BYTES), (-1, 1)) for column in columns]
    numbers = all(column.type in NUMERIC for column in columns)
    # A column of that name is itself.
    matrix = numbers and MATRIX not in {column.name for column in columns}
    if matrix:
        inputs.append(TensorSpec(MATRIX, "FP64", (-1, len(columns))))
    properties = {"targets": json.dumps(target.names, ensure_ascii=False)}
    if target.classes:
        properties["classes"] = json.dumps(target.classes, ensure_ascii=False)
    outputs = _outputs(target, deviations=deviations, probabilities=probabilities)
    return Signature(tuple(columns), tuple(inputs), tuple(outputs), matrix, properties)


def _outputs(target: Target, *, deviations: bool, probabilities: bool) -> list[TensorSpec]:
    if not target.classes:
        names = [PREDICTION, DEVIATION] if deviations else [PREDICTION]
        return [TensorSpec(name, "FP64", (-1, len(target.columns))) for name in names]
    specs = [TensorSpec(LABEL, BYTES, (-1, 1)), TensorSpec(PREDICTION, "INT64", (-1, 1))]
    return [*specs, TensorSpec(PROBABILITIES, "FP64", (-1, len(target.classes)))] if probabilities else specs
