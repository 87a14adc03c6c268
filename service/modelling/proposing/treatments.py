"""What each column needs before the network, by its figures."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from traind.v1 import preprocess_pb2, profiles_pb2, tables_pb2

Column = tables_pb2.Column
ColumnProfile = profiles_pb2.ColumnProfile
ColumnGroup = preprocess_pb2.ColumnGroup
Preprocess = preprocess_pb2.Preprocess

# Leaning more than this is worth a transform.
SKEWED = 1.0
# Numbers of so few values, like months or counts of rooms, are left as they are.
FEW_VALUES = 10
# Outliers: further beyond the outer percentiles than these lie apart, so many times.
FAR = 1.0
# More categories than these become learned vectors.
MOST_ONE_HOT = 50


class Treatment(NamedTuple):
    """What columns of one group have in common."""

    kind: str  # `number`, `category`, `time`
    # Values are missing here; where any column has missing ones, new rows may lack others too, so all are filled.
    missing: bool = False
    filled: bool = False
    transform: "Preprocess.Transform.ValueType" = Preprocess.TRANSFORM_UNSPECIFIED
    clipped: bool = False
    embedded: bool = False
    parts: "tuple[ColumnGroup.DatePart.ValueType, ...]" = ()

    @property
    def plain(self) -> bool:
        """Whether nothing is done but what is done to every column."""
        return self == Treatment(self.kind)


@dataclass(frozen=True)
class Members:
    """The columns of one group."""

    treatment: Treatment
    columns: Sequence[ColumnProfile]
    # Of the group, from 0.
    place: int

    @property
    def names(self) -> list[str]:
        """Theirs."""
        return [column.name for column in self.columns]

    def field(self, name: str) -> str:
        """The path of a field of the group, below `job.train`."""
        return f"preprocess.groups[{self.place}].{name}"


def find_treatment(column: ColumnProfile, *, filled: bool) -> Treatment:
    """What a column needs; `filled`: whether missing values are filled even where it has none now."""
    missing = column.missing_count > 0
    match column.type:
        case Column.INTEGER | Column.NUMBER:
            transform = _transform(column)
            clipped = transform == Preprocess.TRANSFORM_UNSPECIFIED and has_outliers(column.numbers)
            return Treatment("number", missing, filled, transform, clipped)
        case Column.TIMESTAMP:
            return Treatment("time", missing, filled, parts=_parts(column.times))
        case _:
            return Treatment("category", missing, filled, embedded=column.distinct_count > MOST_ONE_HOT)


def has_outliers(numbers: profiles_pb2.NumberFigures) -> bool:
    """Whether the extremes lie further out than all but one in a hundred values lie apart."""
    at = {round(quantile.share, 2): quantile.value for quantile in numbers.quantiles}
    low, high = at.get(0.01, numbers.min), at.get(0.99, numbers.max)
    return max(numbers.max - high, low - numbers.min) > FAR * (high - low) > 0


def _transform(column: ColumnProfile) -> "Preprocess.Transform.ValueType":
    numbers = column.numbers
    if column.distinct_count <= FEW_VALUES or not abs(numbers.skewness) > SKEWED:
        return Preprocess.TRANSFORM_UNSPECIFIED
    return Preprocess.LOG1P if numbers.min >= 0 and numbers.skewness > 0 else Preprocess.YEO_JOHNSON


def _parts(times: profiles_pb2.TimeFigures) -> "tuple[ColumnGroup.DatePart.ValueType, ...]":
    """The parts of a time that can repeat or grow within its span."""
    first, last = _time(times.first), _time(times.last)
    days = (last - first) / dt.timedelta(days=1)
    parts = [ColumnGroup.DAYS]
    if days >= 60:
        parts.append(ColumnGroup.MONTH)
    if days >= 14:
        parts.append(ColumnGroup.WEEKDAY)
    if any((moment.hour, moment.minute) != (0, 0) for moment in (first, last)):
        parts.append(ColumnGroup.HOUR)
    return tuple(parts)


def _time(text: str) -> dt.datetime:
    """A time of the profile, which is in UTC whether it says so or not."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)
