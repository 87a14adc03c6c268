"""How exactly one column tells another: what tells a target almost exactly was probably made of it."""

import numpy as np
import numpy.typing as npt

from service.data.table import TableColumn
from traind.v1 import tables_pb2

Column = tables_pb2.Column

# Numbers with more values than these are looked at as a rank and by where they are missing or 0.
MOST_GROUPS = 50
# Fewer rows than these for each group tell a target by chance.
ROWS_IN_GROUP = 10
# The first rows are enough to see what is almost exact.
ROWS = 100_000
_NUMBERS = frozenset({Column.INTEGER, Column.NUMBER})


def association(column: TableColumn, target: TableColumn, *, classes: bool) -> float:
    """0 to 1: how much better the target is known to who knows the column.

    Of classes: the share of errors that are spared by answering the commonest class of each group of equal values
    (Goodman and Kruskal's lambda). Of numbers: the share of the variance between the groups, or the squared rank
    correlation with a column of numbers, whichever is more.
    """
    there = ~_missing(target)[:ROWS]
    groups = _groups(column)[there]
    values = target.values[:ROWS][there]
    if classes:
        return _spared_errors(groups, np.unique(values, return_inverse=True)[1])
    between = _between(groups, values.astype(np.float64))
    if column.type not in _NUMBERS:
        return between
    both = there & ~_missing(column)[:ROWS]
    return max(between, _rank_correlation(column.values[:ROWS][both], target.values[:ROWS][both]))


def _missing(column: TableColumn) -> npt.NDArray[np.bool_]:
    return np.zeros(len(column.values), bool) if column.missing is None else np.asarray(column.missing)


def _groups(column: TableColumn) -> npt.NDArray[np.int64]:
    """Which rows have equal values; missing ones are a group too. Codes from 0, [rows]."""
    values, missing = column.values[:ROWS], _missing(column)[:ROWS]
    if column.type in _NUMBERS:
        found = np.unique(values[~missing])
        values = np.searchsorted(found, values) if len(found) <= MOST_GROUPS else values != 0
    codes = np.where(missing, -1, values.astype(np.int64))
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def _spared_errors(groups: npt.NDArray[np.int64], classes: npt.NDArray[np.int64]) -> float:
    """`groups` and `classes` are codes [rows]."""
    if not _enough(groups):
        return 0.0
    width = int(classes.max()) + 1
    counts = np.bincount(groups * width + classes, minlength=(int(groups.max()) + 1) * width).reshape(-1, width)
    commonest = counts.sum(axis=0).max()
    errors = len(groups) - commonest
    return float((counts.max(axis=1).sum() - commonest) / errors) if errors else 0.0


def _between(groups: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> float:
    """The share of the variance of `values` [rows] that lies between the groups."""
    if not _enough(groups):
        return 0.0
    spread = values - values.mean()
    total = float(spread @ spread)
    sums, sizes = np.bincount(groups, spread), np.bincount(groups)
    return float((sums**2 / sizes).sum() / total) if total else 0.0


def _enough(groups: npt.NDArray[np.int64]) -> bool:
    return len(groups) > 0 and len(groups) >= ROWS_IN_GROUP * (int(groups.max()) + 1)


def _rank_correlation(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Spearman's, squared; equal values share their mean rank. 0 where one is constant."""
    if len(one) < 2:
        return 0.0
    x, y = _ranks(one), _ranks(other)
    spreads = float(x @ x) * float(y @ y)
    return float(x @ y) ** 2 / spreads if spreads else 0.0


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ranks less their mean, [rows]."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    centred: npt.NDArray[np.float64] = ranks - ranks.mean()
    return centred
