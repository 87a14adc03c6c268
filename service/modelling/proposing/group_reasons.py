"""Why columns of a group are treated as they are."""

from service.errors import shown
from service.modelling.proposing.reasons import Draft, figure, named, share
from service.modelling.proposing.treatments import MOST_ONE_HOT, Members
from traind.v1 import preprocess_pb2

ColumnGroup = preprocess_pb2.ColumnGroup
Preprocess = preprocess_pb2.Preprocess


def tell_impute(draft: Draft, members: Members, row_count: int, gaps: int) -> None:
    """How many values are missing, and what stands for them."""
    worst = max(members.columns, key=lambda column: column.missing_count)
    count, part = f"{worst.missing_count:,}", share(worst.missing_count / row_count)
    category = members.treatment.kind == "category"
    if not members.treatment.missing:
        english = f"none of {row_count:,} values is missing, but elsewhere some are (columns: {gaps})"
        korean = f"{row_count:,}개 값이 모두 있지만 다른 열에는 빈 곳이 있습니다(열 {gaps}개)"
    else:
        english = f"up to {count} values are missing ({part}, {shown(worst.name)})"
        korean = f"빠진 값이 많게는 {count}개입니다({part}, {named([worst.name])})"
    if category and members.treatment.missing:
        english = f"{english}; that one is missing is a category of its own"
        korean = f"{korean}. 빠진 것 자체를 하나의 범주로 삼습니다"
    elif category:
        english = f"{english}; in a new row a missing one is a category of its own"
        korean = f"{korean}. 새 행에서 빠진 것은 하나의 범주로 삼습니다"
    elif members.treatment.missing:
        english = f"{english}; the median stands for them, and one more input tells where"
        korean = f"{korean}. 중앙값으로 채우고, 빠진 곳을 알리는 입력을 더합니다"
    else:
        english = f"{english}; in a new row the median stands for a missing one"
        korean = f"{korean}. 새 행에서 빠진 것은 중앙값으로 채웁니다"
    names = members.names
    draft.because(members.field("impute"), f"{named(names)}: {english}.", f"{named(names, korean=True)}: {korean}.")


def tell_clip(draft: Draft, members: Members) -> None:
    """How far the extremes lie out."""
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


def tell_transform(draft: Draft, members: Members) -> None:
    """How far values lean to one side."""
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


def tell_encode(draft: Draft, members: Members) -> None:
    """Why categories become vectors."""
    widest = max(members.columns, key=lambda column: column.distinct_count)
    draft.because(
        members.field("encode"),
        f"{named(members.names)}: {shown(widest.name)} has {widest.distinct_count:,} categories; above "
        f"{MOST_ONE_HOT} learned vectors are smaller than columns of 0 and 1.",
        f"{named(members.names, korean=True)}: {named([widest.name])}의 범주는 {widest.distinct_count:,}개입니다. "
        f"{MOST_ONE_HOT}개를 넘으면 0과 1의 열보다 학습된 벡터가 작습니다.",
    )


def tell_parts(draft: Draft, members: Members) -> None:
    """Why these parts of times."""
    times = members.columns[0].times
    first, last = (time.removesuffix("T00:00:00Z") for time in (times.first, times.last))
    parts = ", ".join(ColumnGroup.DatePart.Name(part) for part in members.treatment.parts)
    draft.because(
        members.field("date_parts"),
        f"{named(members.names)}: from {first} to {last} these parts differ: {parts}.",
        f"{named(members.names, korean=True)}: {first}부터 {last}까지 달라지는 부분은 {parts}입니다.",
    )
