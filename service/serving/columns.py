"""Tensors as the columns that a model takes: a matrix of numbers where all are, a table elsewhere."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from service.data.table import NUMERIC, Table, TableColumn
from service.data.values import column_from_values
from service.errors import InvalidField, Violation, invalid, shown
from service.modelling.signature import BYTES, MATRIX, Signature
from service.serving.tensors import Tensor
from traind.v1 import tables_pb2

Column = tables_pb2.Column
Numbers = npt.NDArray[np.float64]


def matrix_of(signature: Signature, inputs: Sequence[Tensor]) -> Numbers | None:
    """All columns as numbers [rows, columns], NaN where they are missing; None where they are not all numbers.

    Nothing but names, types and shapes is looked at. Raises InvalidField.
    """
    # Some bits of FP16 and FP32 are a NaN that complains when it is copied.
    with np.errstate(invalid="ignore"):
        return _matrix_of(signature, inputs)


def _matrix_of(signature: Signature, inputs: Sequence[Tensor]) -> Numbers | None:
    if signature.takes_matrix and len(inputs) == 1 and inputs[0].name == MATRIX:
        return _whole(signature, inputs[0])
    by_name = _by_name(signature, inputs)
    if any(column.type not in NUMERIC or not by_name[column.name][1].numeric for column in signature.columns):
        return None
    rows = _rows(signature, by_name)
    matrix = np.empty((rows, len(signature.columns)))
    for place, column in enumerate(signature.columns):
        values = by_name[column.name][1].values
        assert not isinstance(values, list)
        matrix[:, place] = values.reshape(-1)
    return matrix


def table_of(signature: Signature, inputs: Sequence[Tensor], matrix: Numbers | None) -> Table:
    """The columns as a table. Raises InvalidField naming the input, and the row where that helps."""
    if matrix is not None:
        whole = len(inputs) == 1 and inputs[0].name == MATRIX and signature.takes_matrix
        places = {} if whole else {tensor.name: at for at, tensor in enumerate(inputs)}
        made = {
            column.name: _numbers(column, matrix[:, at], f"inputs[{places.get(column.name, 0)}]")
            for at, column in enumerate(signature.columns)
        }
        return Table(made, len(matrix))
    by_name = _by_name(signature, inputs)
    rows = _rows(signature, by_name)
    made = {column.name: _column(column, *by_name[column.name], rows) for column in signature.columns}
    return Table(made, rows)


def _whole(signature: Signature, tensor: Tensor) -> Numbers:
    if not tensor.numeric:
        raise invalid(
            "inputs[0].datatype", f"is {tensor.datatype}; `{MATRIX}` takes numbers, for instance FP64 or FP32"
        )
    assert not isinstance(tensor.values, list)
    width = len(signature.columns)
    if len(tensor.shape) != 2 or tensor.shape[1] != width:
        names = ", ".join(column.name for column in signature.columns[:20])
        raise invalid(
            "inputs[0].shape",
            f"is {list(tensor.shape)}; `{MATRIX}` takes [rows, {width}], the columns being {names}"
            f"{', …' if width > 20 else ''}",
        )
    return tensor.values.astype(np.float64, copy=False)


def _by_name(signature: Signature, inputs: Sequence[Tensor]) -> Mapping[str, tuple[int, Tensor]]:
    """The inputs by name, each with its place."""
    by_name: dict[str, tuple[int, Tensor]] = {}
    violations: list[Violation] = []
    names = {column.name for column in signature.columns}
    listed = ", ".join(spec.name for spec in signature.inputs[:20]) + (", …" if len(signature.inputs) > 20 else "")
    for at, tensor in enumerate(inputs):
        if tensor.name in by_name:
            violations.append(Violation(f"inputs[{at}].name", f"{shown(tensor.name)} stands twice; send it once"))
        elif tensor.name == MATRIX and signature.takes_matrix:
            violations.append(
                Violation(f"inputs[{at}].name", f"`{MATRIX}` stands for all columns: send it alone, or every column")
            )
        elif tensor.name not in names:
            violations.append(Violation(f"inputs[{at}].name", f"{shown(tensor.name)} is unknown; there are {listed}"))
        by_name.setdefault(tensor.name, (at, tensor))
    lacking = [column.name for column in signature.columns if column.name not in by_name]
    violations += [Violation("inputs", f"lacks {shown(name)}; the model takes {listed}") for name in lacking]
    if violations:
        first = violations[0]
        raise InvalidField(f"{first.field}: {first.description}", violations[:20], {"field": first.field})
    return by_name


def _rows(signature: Signature, by_name: Mapping[str, tuple[int, Tensor]]) -> int:
    first = by_name[signature.columns[0].name][1]
    for column in signature.columns:
        at, tensor = by_name[column.name]
        if len(tensor.shape) == 2 and tensor.shape[1] != 1:
            raise invalid(f"inputs[{at}].shape", f"is {list(tensor.shape)}; a column takes [rows] or [rows, 1]")
        if tensor.shape[0] != first.shape[0]:
            raise invalid(
                f"inputs[{at}].shape",
                f"has {tensor.shape[0]:,} rows and {shown(first.name)} {first.shape[0]:,}; send one for each row",
            )
    return first.shape[0]


def _column(wanted: Column, at: int, tensor: Tensor, rows: int) -> TableColumn:
    path = f"inputs[{at}]"
    if wanted.type in NUMERIC:
        if not tensor.numeric:
            raise _refused(path, wanted, tensor, "numbers, for instance FP64 or INT64")
        assert not isinstance(tensor.values, list)
        with np.errstate(invalid="ignore"):
            return _numbers(wanted, tensor.values.reshape(-1).astype(np.float64), path)
    values = tables_pb2.ColumnValues(name=wanted.name)
    if isinstance(tensor.values, list):
        values.strings.extend(tensor.values)
        values.missing.extend(not text for text in tensor.values)
    elif wanted.type == Column.BOOLEAN:
        values.numbers.extend(tensor.values.reshape(-1).tolist())
    else:
        raise _refused(path, wanted, tensor, f"texts: {BYTES}")
    return TableColumn(wanted.name, *column_from_values(values, path, wanted, rows))


def _numbers(wanted: Column, values: Numbers, path: str) -> TableColumn:
    infinite = np.flatnonzero(np.isinf(values))
    if infinite.size:
        raise invalid(
            f"{path}[{int(infinite[0])}]",
            f"is {values[infinite[0]]}; {shown(wanted.name)} takes finite numbers: {infinite.size} are not",
        )
    missing = np.isnan(values)
    return TableColumn(wanted.name, Column.NUMBER, values, missing if missing.any() else None, (), path)


def _refused(path: str, wanted: Column, tensor: Tensor, takes: str) -> InvalidField:
    kind = Column.Type.Name(wanted.type)
    return invalid(f"{path}.datatype", f"is {tensor.datatype}; {shown(wanted.name)} is {kind} and takes {takes}")
