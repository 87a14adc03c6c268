"""Which rows are held out."""

from collections.abc import Sequence

from service.errors import shown
from service.modelling.proposing.goal import Goal
from service.modelling.proposing.reasons import Draft, named, share
from traind.v1 import profiles_pb2, tables_pb2

Column = tables_pb2.Column
FEWEST_ROWS_TO_SPLIT = 20
FRACTION = 0.2


def propose_split(draft: Draft, goal: Goal, inputs: Sequence[profiles_pb2.ColumnProfile]) -> None:
    """Choose the split: the newest rows of a series, else a part drawn by the seed; none of very few rows."""
    split, rows = draft.spec.split, goal.rows
    if rows < FEWEST_ROWS_TO_SPLIT:
        split.none.SetInParent()
        draft.because(
            "split.none",
            f"{rows} rows are too few to hold some out (fewer than {FEWEST_ROWS_TO_SPLIT}).",
            f"{rows}개 행은 일부를 떼어 두기에 너무 적습니다({FEWEST_ROWS_TO_SPLIT}개 미만).",
        )
        return
    clock = _clock(inputs)
    if clock is not None:
        split.time.column, split.time.fraction = clock.name, FRACTION
        draft.because(
            "split.time",
            f"Each of {clock.count:,} rows has a time of its own in {shown(clock.name)}, so the table is a series: a "
            "model is measured on what came after.",
            f"{clock.count:,}개 행 모두 {named([clock.name])} 시각이 서로 다른 시계열입니다. 그래서 나중에 온 행으로 "
            "평가합니다.",
        )
        return
    split.hold_out.fraction = FRACTION
    held = round(FRACTION * rows)
    if goal.classes:
        split.hold_out.stratify = True
    kept = f", each class by its share (the rarest has {goal.rarest:,} rows)" if goal.classes else ""
    kept_korean = f" 클래스 비율을 지킵니다(가장 드문 것은 {goal.rarest:,}행)." if goal.classes else ""
    draft.because(
        "split.hold_out",
        f"{share(FRACTION)} of {rows:,} rows, about {held:,}, measure the model{kept}.",
        f"{rows:,}개 행의 {share(FRACTION)}, 약 {held:,}개로 평가합니다.{kept_korean}",
    )


def _clock(inputs: Sequence[profiles_pb2.ColumnProfile]) -> profiles_pb2.ColumnProfile | None:
    """The one column of times, if every row has a time of its own."""
    times = [column for column in inputs if column.type == Column.TIMESTAMP]
    if len(times) == 1 and not times[0].missing_count and times[0].distinct_count == times[0].count:
        return times[0]
    return None
