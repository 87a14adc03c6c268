"""The column to predict: which classes it has, and how its values become numbers for the loss."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.data.table import NUMERIC, Table, TableColumn
from service.data.values import unseen_category
from service.errors import DataCorrupt, InvalidTable, invalid, shown
from traind.v1 import tables_pb2

Column = tables_pb2.Column


@dataclass(frozen=True)
class Target:
    """What a model predicts. `type` is the column's Column.Type."""

    name: str
    type: "Column.Type.ValueType"
    # In the order of their codes; empty for numbers. Categories and numbers are sorted, booleans are false, true.
    classes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The target as it is kept in a model."""
        return json.dumps({"name": self.name, "type": Column.Type.Name(self.type), "classes": self.classes})

    @classmethod
    def from_json(cls, text: str) -> "Target":
        """The target that `to_json` wrote. Raises DataCorrupt."""
        try:
            kept = json.loads(text)
            return cls(str(kept["name"]), Column.Type.Value(kept["type"]), tuple(map(str, kept["classes"])))
        except (ValueError, TypeError, KeyError) as error:
            raise DataCorrupt("the target of a model cannot be read") from error


def fit_target(table: Table, name: str, classes: bool) -> Target:
    """The target as the whole table shows it; with `classes` at least two must be there, else numbers must be."""
    column = table.column(name)
    if not classes:
        if column.type not in NUMERIC:
            kind = Column.Type.Name(column.type)
            raise invalid("job.train.target", f"{shown(name)} is {kind}; to predict a number it must hold numbers")
        return Target(name, column.type)
    labels = _labels(column)
    if len(labels) < 2:
        only = f"only {shown(labels[0])}" if labels else "no value"
        raise InvalidTable(f"column {shown(name)} holds {only}; classes can be learned from two or more")
    return Target(name, column.type, labels)


def encode(target: Target, table: Table, rows: npt.NDArray[np.int64] | None = None) -> npt.NDArray[Any]:
    """The target's values of `rows` (None = all): float64 numbers, or int64 codes of classes.

    Raises InvalidField for a missing value, another type, and a class that the target does not have.
    """
    column = table.column(target.name)
    values = column.values if rows is None else column.values[rows]
    missing = None if column.missing is None else column.missing if rows is None else column.missing[rows]
    if missing is not None and missing.any():
        raise invalid(
            "target", f"{shown(target.name)} is missing in {int(missing.sum())} rows; drop these rows and upload again"
        )
    if not target.classes:
        if column.type not in NUMERIC:
            raise invalid(
                "target", f"{shown(target.name)} is {Column.Type.Name(column.type)}; the model predicts numbers"
            )
        return values.astype(np.float64)
    present, positions = np.unique(values, return_inverse=True)
    known = {label: code for code, label in enumerate(target.classes)}
    codes = [known.get(_label(column, value), -1) for value in present.tolist()]
    if -1 in codes:
        unknown = _label(column, present.tolist()[codes.index(-1)])
        raise invalid("target", unseen_category(target.name, unknown, target.classes))
    return np.array(codes, np.int64)[positions]


def _labels(column: TableColumn) -> tuple[str, ...]:
    """Every class of a column in the order of codes."""
    if column.type in {Column.TEXT, Column.TIMESTAMP}:
        kind = Column.Type.Name(column.type)
        raise invalid("job.train.target", f"{shown(column.name)} is {kind}; classes need CATEGORY, BOOLEAN or INTEGER")
    values = column.values if column.missing is None else column.values[~column.missing]
    return tuple(_label(column, value) for value in np.unique(values).tolist())


def _label(column: TableColumn, value: Any) -> str:
    """A value as the name of a class: 1 and 1.0 are both "1"."""
    if column.type == Column.CATEGORY:
        return column.categories[int(value)]
    if column.type == Column.BOOLEAN:
        return "true" if value else "false"
    number = float(value)
    return str(int(value)) if number.is_integer() else repr(number)
