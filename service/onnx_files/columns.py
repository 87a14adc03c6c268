"""The columns become what the first layer sees, and every row that Predict would refuse is known."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from service.data.preprocessing import Fitted, FittedColumn
from service.data.preprocessing.steps import Code, FillCategory, OneHot, Ordinal
from service.onnx_files.dates import Dates
from service.onnx_files.graph import BOOL, DOUBLE, FLOAT, INT64, ML, STRING, Graph
from service.onnx_files.steps import add_steps
from traind.v1 import tables_pb2

Column = tables_pb2.Column
# Places of categories that are none: encoded as nothing, and refused.
_NOTHING, _REFUSED = -1, -2
_NAT = np.iinfo(np.int64).min
_TRUTHS = ("false", "true")


@dataclass(frozen=True)
class Features:
    """What a graph makes of the columns."""

    # [N, width], in the network's type.
    values: str
    # Whether Predict would refuse the row: BOOL [N, 1].
    refused: str


class Columns:
    """Adds one column after the other to a graph."""

    def __init__(self, graph: Graph, kind: int) -> None:
        self._graph, self._kind = graph, kind
        self._refused: list[str] = []
        self._embeddings = 0

    def features(self, fitted: Fitted, limit: float) -> Features:
        """All columns; features beyond `limit` are refused too."""
        graph, done = self._graph, []
        numbers: list[str] = []  # side by side, DOUBLE [N, some]
        for column in fitted.columns:
            for value, embedded in self._column(column):
                if not embedded:
                    numbers.append(value)
                    continue
                done += [self._checked(numbers, limit)] if numbers else []
                done.append(value)
                numbers = []
        done += [self._checked(numbers, limit)] if numbers else []
        refused = self._refused[0]
        for more in self._refused[1:]:
            refused = graph.add("Or", refused, more)
        return Features(self._beside(done), refused)

    def _beside(self, values: list[str]) -> str:
        return values[0] if len(values) == 1 else self._graph.add("Concat", *values, axis=1)

    def _checked(self, numbers: list[str], limit: float) -> str:
        """Features in the network's type, whose rows are refused where one is NaN or beyond the limit."""
        graph, features = self._graph, self._beside(numbers)
        fits = graph.add("LessOrEqual", graph.add("Abs", features), graph.number(limit))
        wrong = graph.cast(graph.add("Not", fits), FLOAT)
        self._refused.append(graph.cast(graph.add("ReduceMax", wrong, axes=[1], keepdims=1), BOOL))
        return graph.cast(features, self._kind)

    def _column(self, column: FittedColumn) -> Iterator[tuple[str, bool]]:
        """The features of one column in order, and of each whether it is embedded."""
        if column.type == Column.TIMESTAMP:
            missing, values = self._times(column)
        elif column.encoding is None:
            missing, values = self._numbers(column)
        else:
            missing, values = self._categories(column)
        for value in values:
            yield value, isinstance(column.encoding, Code)
        if column.indicator:
            yield self._graph.cast(missing, DOUBLE), False

    def _missing(self, column: FittedColumn, missing: str) -> str:
        if not column.takes_missing:
            self._refused.append(missing)
        return missing

    def _numbers(self, column: FittedColumn) -> tuple[str, list[str]]:
        graph = self._graph
        x = graph.input(column.name, DOUBLE, f"a number; NaN is a missing value, {_told(column)}")
        missing = self._missing(column, graph.add("IsNaN", x))
        self._refused.append(graph.add("IsInf", x))
        return missing, [add_steps(graph, column.number_steps, x)]

    def _times(self, column: FittedColumn) -> tuple[str, list[str]]:
        graph = self._graph
        told = f"microseconds since 1970-01-01 in UTC; {_NAT} is a missing value, {_told(column)}"
        x = graph.input(column.name, INT64, told)
        missing = self._missing(column, graph.add("Equal", x, graph.whole(_NAT)))
        dates, made = Dates(graph, graph.add("Where", missing, graph.whole(0), x)), []
        for part in column.parts:
            value = graph.add("Where", missing, graph.number(np.nan), dates.part(part.part))
            made.append(add_steps(graph, part.steps, value))
        return missing, made

    def _categories(self, column: FittedColumn) -> tuple[str, list[str]]:
        graph, known = self._graph, _places(column)
        x = graph.input(column.name, STRING, f"a category; an empty text is a missing value, {_told(column)}")
        boolean = column.type == Column.BOOLEAN
        codes = graph.add(
            "LabelEncoder",
            x,
            domain=ML,
            keys_strings=list(known),
            values_int64s=list(known.values()),
            default_int64=_NOTHING if column.takes_unseen and not boolean else _REFUSED,
        )
        self._refused.append(graph.add("Equal", codes, graph.whole(_REFUSED)))
        # Whether the empty text means that there is none, which it does not where it is a category.
        empty = 0.0 if "" in column.categories else 1.0
        is_missing = graph.add(
            "LabelEncoder", x, domain=ML, keys_strings=[""], values_floats=[empty], default_float=0.0
        )
        return graph.cast(is_missing, BOOL), [self._encoded(column, graph.add("Max", codes, graph.whole(_NOTHING)))]

    def _encoded(self, column: FittedColumn, codes: str) -> str:
        """Places [N, 1], -1 where there is none, as features."""
        graph = self._graph
        match column.encoding:
            case OneHot(categories):
                places = graph.constant(np.arange(len(categories), dtype=np.int64)[None])
                return graph.cast(graph.add("Equal", codes, places), DOUBLE)
            case Ordinal():
                return graph.cast(codes, DOUBLE)
            case Code():
                rows = graph.add("Add", graph.add("Squeeze", codes, graph.constant(np.array([1]))), graph.whole(1))
                weights = graph.weight(f"embeddings.{self._embeddings}.weight")
                self._embeddings += 1
                return graph.add("Gather", weights, rows, axis=0)
            case None:
                raise AssertionError("a column of categories has an encoding")


def _places(column: FittedColumn) -> dict[str, int]:
    """The place of each text that is looked up: of categories, of what else a boolean may be, of a missing value."""
    places = {category: place for place, category in enumerate(column.categories)}
    unseen = _NOTHING if column.takes_unseen else _REFUSED
    filled = places.get(column.fill_text or "", _NOTHING) if column.takes_missing else _REFUSED
    if column.type == Column.BOOLEAN:
        return {text: places.get(text, unseen) for text in _TRUTHS} | {"": filled}
    return {"": filled} | places


def _told(column: FittedColumn) -> str:
    """What becomes of a missing value, for people."""
    if not column.takes_missing:
        return "for which the answer is none"
    if any(isinstance(step, FillCategory) for step in column.steps):
        return "for which the most frequent or a given one stands"
    return "for which a number of the training rows or a given one stands"
