"""Which columns can teach something about the target."""

import re
from collections.abc import Mapping, Sequence

from service.errors import shown
from service.modelling.proposing.goal import Goal
from service.modelling.proposing.reasons import Draft, figure, named
from traind.v1 import profiles_pb2, tables_pb2

Column = tables_pb2.Column
ColumnProfile = profiles_pb2.ColumnProfile

# With fewer rows every value may differ by chance.
FEWEST_ROWS_TO_IDENTIFY = 20
# Categories of which more than this share of the rows has one of its own.
OWN_SHARE = 0.5
# What tells the target so exactly was probably made of it; in fewer rows it may be chance.
LEAK = 0.999
FEWEST_ROWS_TO_ACCUSE = 50
_ID = re.compile(r"(^|[_\s.-])(id|no|nr|key|index|uuid)$|^(id|idx|index)|번호$|아이디$|[a-z]I[Dd]$", re.IGNORECASE)


def choose_inputs(
    draft: Draft, goal: Goal, columns: Sequence[ColumnProfile], associations: Mapping[str, float]
) -> list[ColumnProfile]:
    """The columns that stay, in their order; a reason for each kind that does not."""
    told = {**_correlations(draft.profile, goal.name), **associations} if goal.rows >= FEWEST_ROWS_TO_ACCUSE else {}
    usable = _without_dead(draft, columns)
    # In a table where everything tells the target, as in an exercise, nothing was leaked.
    leaks = [column for column in usable if told.get(column.name, 0.0) >= LEAK]
    kept = [column for column in usable if column not in leaks] or usable
    if len(kept) < len(usable):
        _tell_leaks(draft, goal, leaks, told)
    draft.because(
        "inputs",
        f"{len(kept)} of {len(columns)} columns beside the target can teach something.",
        f"목표 열을 뺀 {len(columns)}개 열 가운데 {len(kept)}개에서 배울 것이 있습니다.",
    )
    return kept


def _without_dead(draft: Draft, columns: Sequence[ColumnProfile]) -> list[ColumnProfile]:
    """The columns without those that cannot teach anything."""
    constant = [c for c in columns if c.distinct_count == 0 or (c.distinct_count == 1 and not c.missing_count)]
    texts = [c for c in columns if c.type == Column.TEXT and c not in constant]
    ids = [c for c in columns if c not in texts and c not in constant and _is_identifier(c)]
    rows = draft.profile.row_count
    if constant:
        most = max(c.distinct_count for c in constant)
        korean = f"{rows:,}개 행에 서로 다른 값이 {most}개입니다"
        _tell(draft, constant, f"{most} different values in {rows:,} rows", korean)
    if texts:
        first = texts[0]
        _tell(
            draft,
            texts,
            f"free text, {shown(first.name)} with {first.distinct_count:,} different ones",
            f"자유로운 글이며 {named([first.name])}에는 서로 다른 값이 {first.distinct_count:,}개입니다",
        )
    if ids:
        first = ids[0]
        _tell(
            draft,
            ids,
            f"identifiers, {shown(first.name)} with {first.distinct_count:,} different values in {first.count:,} rows",
            f"식별자이며 {named([first.name])}에는 {first.count:,}개 행에 다른 값이 {first.distinct_count:,}개입니다",
        )
    dead = {column.name for column in (*constant, *texts, *ids)}
    return [column for column in columns if column.name not in dead]


def _tell(draft: Draft, columns: Sequence[ColumnProfile], english: str, korean: str) -> None:
    names = [column.name for column in columns]
    draft.because(
        "inputs", f"Without {named(names)}: {english}.", f"{named(names, korean=True)} 열은 뺍니다: {korean}."
    )


def _tell_leaks(draft: Draft, goal: Goal, leaks: Sequence[ColumnProfile], told: Mapping[str, float]) -> None:
    worst = max(leaks, key=lambda column: told[column.name])
    exactly = figure(round(told[worst.name], 6))
    english = f"{shown(worst.name)} tells {shown(goal.name)} almost exactly (association {exactly}), as if made of it"
    korean = f"{named([worst.name])} 열이 {named([goal.name])} 값을 거의 그대로 알려 줍니다(연관도 {exactly})"
    _tell(draft, leaks, english, korean)
    for column in leaks:
        draft.find(
            tables_pb2.Finding.SUSPECTED_LEAK,
            f"{shown(column.name)} tells {shown(goal.name)} almost exactly; if it is known before the target is, add "
            "it to the inputs.",
            association=told[column.name],
        )


def _is_identifier(column: ColumnProfile) -> bool:
    """Whether a column tells every row apart, and so says nothing of a new one."""
    rows = column.count
    if rows < FEWEST_ROWS_TO_IDENTIFY:
        return False
    if column.type == Column.CATEGORY:
        return column.distinct_count > OWN_SHARE * rows
    if column.type != Column.INTEGER or column.distinct_count < rows:
        return False
    counted_up = column.numbers.max - column.numbers.min + 1 == rows
    return counted_up or bool(_ID.search(column.name))


def _correlations(profile: profiles_pb2.Profile, target: str) -> dict[str, float]:
    """How closely columns of numbers follow a target of numbers: |r| by name; NaN is left out."""
    names = list(profile.correlation.columns)
    if target not in names:
        return {}
    place = names.index(target) * len(names)
    row = profile.correlation.values.values[place : place + len(names)]
    return {name: abs(r) for name, r in zip(names, row, strict=True) if name != target and r == r}  # noqa: PLR0124
