"""What is done to the inputs: columns that need the same are one group."""

from collections.abc import Sequence

from service.errors import shown
from service.modelling.proposing.group_reasons import tell_clip, tell_encode, tell_impute, tell_parts, tell_transform
from service.modelling.proposing.reasons import Draft, figure, named
from service.modelling.proposing.treatments import Members, Treatment, find_treatment
from traind.v1 import preprocess_pb2, profiles_pb2, tables_pb2

Column = tables_pb2.Column
ColumnProfile = profiles_pb2.ColumnProfile
ColumnGroup = preprocess_pb2.ColumnGroup
Impute = preprocess_pb2.Impute
Preprocess = preprocess_pb2.Preprocess

CLIPPED = 0.01


def propose_groups(draft: Draft, inputs: Sequence[ColumnProfile], row_count: int) -> int:
    """Group the inputs by what they need; answers about how many features come out."""
    by_treatment: dict[Treatment, list[ColumnProfile]] = {}
    gaps = sum(column.missing_count > 0 for column in inputs)
    for column in inputs:
        by_treatment.setdefault(find_treatment(column, filled=gaps > 0), []).append(column)
    treated = {treatment: columns for treatment, columns in by_treatment.items() if not treatment.plain}
    for place, (treatment, columns) in enumerate(treated.items()):
        _add(draft, Members(treatment, columns, place), row_count, gaps)
    _scale(draft, inputs)
    _unseen(draft, inputs)
    return sum(_width(column, treatment) for treatment, columns in by_treatment.items() for column in columns)


def _add(draft: Draft, members: Members, row_count: int, gaps: int) -> None:
    treatment = members.treatment
    group = draft.spec.preprocess.groups.add(columns=members.names)
    if treatment.filled:
        _impute(group, treatment)
        tell_impute(draft, members, row_count, gaps)
    if treatment.clipped:
        group.clip.quantile = CLIPPED
        tell_clip(draft, members)
    if treatment.transform:
        group.transform = treatment.transform
        tell_transform(draft, members)
    if treatment.embedded:
        group.encode.embedding.SetInParent()
        tell_encode(draft, members)
    if treatment.parts:
        group.date_parts.extend(treatment.parts)
        tell_parts(draft, members)


def _impute(group: ColumnGroup, treatment: Treatment) -> None:
    if treatment.kind == "category":
        group.impute.how, group.impute.text = Impute.CONSTANT, "missing"
    else:
        group.impute.how, group.impute.indicator = Impute.MEDIAN, treatment.missing


def _scale(draft: Draft, inputs: Sequence[ColumnProfile]) -> None:
    draft.spec.preprocess.scale = Preprocess.STANDARD
    spread = [column for column in inputs if column.HasField("numbers") and column.numbers.std > 0]
    spreads = [column.numbers.std for column in spread]
    if len(spreads) == 1:
        name, std = spread[0].name, figure(spreads[0])
        draft.because(
            "preprocess.scale",
            f"{shown(name)} has the standard deviation {std}; scaled to 1 it suits first weights and learning rate.",
            f"{named([name])}의 표준편차는 {std}입니다. 1로 맞추면 초기 가중치와 학습률에 알맞습니다.",
        )
    elif spreads:
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
