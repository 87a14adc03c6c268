"""What preprocessing has learned of the training rows."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from service.data.preprocessing.steps import Code, Encoding, Fill, FillCategory, NumberStep, OneHot, Ordinal, Step
from service.data.preprocessing.storing import number_steps_from_dicts, steps_from_dicts, steps_to_dicts
from service.errors import DataCorrupt
from service.modelling.inputs import Embedded, InputLayout
from traind.v1 import tables_pb2

Column = tables_pb2.Column

FORMAT = 2  # of the JSON
KNOWN_FORMATS = (1, 2)


@dataclass(frozen=True)
class DatePart:
    """A part of a timestamp, by its name in the contract, and the steps of its numbers."""

    part: str
    steps: tuple[NumberStep, ...]


@dataclass(frozen=True)
class FittedColumn:
    """One input column and its steps, in the order in which they are done."""

    name: str
    type: "Column.Type.ValueType"
    # Of a number, or of a category.
    steps: tuple[Step, ...] = ()
    # Of a timestamp, side by side.
    parts: tuple[DatePart, ...] = ()
    # Whether one more feature tells where a value was missing.
    indicator: bool = False
    # Whether rows without a value are left out.
    drops: bool = False
    # Whether a prediction may have a category that the training rows did not have.
    takes_unseen: bool = False

    @property
    def feature_names(self) -> tuple[str, ...]:
        """`area`, or `sex=female`, `sex=male`, or `built.YEAR`; behind them `area missing`."""
        return (*self._value_names, *((f"{self.name} missing",) if self.indicator else ()))

    @property
    def _value_names(self) -> tuple[str, ...]:
        if isinstance(self.encoding, OneHot):
            return tuple(f"{self.name}={category}" for category in self.categories)
        if self.type == Column.TIMESTAMP:
            return tuple(f"{self.name}.{part.part}" for part in self.parts)
        return (self.name,)

    @property
    def encoding(self) -> Encoding | None:
        """The step that turns categories into numbers, where there is one."""
        return next((step for step in self.steps if isinstance(step, OneHot | Ordinal | Code)), None)

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories of the training rows; empty for numbers."""
        return self.encoding.categories if self.encoding else ()

    @property
    def fill_text(self) -> str | None:
        """What stands for a missing category."""
        return next((step.text for step in self.steps if isinstance(step, FillCategory)), None)

    @property
    def takes_missing(self) -> bool:
        """Whether something stands for a missing value."""
        steps = chain(self.steps, *(part.steps for part in self.parts))
        return any(isinstance(step, Fill | FillCategory) for step in steps)


@dataclass(frozen=True)
class Fitted:
    """The whole preprocessing of a model."""

    columns: tuple[FittedColumn, ...]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features in order: the columns' order, those of one column side by side."""
        return tuple(name for column in self.columns for name in column.feature_names)

    @property
    def width(self) -> int:
        """How many features a row has."""
        return len(self.feature_names)

    @property
    def layout(self) -> InputLayout:
        """The features as a network takes them."""
        return InputLayout(self.width, tuple(self._embedded()))

    @property
    def dropping(self) -> list[str]:
        """Names of the columns without a value in which a row is left out."""
        return [column.name for column in self.columns if column.drops]

    def _embedded(self) -> Iterator[Embedded]:
        place = 0
        for column in self.columns:
            if isinstance(column.encoding, Code):
                yield Embedded(place, len(column.categories), column.encoding.width)
            place += len(column.feature_names)

    def to_json(self) -> str:
        """Text that `from_json` turns into an equal object: Python writes floats so that they come back exactly."""
        columns = [_column_to_dict(column) for column in self.columns]
        return json.dumps({"format": FORMAT, "columns": columns}, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Fitted":
        """The preprocessing that `to_json` wrote, now or in format 1. Raises DataCorrupt."""
        try:
            kept = json.loads(text)
            if kept["format"] not in KNOWN_FORMATS:
                raise DataCorrupt(f"the preprocessing of a model has format {kept['format']}, known is {FORMAT}")
            return cls(tuple(map(_column_from_dict, kept["columns"])))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataCorrupt("the preprocessing of a model cannot be read") from error


def _column_to_dict(column: FittedColumn) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": Column.Type.Name(column.type),
        "steps": steps_to_dicts(column.steps),
        "parts": [{"part": part.part, "steps": steps_to_dicts(part.steps)} for part in column.parts],
        "indicator": column.indicator,
        "drops": column.drops,
        "takes_unseen": column.takes_unseen,
    }


def _column_from_dict(kept: dict[str, Any]) -> FittedColumn:
    """Format 1 had name, type and steps, refused missing values and unseen categories, and knew no parts."""
    return FittedColumn(
        str(kept["name"]),
        Column.Type.Value(kept["type"]),
        steps_from_dicts(kept["steps"]),
        tuple(DatePart(str(part["part"]), number_steps_from_dicts(part["steps"])) for part in kept.get("parts", ())),
        indicator=bool(kept.get("indicator")),
        drops=bool(kept.get("drops")),
        takes_unseen=bool(kept.get("takes_unseen")),
    )
