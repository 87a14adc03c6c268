"""Features of the rows that a model takes, and of each other row why it does not: nothing ends for a bad row."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.data.preprocessing.applying import Tally, apply, check_type, codes_of
from service.data.preprocessing.fitted import Fitted, FittedColumn
from service.data.preprocessing.steps import Log1p
from service.data.table import CATEGORICAL, NUMERIC, Table, TableColumn, labels_of, numbers_of
from service.data.values import unseen_category

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rejected:
    """A row that has no prediction."""

    # Its place in the table, from 0.
    row: int
    # The column that it is for; empty where it is for none.
    column: str
    # In words, without the column's name before.
    reason: str


def apply_apart(
    fitted: Fitted, table: Table, *, limit: float, tally: Tally
) -> tuple[npt.NDArray[np.float64], Rows, list[Rejected]]:
    """The features [rows, width] of the rows that the model takes, their places in the table, and the other rows.

    Both ascend. A row is rejected for its first column, in the model's order, that is the reason. What `apply` would
    refuse of a row is what rejects it. Raises InvalidField for a column of another kind.
    """
    reasons: dict[int, Rejected] = {}
    for column in fitted.columns:
        for one in _misfits(column, table.column(column.name)):
            reasons.setdefault(one.row, one)
    taken = np.setdiff1d(np.arange(table.row_count), np.fromiter(reasons, np.int64, len(reasons)), assume_unique=True)
    beyond = np.zeros(len(taken), np.bool_)
    features = apply(fitted, table, taken, limit=limit, tally=tally, beyond=beyond)
    if beyond.any():
        for at in np.flatnonzero(beyond).tolist():
            row = int(taken[at])
            reasons[row] = _out_of_range(fitted, table, row, features[at], limit)
        features, taken = features[~beyond], taken[~beyond]
    return features, taken, [reasons[row] for row in sorted(reasons)]


def _misfits(fitted: FittedColumn, column: TableColumn) -> Iterator[Rejected]:
    """The rows that a column is a reason to reject, before anything is computed."""
    check_type(fitted, column, "job.dataset")
    if column.missing is not None and not fitted.takes_missing:
        why = "the model leaves such rows out" if fitted.drops else "the model takes complete rows only"
        for row in np.flatnonzero(column.missing).tolist():
            yield Rejected(row, fitted.name, f"is missing; {why}")
    if column.type in NUMERIC:
        for row in np.flatnonzero(np.isinf(numbers_of(column))).tolist():
            yield Rejected(row, fitted.name, "is infinite; numbers must be finite")
    elif column.type in CATEGORICAL and not fitted.takes_unseen:
        unseen = codes_of(fitted, column) < 0
        if column.missing is not None:
            unseen &= ~column.missing
        for row in np.flatnonzero(unseen).tolist():
            value = labels_of(column)[int(column.values[row])]
            yield Rejected(row, fitted.name, unseen_category(fitted.name, value, fitted.categories))


def _out_of_range(fitted: Fitted, table: Table, row: int, features: npt.NDArray[np.float64], limit: float) -> Rejected:
    """Why a row's features cannot be taken, of which the first wrong one tells the column."""
    feature = int(np.flatnonzero(~(np.abs(features) <= limit))[0])
    owner, first = fitted.columns[0], 0
    for owner in fitted.columns:
        if feature < first + len(owner.feature_names):
            break
        first += len(owner.feature_names)
    column = table.column(owner.name)
    if column.type not in NUMERIC:
        return Rejected(row, owner.name, "has no finite number after the model's steps")
    value = float(column.values[row])
    if np.isnan(features[feature]) and any(isinstance(step, Log1p) for step in owner.steps):
        return Rejected(row, owner.name, f"is {value:g}, and the model takes ln(1 + x) of it; it must be above -1")
    return Rejected(row, owner.name, f"is {value:g}, which is Inf, NaN or beyond {limit:.3g} after scaling")
