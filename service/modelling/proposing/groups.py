"""What is done to the inputs: columns that need the same are one group."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from service.errors import shown
from service.modelling.proposing.reasons import Draft, figure, named, share
from traind.v1 import preprocess_pb2, profiles_pb2, tables_pb2

Column = tables_pb2.Column
ColumnProfile = profiles_pb2.ColumnProfile
ColumnGroup = preprocess_pb2.ColumnGroup
Impute = preprocess_pb2.Impute
Preprocess = preprocess_pb2.Preprocess

# Leaning more than this is worth a transform.
SKEWED = 1.0
# Numbers of so few values, like months or counts of rooms, are left as they are.
FEW_VALUES = 10
# Outliers: further beyond the outer percentiles than these lie apart, so many times.
FAR = 1.0
# More categories than these become learned vectors.
MOST_ONE_HOT = 50
CLIPPED = 0.01


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
class _Members:
    """The columns of one group."""

    treatment: Treatment
    columns: Sequence[ColumnProfile]
    place: int

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def field(self, name: str) -> str:
        return f"preprocess.groups[{self.place}].{name}"


def propose_groups(draft: Draft, inputs: Sequence[ColumnProfile], row_count: int) -> int:
    """Group the inputs by what they need; answers about how many features come out."""
    by_treatment: dict[Treatment, list[ColumnProfile]] = {}
    gaps = sum(column.missing_count > 0 for column in inputs)
    for column in inputs:
        by_treatment.setdefault(_treatment(column, filled=gaps > 0), []).append(column)
    treated = {treatment: columns for treatment, columns in by_treatment.items() if not treatment.plain}
    for place, (treatment, columns) in enumerate(treated.items()):
        _add(draft, _Members(treatment, columns, place), row_count, gaps)
    _scale(draft, inputs)
    _unseen(draft, inputs)
    return sum(_width(column, treatment) for treatment, columns in by_treatment.items() for column in columns)


def has_outliers(numbers: profiles_pb2.NumberFigures) -> bool:
    """Whether the extremes lie further out than all but one in a hundred values lie apart."""
    at = {round(quantile.share, 2): quantile.value for quantile in numbers.quantiles}
    low, high = at.get(0.01, numbers.min), at.get(0.99, numbers.max)
    return max(numbers.max - high, low - numbers.min) > FAR * (high - low) > 0


def _treatment(column: ColumnProfile, *, filled: bool) -> Treatment:
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


def _add(draft: Draft, members: _Members, row_count: int, gaps: int) -> None:
    treatment = members.treatment
    group = draft.spec.preprocess.groups.add(columns=members.names)
    if treatment.filled:
        _impute(group, treatment)
        _tell_impute(draft, members, row_count, gaps)
    if treatment.clipped:
        group.clip.quantile = CLIPPED
        _tell_clip(draft, members)
    if treatment.transform:
        group.transform = treatment.transform
        _tell_transform(draft, members)
    if treatment.embedded:
        group.encode.embedding.SetInParent()
        widest = max(members.columns, key=lambda column: column.distinct_count)
        draft.because(
            members.field("encode"),
            f"{named(members.names)}: {shown(widest.name)} has {widest.distinct_count:,} categories; above "
            f"{MOST_ONE_HOT} learned vectors are smaller than columns of 0 and 1.",
            f"{named(members.names, korean=True)}: {named([widest.name])}의 범주는 {widest.distinct_count:,}개입니다. "
            f"{MOST_ONE_HOT}개를 넘으면 0과 1의 열보다 학습된 벡터가 작습니다.",
        )
    if treatment.parts:
        group.date_parts.extend(treatment.parts)
        times = members.columns[0].times
        parts = ", ".join(ColumnGroup.DatePart.Name(part) for part in treatment.parts)
        draft.because(
            members.field("date_parts"),
            f"{named(members.names)}: from {times.first} to {times.last} these parts differ: {parts}.",
            f"{named(members.names, korean=True)}: {times.first}부터 {times.last}까지 달라지는 부분은 {parts}입니다.",
        )


def _impute(group: ColumnGroup, treatment: Treatment) -> None:
    if treatment.kind == "category":
        group.impute.how, group.impute.text = Impute.CONSTANT, "missing"
    else:
        group.impute.how, group.impute.indicator = Impute.MEDIAN, treatment.missing


def _tell_impute(draft: Draft, members: _Members, row_count: int, gaps: int) -> None:
    worst = max(members.columns, key=lambda column: column.missing_count)
    count, part = f"{worst.missing_count:,}", share(worst.missing_count / row_count)
    category = members.treatment.kind == "category"
    if not members.treatment.missing:
        english = (
            f"none of {row_count:,} values is missing, but {gaps} other columns have gaps and new rows may lack these"
        )
        korean = f"{row_count:,}개 값이 모두 있지만, 다른 {gaps}개 열에 빈 곳이 있어 새 행에서는 빠질 수 있습니다"
    else:
        english = f"up to {count} values are missing ({part}, {shown(worst.name)})"
        korean = f"빠진 값이 많게는 {count}개입니다({part}, {named([worst.name])})"
    if category:
        english, korean = (
            f"{english}; that is a category of its own",
            f"{korean}. 빠진 것 자체를 하나의 범주로 삼습니다",
        )
    elif members.treatment.missing:
        english = f"{english}; the median stands for them, and one more input tells where"
        korean = f"{korean}. 중앙값으로 채우고, 빠진 곳을 알리는 입력을 더합니다"
    else:
        english, korean = f"{english}; the median would stand for them", f"{korean}. 그때는 중앙값으로 채웁니다"
    names = members.names
    draft.because(members.field("impute"), f"{named(names)}: {english}.", f"{named(names, korean=True)}: {korean}.")


def _tell_transform(draft: Draft, members: _Members) -> None:
    worst = max(members.columns, key=lambda column: abs(column.numbers.skewness))
    skewness = figure(round(worst.numbers.skewness, 2))
    log = members.treatment.transform == Preprocess.LOG1P
    low = figure(min(column.numbers.min for column in members.columns))
    why = f"no value is below {low}" if log else f"values go down to {low}"
    why_korean = f"가장 작은 값은 {low}입니다"
    draft.because(
        members.field("transform"),
        f"{named(members.names)}: skewness up to {skewness} ({shown(worst.name)}), and {why}.",
        f"{named(members.names, korean=True)}: 왜도가 {skewness}({named([worst.name])})에 이르고 {why_korean}.",
    )


def _tell_clip(draft: Draft, members: _Members) -> None:
    first = members.columns[0]
    at = {round(quantile.share, 2): quantile.value for quantile in first.numbers.quantiles}
    low, high = figure(at.get(0.01, first.numbers.min)), figure(at.get(0.99, first.numbers.max))
    least, most = figure(first.numbers.min), figure(first.numbers.max)
    draft.because(
        members.field("clip"),
        f"{named(members.names)}: 98 % of {shown(first.name)} lie from {low} to {high}, but it goes from {least} to "
        f"{most}.",
        f"{named(members.names, korean=True)}: {named([first.name])} 값의 98 %는 {low}에서 {high} 사이인데 전체는 "
        f"{least}에서 {most}까지입니다.",
    )


def _scale(draft: Draft, inputs: Sequence[ColumnProfile]) -> None:
    draft.spec.preprocess.scale = Preprocess.STANDARD
    spreads = [column.numbers.std for column in inputs if column.HasField("numbers") and column.numbers.std > 0]
    if spreads:
        low, high = figure(min(spreads)), figure(max(spreads))
        draft.because(
            "preprocess.scale",
            f"Standard deviations go from {low} to {high} (columns: {len(spreads)}); scaled, none drowns another.",
            f"{len(spreads)}개 열의 표준편차가 {low}에서 {high}까지 다릅니다. 크기를 맞추면 한 열이 다른 열을 덮지 "
            "않습니다.",
        )


def _unseen(draft: Draft, inputs: Sequence[ColumnProfile]) -> None:
    categories = [column for column in inputs if column.type in {Column.CATEGORY, Column.BOOLEAN}]
    if not categories:
        return
    draft.spec.preprocess.unseen = Preprocess.UNKNOWN
    widest = max(categories, key=lambda column: column.distinct_count)
    draft.because(
        "preprocess.unseen",
        f"{len(categories)} columns hold categories, {shown(widest.name)} {widest.distinct_count:,} of them; a new one "
        "shall not stop a prediction.",
        f"범주 열은 {len(categories)}개이고 {named([widest.name])}의 범주는 {widest.distinct_count:,}개입니다. 새로운 "
        "범주가 와도 예측이 멈추지 않게 합니다.",
    )


def _width(column: ColumnProfile, treatment: Treatment) -> int:
    """About how many features a column becomes."""
    imputed = int(treatment.missing)
    match treatment.kind:
        case "category":
            values = column.distinct_count + imputed
            return min(50, (values + 1) // 2) if treatment.embedded else values
        case "time":
            return len(treatment.parts) + imputed
        case _:
            return 1 + imputed
