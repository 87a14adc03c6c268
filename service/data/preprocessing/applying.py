"""Applies fitted steps to rows: of a table, for learning and measuring, or of a call."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NoReturn, assert_never

import numpy as np
import numpy.typing as npt

from service.data.preprocessing import dates
from service.data.preprocessing.fitted import Fitted, FittedColumn
from service.data.preprocessing.steps import (
    Code,
    Log1p,
    Numbers,
    OneHot,
    Ordinal,
    apply_steps,
    quiet,
)
from service.data.table import CATEGORICAL, NUMERIC, Table, TableColumn, labels_of, numbers_of
from service.data.values import unseen_category
from service.errors import invalid, shown
from traind.v1 import tables_pb2

Column = tables_pb2.Column
Rows = npt.NDArray[np.int64]

ROWS_AT_ONCE = 4096  # so that the rows being filled stay in the processor's cache while column after column is written
LARGEST = float(np.finfo(np.float64).max)


@dataclass
class Tally:
    """What was seen on the way."""

    # Rows with a category that no training row had.
    unseen: int = 0


def apply(
    fitted: Fitted,
    table: Table,
    rows: Rows | None = None,
    *,
    unseen: Literal["refuse", "zeros"] = "refuse",
    limit: float = LARGEST,
    out: npt.NDArray[Any] | None = None,
    tally: Tally | None = None,
    beyond: npt.NDArray[np.bool_] | None = None,
    path: str = "columns",
) -> npt.NDArray[Any]:
    """The features of `rows` (None = all): [rows, width], row-major, float64 or in `out` and its type.

    `rows` must ascend where the table comes in parts. A category that the training rows did not have is refused where
    the column says so, with InvalidField naming column, value and the known ones; with `unseen="zeros"` (for held-out
    rows, which are measured and not answered) it is not. Also refused are missing values that nothing stands for, and
    features beyond `limit`, the largest number that the network can take; with `beyond` [rows] these are marked there
    instead. `path` is what errors name of a data set's columns.
    """
    count = table.row_count if rows is None else len(rows)
    features = np.empty((count, fitted.width), np.float64) if out is None else out
    for first, part in table.parts():
        begin, end, local = _rows_of(part, first, rows)
        if begin == end:
            continue
        columns = [
            _Ready.make(column, part.column(column.name).take(local), refuse=unseen == "refuse", path=path)
            for column in fitted.columns
        ]
        marks = None if beyond is None else beyond[begin:end]
        _write(fitted, columns, features[begin:end], limit, partial(_row, rows, begin), path, marks)
        if tally is not None:
            tally.unseen += _count_unseen(columns, end - begin)
    return features


def _rows_of(part: Table, first: int, rows: Rows | None) -> tuple[int, int, Rows | slice]:
    """Which of the rows asked for lie in a part: from and to, and where in the part."""
    if rows is None:
        return first, first + part.row_count, slice(None)
    if first == 0 and (not rows.size or int(rows.max()) < part.row_count):
        return 0, len(rows), rows  # in any order
    begin, end = np.searchsorted(rows, (first, first + part.row_count)).tolist()
    return begin, end, rows[begin:end] - first


def _row(rows: Rows | None, begin: int, at: int) -> int:
    """Which row of the table the features at `at`, counted from `begin`, are of."""
    return begin + at if rows is None else int(rows[begin + at])


@dataclass(frozen=True)
class _Ready:
    """The values of one column, checked, so that slices of it become features."""

    fitted: FittedColumn
    # float64 numbers, NaN where missing, times, or codes into the fitted categories, -1 where unseen: [rows].
    values: npt.NDArray[Any]
    missing: npt.NDArray[np.bool_] | None
    # Rows with a category that was not there in training; None where there is none.
    unseen: npt.NDArray[np.bool_] | None = None

    @classmethod
    def make(cls, fitted: FittedColumn, column: TableColumn, *, refuse: bool, path: str) -> "_Ready":
        check_type(fitted, column, path)
        if column.missing is not None and not fitted.takes_missing:
            _refuse_missing(fitted, column, path)
        if column.type in NUMERIC:
            return cls(fitted, _finite(column, path), column.missing)
        if column.type == Column.TIMESTAMP:
            return cls(fitted, column.values, column.missing)
        codes = codes_of(fitted, column)
        unseen = (codes < 0) if column.missing is None else (codes < 0) & ~column.missing
        if not unseen.any():
            return cls(fitted, codes, column.missing)
        if refuse and not fitted.takes_unseen:
            _refuse_unseen(fitted, column, int(np.flatnonzero(unseen)[0]), path)
        return cls(fitted, codes, column.missing, unseen)

    def write(self, part: npt.NDArray[np.float64], at: int, rows: slice) -> int:
        """Write some rows' features into `part` [rows, width] from the column `at` on; answers where they end."""
        values = self.values[rows]
        if self.fitted.type == Column.TIMESTAMP:
            for date in self.fitted.parts:
                part[:, at] = apply_steps(date.steps, dates.part_of(date.part, values))
                at += 1
        elif self.fitted.encoding is None:
            part[:, at] = apply_steps(self.fitted.number_steps, values)
            at += 1
        else:
            at = _write_codes(self.fitted, values, part, at)
        if self.fitted.indicator:
            part[:, at] = 0.0 if self.missing is None else self.missing[rows]
            at += 1
        return at


def _write_codes(fitted: FittedColumn, codes: Rows, part: npt.NDArray[np.float64], at: int) -> int:
    encoding = fitted.encoding
    match encoding:
        case OneHot():
            width = len(encoding.categories)
            part[:, at : at + width] = codes[:, None] == np.arange(width)
            return at + width
        case Ordinal():
            part[:, at] = codes
        case Code():
            part[:, at] = codes + 1
        case None:
            raise AssertionError("a column of categories has an encoding")
        case _:
            assert_never(encoding)
    return at + 1


def _write(
    fitted: Fitted,
    columns: Sequence[_Ready],
    features: npt.NDArray[Any],
    limit: float,
    row_of: Callable[[int], int],
    path: str,
    beyond: npt.NDArray[np.bool_] | None,
) -> None:
    """Fill `features` [rows, width], some rows at a time."""
    straight = features.dtype == np.float64
    for start in range(0, len(features), ROWS_AT_ONCE):
        rows = slice(start, min(start + ROWS_AT_ONCE, len(features)))
        part = features[rows] if straight else np.empty((rows.stop - start, fitted.width))
        at = 0
        with quiet():
            for column in columns:
                at = column.write(part, at, rows)
        within = np.abs(part) <= limit
        if beyond is not None:
            beyond[rows] = ~within.all(axis=1)
        elif not within.all():
            _refuse_features(fitted, columns, part, limit, start, row_of, path)
        if not straight:
            features[rows] = part


def check_type(fitted: FittedColumn, column: TableColumn, path: str) -> None:
    """Raise InvalidField for a column of another kind than the training rows had."""
    kinds = (NUMERIC, CATEGORICAL, frozenset({Column.TIMESTAMP}))
    if not any(fitted.type in kind and column.type in kind for kind in kinds):
        wanted, got = Column.Type.Name(fitted.type), Column.Type.Name(column.type)
        raise invalid(path, f"{shown(column.name)} was {wanted} in training and is {got} here")


def _refuse_missing(fitted: FittedColumn, column: TableColumn, path: str) -> NoReturn:
    assert column.missing is not None
    first = int(np.flatnonzero(column.missing)[0])
    why = "the model leaves such rows out" if fitted.drops else "the model takes complete rows only"
    raise invalid(
        column.path or path,
        f"{shown(column.name)} is missing in {column.missing_count} rows, the first at index {first}; "
        f"{why}: fill or drop them",
    )


def _finite(column: TableColumn, path: str) -> Numbers:
    values = numbers_of(column)
    infinite = np.isinf(values)
    if infinite.any():
        at = int(np.flatnonzero(infinite)[0])
        raise invalid(
            f"{column.path}[{at}]" if column.path else path,
            f"{shown(column.name)} has {int(infinite.sum())} infinite numbers, the first at index {at}; "
            "numbers must be finite",
        )
    return values


def codes_of(fitted: FittedColumn, column: TableColumn) -> Rows:
    """Places among the fitted categories, what stands for a missing value being one of them; -1 where it is none."""
    known = {category: code for code, category in enumerate(fitted.categories)}
    # One more at the end, which the code -1 of a missing value finds too.
    translation = np.array([known.get(name, -1) for name in labels_of(column)] + [-1], np.int64)
    codes = translation[column.values.astype(np.int64, copy=False)]
    if column.missing is not None:
        codes[column.missing] = known.get(fitted.fill_text or "", -1)
    return codes


def _refuse_unseen(fitted: FittedColumn, column: TableColumn, at: int, path: str) -> NoReturn:
    value = labels_of(column)[int(column.values[at])]
    told = unseen_category(fitted.name, value, fitted.categories)
    if column.path:
        raise invalid(f"{column.path}[{at}]", told)
    raise invalid(path, f"row {at + 1}: {told}")


def _count_unseen(columns: Sequence[_Ready], rows: int) -> int:
    found = [column.unseen for column in columns if column.unseen is not None]
    return int(np.count_nonzero(np.logical_or.reduce(found))) if found and rows else 0


def _refuse_features(
    fitted: Fitted,
    columns: Sequence[_Ready],
    part: npt.NDArray[np.float64],
    limit: float,
    start: int,
    row_of: Callable[[int], int],
    path: str,
) -> NoReturn:
    """Tell the first feature that has no finite value, or one that is too large."""
    wrong = ~(np.abs(part) <= limit)
    feature = int(np.flatnonzero(wrong.any(axis=0))[0])
    at = int(np.flatnonzero(wrong[:, feature])[0])
    owner = _owner(columns, feature)
    row = row_of(start + at) + 1
    logged = isinstance(owner.values[start + at], np.floating) and any(
        isinstance(step, Log1p) for step in owner.fitted.steps
    )
    if logged and np.isnan(part[at, feature]):
        value = float(owner.values[start + at])
        raise invalid(
            path,
            f"column {shown(owner.fitted.name)} is {value:g} in row {row}, and the model takes ln(1 + x) of it; "
            "it must be above -1",
        )
    raise invalid(
        path,
        f"column {shown(fitted.feature_names[feature])} has {int(wrong[:, feature].sum())} values that are Inf, NaN or "
        f"beyond {limit:.3g} after scaling, the first in row {row}; leave these rows out, or use dtype FLOAT64 for "
        "large numbers",
    )


def _owner(columns: Sequence[_Ready], feature: int) -> _Ready:
    for column in columns:
        feature -= len(column.fitted.feature_names)
        if feature < 0:
            return column
    raise AssertionError("every feature is of a column")
