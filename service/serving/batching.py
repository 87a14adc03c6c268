"""Questions of one model that came while another was answered go through its network together.

Nobody waits for others to come: a server takes together what is there when it has a hand free. What one of them has
wrong is not the others' concern, and each is answered in its own rows. As with any other number of rows in a call, the
last digits of an answer may depend on how many there were.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Generic, TypeVar

import numpy as np

from service.data.joining import joined
from service.data.table import Table
from service.model_names import Named
from service.modelling.predictor import Predicted, Predictor

Told = TypeVar("Told")
Told_co = TypeVar("Told_co", covariant=True)
Holder = TypeVar("Holder")

# What a thread may do that others wait for: multiplications for about a quarter of a millisecond; rows and columns of
# a table, for the general way takes about 20 microseconds a column, and PyTorch 100 more.
QUICK_WORK = 2_000_000
QUICK_ROWS, QUICK_COLUMNS = 32, 16
# Of questions that are answered together; so many rows where others wait for the thread, and where nobody does.
MOST_TOGETHER = 64
LIGHT_ROWS, HEAVY_ROWS = 256, 8192
# And so many multiplications of heavy ones: about a tenth of a second.
HEAVY_WORK = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Question(Generic[Told_co]):
    """Rows that a model is asked about, looked at and found to be of its columns."""

    named: Named
    predictor: Predictor
    table: Table
    # The answer as the one who asks wants it. Raises TraindError where it has no room.
    tell: Callable[[Predicted], Told_co]

    @property
    def work(self) -> int:
        """About how many multiplications it takes."""
        return self.table.row_count * self.named.parameter_count

    @property
    def heavy(self) -> bool:
        """Whether a thread that others wait for must not answer it."""
        return self.work > QUICK_WORK or not is_small(self.table.row_count, len(self.table.columns))

    def answer(self) -> Told_co:
        """The answer by itself. Raises InvalidField on values that the model cannot take, and as `tell` does."""
        return self.tell(self.predictor.predict(self.table))


def answer(questions: Sequence[Question[Told]]) -> list[Told | Exception]:
    """What each of some questions of one model is answered with, or what is wrong with it."""
    if len(questions) == 1:
        return [_alone(questions[0])]
    predicted = None
    # What goes wrong is found again, and told to the one whose rows they are.
    with contextlib.suppress(Exception):
        predicted = questions[0].predictor.predict(joined([question.table for question in questions]))
    if predicted is None:
        return [_alone(question) for question in questions]
    edges = np.cumsum([0, *(question.table.row_count for question in questions)]).tolist()
    return [
        _told(question, _rows(predicted, begin, end))
        for question, (begin, end) in zip(questions, pairwise(edges), strict=True)
    ]


def by_version(held: Iterable[tuple[Holder, Question[Any]]]) -> Iterable[list[tuple[Holder, Question[Any]]]]:
    """Questions, each with who asks it, by the version that they are asked of."""
    found: dict[str, list[tuple[Holder, Question[Any]]]] = {}
    for one in held:
        found.setdefault(one[1].named.id, []).append(one)
    return found.values()


def first_part(
    held: list[tuple[Holder, Question[Any]]],
) -> tuple[list[tuple[Holder, Question[Any]]], list[tuple[Holder, Question[Any]]]]:
    """Of questions to one version: the first ones, which are not too much to be answered together; and the others."""
    rows = work = 0
    most_rows, most_work = (HEAVY_ROWS, HEAVY_WORK) if held[0][1].heavy else (LIGHT_ROWS, QUICK_WORK)
    for place, (_, question) in enumerate(held[:MOST_TOGETHER]):
        rows += question.table.row_count
        work += question.work
        if place and (rows > most_rows or work > most_work):
            return held[:place], held[place:]
    return held[:MOST_TOGETHER], held[MOST_TOGETHER:]


def parts(held: Iterable[tuple[Holder, Question[Any]]]) -> Iterator[list[tuple[Holder, Question[Any]]]]:
    """Questions to any versions in groups, each of which can be answered together."""
    for left in by_version(held):
        while left:
            part, left[:] = first_part(left)
            yield part


def is_small(rows: int, columns: int) -> bool:
    """Whether a thread that others wait for may make a table of so much."""
    return rows <= QUICK_ROWS and columns <= QUICK_COLUMNS


def _alone(question: Question[Told]) -> Told | Exception:
    try:
        return question.answer()
    except Exception as error:  # noqa: BLE001 - whoever asks decides what is told of it
        return error


def _told(question: Question[Told], predicted: Predicted) -> Told | Exception:
    try:
        return question.tell(predicted)
    except Exception as error:  # noqa: BLE001 - as above
        return error


def _rows(predicted: Predicted, begin: int, end: int) -> Predicted:
    return replace(
        predicted,
        values=predicted.values[begin:end],
        probabilities=None if predicted.probabilities is None else predicted.probabilities[begin:end],
        deviations=None if predicted.deviations is None else predicted.deviations[begin:end],
    )
