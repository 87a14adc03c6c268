"""The columns to predict: their classes, or what is done to their numbers before a loss sees them, and back again."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from service.data.preprocessing import fit_numbers
from service.data.preprocessing.fitting import refuse_infinite
from service.data.preprocessing.inverse import invert
from service.data.preprocessing.steps import NumberStep, apply_steps, quiet
from service.data.preprocessing.storing import number_steps_from_dicts, steps_to_dicts
from service.data.table import NUMERIC, Table, TableColumn, numbers_of
from service.data.values import unseen_category
from service.errors import DataCorrupt, InvalidTable, invalid, shown
from traind.v1 import preprocess_pb2, tables_pb2

Column = tables_pb2.Column
Numbers = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

FORMAT = 2  # of the JSON
# Answers of a transformed target end so many ranges of the training rows beyond them: where a power or a logarithm is
# undone, a little more of the network would otherwise be an infinite answer.
REACH = 10.0


@dataclass(frozen=True)
class TargetColumn:
    """One column to predict, and the steps of its numbers."""

    name: str
    type: "Column.Type.ValueType"
    steps: tuple[NumberStep, ...] = ()
    # The smallest and the largest number, in the column's own units, that an answer can be; None = any.
    reach: tuple[float, float] | None = None


@dataclass(frozen=True)
class Target:
    """What a model predicts: several columns of numbers, or one of classes."""

    columns: tuple[TargetColumn, ...]
    # In the order of their codes; empty for numbers. Categories and numbers are sorted, booleans are false, true.
    classes: tuple[str, ...] = ()
    # Whether rows without a target are left out.
    drops: bool = False

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return [column.name for column in self.columns]

    def missing(self, table: Table) -> npt.NDArray[np.bool_] | None:
        """Rows without a value in one of the columns [rows]; None where there is none."""
        found = [column.missing for column in map(table.column, self.names) if column.missing is not None]
        return np.logical_or.reduce(found) if found else None

    def encode(self, table: Table, rows: Rows | None = None) -> npt.NDArray[Any]:
        """The values of `rows` (None = all): float64 numbers [rows, columns] in their own units, or int64 codes [rows].

        Raises InvalidField for a missing value, another type, and a class that the target does not have.
        """
        everything: Rows | slice = slice(None) if rows is None else rows
        columns = [table.column(name).take(everything) for name in self.names]
        for column in columns:
            _refuse_missing(column)
        if self.classes:
            return _codes(columns[0], self.classes)
        for column in columns:
            if column.type not in NUMERIC:
                kind = Column.Type.Name(column.type)
                raise invalid("target", f"{shown(column.name)} is {kind}; the model predicts numbers")
            refuse_infinite(column, "target")
        return np.column_stack([numbers_of(column) for column in columns]).astype(np.float64, copy=False)

    def to_loss_units(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Encoded values as the loss takes them: numbers transformed and scaled [rows, columns], codes as they are.

        Raises InvalidField for a number of which there is no logarithm.
        """
        if self.classes or not self._has_steps:
            return values
        with quiet():
            done = [apply_steps(column.steps, values[:, i]) for i, column in enumerate(self.columns)]
        for column, numbers in zip(self.columns, done, strict=True):
            if not np.isfinite(numbers).all():
                at = int(np.flatnonzero(~np.isfinite(numbers))[0])
                raise invalid(
                    "target",
                    f"{shown(column.name)} has {int((~np.isfinite(numbers)).sum())} values that the model's steps make "
                    f"Inf or NaN of, the first in row {at + 1} of those that are used; leave these rows out",
                )
        return np.column_stack(done)

    @cached_property
    def _has_steps(self) -> bool:
        return any(column.steps for column in self.columns)

    def from_loss_units(self, outputs: Numbers) -> Numbers:
        """Answers of a network [rows, columns] in the columns' own units."""
        return self._inverse(outputs)[0] if self._has_steps else outputs

    def deviations(self, means: Numbers, deviations: Numbers) -> Numbers:
        """Standard deviations [rows, columns] around `means`, both in the loss's units, in the columns' own units.

        To first order: times the slope at the mean of what undoes the steps.
        """
        return deviations * self._inverse(means)[1]

    def _inverse(self, outputs: Numbers) -> tuple[Numbers, Numbers]:
        """The answers in own units, and how many of these one of the loss's units is there: both [rows, columns]."""
        if not self._has_steps:
            return outputs, np.ones_like(outputs)
        done = [invert(c.steps, outputs[:, i], c.reach) for i, c in enumerate(self.columns)]
        return np.column_stack([value for value, _ in done]), np.column_stack([slope for _, slope in done])

    def to_json(self) -> str:
        """The target as it is kept in a model."""
        columns = [
            {"name": c.name, "type": Column.Type.Name(c.type), "steps": steps_to_dicts(c.steps), "reach": c.reach}
            for c in self.columns
        ]
        kept = {"format": FORMAT, "columns": columns, "classes": self.classes, "drops": self.drops}
        return json.dumps(kept, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Target":
        """The target that `to_json` wrote, now or in format 1, which was one column. Raises DataCorrupt."""
        try:
            kept = json.loads(text)
            if kept.get("format", 1) not in {1, FORMAT}:
                raise DataCorrupt(f"the target of a model has format {kept['format']}, known is {FORMAT}")
            columns = kept["columns"] if "format" in kept else [kept]
            classes = tuple(map(str, kept["classes"]))
            return cls(tuple(map(_column_from_dict, columns)), classes, drops=bool(kept.get("drops")))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataCorrupt("the target of a model cannot be read") from error


def find_target(
    table: Table, names: Sequence[str], steps: preprocess_pb2.TargetSteps, rows: Rows | None, *, classes: bool
) -> Target:
    """The target as `rows` (None = all that have one) show it; its steps are not fitted yet.

    With `classes` it is one column and at least two must be there, else all must be numbers.
    """
    drops = steps.missing == preprocess_pb2.TargetSteps.DROP_ROW
    if not classes:
        return Target(tuple(_number_column(table, name, i) for i, name in enumerate(names)), drops=drops)
    column = table.column(names[0])
    labels = _labels(column if rows is None else column.take(rows))
    if len(labels) < 2:
        only = f"only {shown(labels[0])}" if labels else "no value"
        raise InvalidTable(f"column {shown(column.name)} holds {only}; classes can be learned from two or more")
    return Target((TargetColumn(column.name, column.type),), labels, drops)


def fit_target(target: Target, values: npt.NDArray[Any], steps: preprocess_pb2.TargetSteps) -> Target:
    """The target with its steps, fitted on the encoded values of the training rows [rows, columns]."""
    if target.classes:
        return target
    return replace(target, columns=tuple(_fit_column(c, values[:, i], steps) for i, c in enumerate(target.columns)))


def _fit_column(column: TargetColumn, values: Numbers, steps: preprocess_pb2.TargetSteps) -> TargetColumn:
    scale = steps.scale or preprocess_pb2.Preprocess.NONE
    with quiet():
        fitted = fit_numbers(column.name, values, steps.transform, scale, "job.train.preprocess.target.transform")
    transformed = steps.transform not in {
        preprocess_pb2.Preprocess.TRANSFORM_UNSPECIFIED,
        preprocess_pb2.Preprocess.IDENTITY,
    }
    if not transformed or not values.size:
        return replace(column, steps=fitted)
    low, high = float(values.min()), float(values.max())
    room = REACH * (high - low)
    floor = (
        max(low - room, np.nextafter(-1.0, 0.0)) if steps.transform == preprocess_pb2.Preprocess.LOG1P else low - room
    )
    return replace(column, steps=fitted, reach=(float(floor), high + room))


def _number_column(table: Table, name: str, index: int) -> TargetColumn:
    column = table.column(name)
    if column.type not in NUMERIC:
        kind = Column.Type.Name(column.type)
        raise invalid(
            f"job.train.target[{index}]", f"{shown(name)} is {kind}; to predict a number it must hold numbers"
        )
    return TargetColumn(name, column.type)


def _column_from_dict(kept: dict[str, Any]) -> TargetColumn:
    reach = kept.get("reach")
    return TargetColumn(
        str(kept["name"]),
        Column.Type.Value(kept["type"]),
        number_steps_from_dicts(kept.get("steps", ())),
        None if reach is None else (float(reach[0]), float(reach[1])),
    )


def _refuse_missing(column: TableColumn) -> None:
    if column.missing_count:
        raise invalid(
            "target",
            f"{shown(column.name)} is missing in {column.missing_count} rows, allowed are 0; set "
            "preprocess.target.missing to DROP_ROW to leave them out, or upload the table without them",
        )


def _codes(column: TableColumn, classes: Sequence[str]) -> Rows:
    """The codes of a complete column of classes."""
    known = {label: code for code, label in enumerate(classes)}
    present, positions = np.unique(column.values, return_inverse=True)
    codes = [known.get(_label(column, value), -1) for value in present.tolist()]
    if -1 in codes:
        unknown = _label(column, present.tolist()[codes.index(-1)])
        raise invalid("target", unseen_category(column.name, unknown, classes))
    return np.array(codes, np.int64)[positions]


def _labels(column: TableColumn) -> tuple[str, ...]:
    """Every class of a column in the order of codes."""
    if column.type in {Column.TEXT, Column.TIMESTAMP}:
        kind = Column.Type.Name(column.type)
        raise invalid("job.train.target", f"{shown(column.name)} is {kind}; classes need CATEGORY, BOOLEAN or INTEGER")
    return tuple(_label(column, value) for value in np.unique(column.values[column.present]).tolist())


def _label(column: TableColumn, value: Any) -> str:
    """A value as the name of a class: 1 and 1.0 are both "1"."""
    if column.type == Column.CATEGORY:
        return column.categories[int(value)]
    if column.type == Column.BOOLEAN:
        return "true" if value else "false"
    number = float(value)
    return str(int(value)) if number.is_integer() else repr(number)
