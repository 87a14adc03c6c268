"""What is to be predicted: numbers or classes, and what is done to them first."""

from dataclasses import dataclass

from service.errors import invalid, shown
from service.modelling.proposing.groups import SKEWED, has_outliers
from service.modelling.proposing.reasons import Draft, figure, named, share
from traind.v1 import preprocess_pb2, profiles_pb2, tables_pb2

Column = tables_pb2.Column
Preprocess = preprocess_pb2.Preprocess
TargetSteps = preprocess_pb2.TargetSteps

# Whole numbers with so few values, each of which many rows have, are classes.
MOST_NUMBERED_CLASSES = 10
ROWS_PER_NUMBERED_CLASS = 10
# A class is rare where another has so many times its rows.
IMBALANCE = 20


@dataclass(frozen=True)
class Goal:
    """The target by figures."""

    name: str
    column: profiles_pb2.ColumnProfile
    # Rows that have a value.
    rows: int
    missing: int
    # Classes; 0 for numbers.
    classes: int = 0
    rarest: int = 0
    commonest: int = 0

    @property
    def rarest_share(self) -> float:
        """Of the rows."""
        return self.rarest / self.rows

    @property
    def imbalanced(self) -> bool:
        """Whether weights for the classes are worth what they cost: probabilities that are shares no more."""
        return self.classes > 1 and self.commonest >= IMBALANCE * self.rarest


def find_goal(column: profiles_pb2.ColumnProfile, row_count: int) -> Goal:
    """What can be learned about a column. Raises InvalidField naming `target` where that is nothing."""
    name = shown(column.name)
    if column.type in {Column.TEXT, Column.TIMESTAMP}:
        kind = Column.Type.Name(column.type)
        raise invalid("target", f"column {name} is {kind}, which cannot be predicted; choose numbers or categories")
    if column.distinct_count < 2:
        held = "no value" if column.count == 0 else "one value only"
        raise invalid("target", f"column {name} holds {held} in {row_count:,} rows; there is nothing to tell apart")
    goal = Goal(column.name, column, column.count, column.missing_count)
    if not _holds_classes(column):
        return goal
    counts = [top.count for top in column.top_values]
    # Values that stand once are not among the most frequent ones.
    told = len(counts) == column.distinct_count
    rarest = min(counts) if told else 1
    return Goal(
        column.name,
        column,
        column.count,
        column.missing_count,
        classes=column.distinct_count,
        rarest=rarest,
        commonest=max(counts, default=1),
    )


def propose_target(draft: Draft, goal: Goal) -> None:
    """What is done to the targets, and what is minimised."""
    _missing(draft, goal)
    if goal.classes:
        _class_loss(draft, goal)
    else:
        _number_steps(draft, goal)


def _holds_classes(column: profiles_pb2.ColumnProfile) -> bool:
    if column.type != Column.INTEGER:
        return column.type != Column.NUMBER
    few = column.distinct_count <= MOST_NUMBERED_CLASSES
    return column.distinct_count == 2 or (few and column.count >= ROWS_PER_NUMBERED_CLASS * column.distinct_count)


def _missing(draft: Draft, goal: Goal) -> None:
    if not goal.missing:
        return
    draft.spec.preprocess.target.missing = TargetSteps.DROP_ROW
    draft.because(
        "preprocess.target.missing",
        f"{goal.missing:,} rows have no {shown(goal.name)}; nothing can be learned from them.",
        f"{goal.missing:,}개 행에 {named([goal.name])} 값이 없어 학습에 쓸 수 없습니다.",
    )


def _class_loss(draft: Draft, goal: Goal) -> None:
    classes, rarest = goal.classes, f"{goal.rarest:,}"
    if goal.imbalanced:
        draft.spec.loss.cross_entropy.class_weights.balanced = True
        draft.because(
            "loss.cross_entropy.class_weights",
            f"The rarest of {classes} classes has {rarest} rows and the commonest {goal.commonest:,}; weights keep it "
            "from being overlooked, at the price that probabilities are no shares.",
            f"클래스 {classes}개 중 가장 드문 것은 {rarest}행, 가장 흔한 것은 {goal.commonest:,}행입니다. 가중치로 "
            "드문 클래스를 놓치지 않게 하되, 확률은 실제 비율과 달라집니다.",
        )
    elif classes == 2:
        draft.spec.loss.bce.SetInParent()
        draft.because(
            "loss.bce",
            f"{shown(goal.name)} has 2 classes; the smaller one has {share(goal.rarest_share)} of the rows, which "
            "needs no weights.",
            f"{named([goal.name])}의 클래스는 2개이고 작은 쪽이 행의 {share(goal.rarest_share)}입니다. 가중치는 "
            "필요 없습니다.",
        )
    else:
        draft.spec.loss.cross_entropy.SetInParent()
        draft.because(
            "loss.cross_entropy",
            f"{shown(goal.name)} has {classes} classes; the rarest has {rarest} rows.",
            f"{named([goal.name])}의 클래스는 {classes}개이고 가장 드문 것은 {rarest}행입니다.",
        )


def _number_steps(draft: Draft, goal: Goal) -> None:
    numbers, steps = goal.column.numbers, draft.spec.preprocess.target
    skewness = figure(numbers.skewness)
    if abs(numbers.skewness) > SKEWED:
        log = numbers.min >= 0 and numbers.skewness > 0
        steps.transform = Preprocess.LOG1P if log else Preprocess.YEO_JOHNSON
        draft.because(
            "preprocess.target.transform",
            f"{shown(goal.name)} leans to one side (skewness {skewness}); transformed, a few large errors do not rule.",
            f"{named([goal.name])}의 분포가 한쪽으로 치우쳐 있습니다(왜도 {skewness}). 변환하면 몇 개의 큰 오차에 "
            "휘둘리지 않습니다.",
        )
    steps.scale = Preprocess.STANDARD
    std = figure(numbers.std)
    draft.because(
        "preprocess.target.scale",
        f"{shown(goal.name)} has the standard deviation {std}; scaled to 1 it suits first weights and learning rate. "
        "Predictions and figures are in its own units again.",
        f"{named([goal.name])}의 표준편차는 {std}입니다. 1로 맞추면 초기 가중치와 학습률에 알맞습니다. 예측값과 지표는 "
        "원래 단위로 되돌립니다.",
    )
    if steps.transform:
        draft.spec.loss.mse.SetInParent()
        _tell_loss(
            draft, "loss.mse", goal, "transformed, squared errors suit it", "변환한 값에는 제곱 오차가 알맞습니다"
        )
    elif has_outliers(numbers):
        draft.spec.loss.huber.SetInParent()
        _tell_loss(
            draft,
            "loss.huber",
            goal,
            "Huber's loss is not ruled by extremes",
            "Huber 손실은 극단값에 휘둘리지 않습니다",
        )
    else:
        draft.spec.loss.mse.SetInParent()
        _tell_loss(draft, "loss.mse", goal, "near enough for squared errors", "제곱 오차를 쓰기에 무리가 없습니다")


def _tell_loss(draft: Draft, field: str, goal: Goal, english: str, korean: str) -> None:
    numbers = goal.column.numbers
    low, high = figure(numbers.min), figure(numbers.max)
    draft.because(
        field,
        f"{shown(goal.name)} goes from {low} to {high}, skewness {figure(numbers.skewness)}: {english}.",
        f"{named([goal.name])}의 범위는 {low}에서 {high}까지, 왜도는 {figure(numbers.skewness)}입니다. {korean}.",
    )
