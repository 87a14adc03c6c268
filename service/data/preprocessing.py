"""What happens to the inputs before the network sees them: fitted on the training rows, kept inside the model.

Every input column passes through a short list of steps. A step is a frozen dataclass that holds what was fitted; a
new way to preprocess is a new dataclass here, one arm in `_fit_steps` and one in `_applied`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, assert_never

import numpy as np
import numpy.typing as npt

from service.data.table import Table, TableColumn
from service.data.values import unseen_category
from service.errors import DataCorrupt, InvalidTable, invalid, shown
from service.modelling.inputs import InputLayout
from traind.v1 import preprocess_pb2, tables_pb2

Column = tables_pb2.Column
Scale = preprocess_pb2.Preprocess
Block = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

FORMAT = 1  # of the JSON
ROWS_AT_ONCE = 4096  # so that the rows being filled stay in the processor's cache while column after column is written


@dataclass(frozen=True)
class Standard:
    """(x - mean) / std; std is the population's, 0 for a constant column, which becomes 0."""

    mean: float
    std: float


@dataclass(frozen=True)
class MinMax:
    """(x - low) / (high - low); a constant column becomes 0."""

    low: float
    high: float


@dataclass(frozen=True)
class OneHot:
    """One column of 0 and 1 for each category that the training rows had, in sorted order."""

    categories: tuple[str, ...]


Step = Standard | MinMax | OneHot


@dataclass(frozen=True)
class FittedColumn:
    """One input column and its steps, in the order in which they are done."""

    name: str
    type: "Column.Type.ValueType"
    steps: tuple[Step, ...]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """`area`, or `sex=female`, `sex=male`."""
        return tuple(f"{self.name}={c}" for c in self.categories) if self.one_hot else (self.name,)

    @property
    def one_hot(self) -> OneHot | None:
        """The step that turns categories into columns, where there is one."""
        return next((step for step in self.steps if isinstance(step, OneHot)), None)

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories of the training rows; empty for numbers."""
        return self.one_hot.categories if self.one_hot else ()


@dataclass(frozen=True)
class Fitted:
    """The whole preprocessing of a model."""

    columns: tuple[FittedColumn, ...]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The network's inputs in order: the columns' order, categories side by side."""
        return tuple(name for column in self.columns for name in column.feature_names)

    @property
    def width(self) -> int:
        """How many inputs the network has."""
        return len(self.feature_names)

    @property
    def layout(self) -> InputLayout:
        """The network's inputs as the network takes them."""
        return InputLayout(self.width)

    def to_json(self) -> str:
        """Text that `from_json` turns into an equal object: Python writes floats so that they come back exactly."""
        columns = [
            {"name": c.name, "type": Column.Type.Name(c.type), "steps": [_step_to_dict(step) for step in c.steps]}
            for c in self.columns
        ]
        return json.dumps({"format": FORMAT, "columns": columns}, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Fitted":
        """The preprocessing that `to_json` wrote. Raises DataCorrupt."""
        try:
            kept = json.loads(text)
            if kept["format"] != FORMAT:
                raise DataCorrupt(f"the preprocessing of a model has format {kept['format']}, known is {FORMAT}")
            columns = tuple(
                FittedColumn(c["name"], Column.Type.Value(c["type"]), tuple(_step_from_dict(s) for s in c["steps"]))
                for c in kept["columns"]
            )
        except (ValueError, TypeError, KeyError) as error:
            raise DataCorrupt("the preprocessing of a model cannot be read") from error
        return cls(columns)


def fit(table: Table, inputs: Sequence[str], preprocess: preprocess_pb2.Preprocess, rows: Rows) -> Fitted:
    """Fit the steps of each input on `rows` alone.

    Raises InvalidField for a missing value and a column of text, InvalidTable where numbers are too large to scale.
    """
    return Fitted(tuple(_fit_column(table.column(name), preprocess, rows) for name in inputs))


def apply(
    fitted: Fitted, table: Table, rows: Rows | None = None, *, unseen: Literal["refuse", "zeros"] = "refuse"
) -> Block:
    """The network's inputs for `rows` (None = all): float64 [rows, width], row-major.

    A category that the training rows did not have is refused with InvalidField naming column, value and the known
    ones; with `unseen="zeros"` (for held-out rows, which are measured and not answered) its columns are all 0.
    """
    chosen = [_chosen(table.column(column.name), column, rows) for column in fitted.columns]
    count = table.row_count if rows is None else len(rows)
    features = np.empty((count, fitted.width), np.float64)
    prepared = [_codes(column, values, unseen) for column, values in zip(fitted.columns, chosen, strict=True)]
    for start in range(0, count, ROWS_AT_ONCE):
        part, at = features[start : start + ROWS_AT_ONCE], 0
        for column, values in zip(fitted.columns, prepared, strict=True):
            block = _applied(column.steps, values[start : start + ROWS_AT_ONCE])
            part[:, at : at + block.shape[1]] = block
            at += block.shape[1]
    return features


def _fit_column(column: TableColumn, preprocess: preprocess_pb2.Preprocess, rows: Rows) -> FittedColumn:
    values = column.values[rows]
    if column.missing is not None and (gone := int(column.missing[rows].sum())):
        raise invalid(
            "job.train.inputs",
            f"column {shown(column.name)} is missing in {gone} rows; leave the column out or drop these rows",
        )
    return FittedColumn(column.name, column.type, _fit_steps(column, values, preprocess.scale))


def _fit_steps(
    column: TableColumn, values: npt.NDArray[Any], scale: "preprocess_pb2.Preprocess.Scale.ValueType"
) -> tuple[Step, ...]:
    match column.type:
        case Column.INTEGER | Column.NUMBER:
            return _fit_scale(column.name, values.astype(np.float64), scale)
        case Column.CATEGORY:
            return (OneHot(tuple(sorted(column.categories[code] for code in np.unique(values).tolist()))),)
        case Column.BOOLEAN:
            return (OneHot(tuple(("false", "true")[int(value)] for value in np.unique(values).tolist())),)
        case _:
            kind = Column.Type.Name(column.type)
            raise invalid(
                "job.train.inputs", f"column {shown(column.name)} is {kind} and cannot be learned from; leave it out"
            )


def _fit_scale(name: str, values: Block, scale: "preprocess_pb2.Preprocess.Scale.ValueType") -> tuple[Step, ...]:
    if scale == Scale.NONE or not values.size:
        return ()
    low, high = float(values.min()), float(values.max())
    with np.errstate(over="ignore", invalid="ignore"):
        spread = high - low
        mean = float(values.mean())
        # Rounding can give a constant column a spread around its mean, so its extremes decide.
        std = float(values.std()) if spread else 0.0
    if not np.isfinite([spread, mean, std]).all():
        largest = max(abs(low), abs(high))
        raise InvalidTable(
            f"column {shown(name)} holds numbers as large as {largest:g}, which cannot be scaled in 64 bits; divide it"
        )
    return (MinMax(low, high),) if scale == Scale.MIN_MAX else (Standard(mean, std),)


def _chosen(column: TableColumn, fitted: FittedColumn, rows: Rows | None) -> TableColumn:
    """The rows of a column, none of which may be missing."""
    one_hot = column.type in {Column.CATEGORY, Column.BOOLEAN}
    if one_hot != (fitted.one_hot is not None) or column.type in {Column.TEXT, Column.TIMESTAMP}:
        wanted, got = Column.Type.Name(fitted.type), Column.Type.Name(column.type)
        raise invalid("columns", f"{shown(column.name)} was {wanted} in training and is {got} here")
    missing = column.missing if rows is None or column.missing is None else column.missing[rows]
    if missing is not None and missing.any():
        first = int(np.flatnonzero(missing)[0])
        raise invalid(
            "columns",
            f"{shown(column.name)} is missing in {int(missing.sum())} rows, the first at index {first}; "
            "the model takes complete rows only: fill or drop them",
        )
    values = column.values if rows is None else column.values[rows]
    return TableColumn(column.name, column.type, values, None, column.categories)


def _codes(fitted: FittedColumn, column: TableColumn, unseen: Literal["refuse", "zeros"]) -> npt.NDArray[Any]:
    """Numbers as they are; categories as positions among the fitted ones, -1 for one that was not there."""
    if not fitted.one_hot:
        return column.values
    names = ("false", "true") if column.type == Column.BOOLEAN else column.categories
    known = {category: code for code, category in enumerate(fitted.categories)}
    # One more at the end, so that an empty list of categories can be indexed too.
    translation = np.array([known.get(name, -1) for name in names] + [-1], np.int64)
    codes = translation[column.values.astype(np.int64)]
    if unseen == "refuse" and (codes < 0).any():
        first = int(np.flatnonzero(codes < 0)[0])
        value = names[int(column.values[first])]
        raise invalid("columns", f"row {first + 1}: {unseen_category(fitted.name, value, fitted.categories)}")
    return codes


def _applied(steps: Sequence[Step], values: npt.NDArray[Any]) -> Block:
    """Some rows of one column after its steps: [rows, 1], or [rows, categories]."""
    block = values[:, None]
    for step in steps:
        match step:
            case Standard():
                block = (block - step.mean) / step.std if step.std else np.zeros(block.shape)
            case MinMax():
                spread = step.high - step.low
                block = (block - step.low) / spread if spread else np.zeros(block.shape)
            case OneHot():
                block = block == np.arange(len(step.categories))
            case _:
                assert_never(step)
    return block


def _step_to_dict(step: Step) -> dict[str, Any]:
    match step:
        case Standard():
            return {"kind": "standard", **asdict(step)}
        case MinMax():
            return {"kind": "min_max", **asdict(step)}
        case OneHot():
            return {"kind": "one_hot", **asdict(step)}
        case _:
            assert_never(step)


def _step_from_dict(kept: dict[str, Any]) -> Step:
    match kept["kind"]:
        case "standard":
            return Standard(float(kept["mean"]), float(kept["std"]))
        case "min_max":
            return MinMax(float(kept["low"]), float(kept["high"]))
        case "one_hot":
            return OneHot(tuple(map(str, kept["categories"])))
        case kind:
            raise DataCorrupt(f"the preprocessing of a model has an unknown step {shown(kind)}")
