"""Tables of several calls as one."""

import numpy as np
import pytest

from service.data.joining import joined
from service.data.table import Table, TableColumn, labels_of
from traind.v1 import tables_pb2

Column = tables_pb2.Column


def table(**columns):
    return Table(
        {name: TableColumn(name, kind, np.array(values), *more) for name, (kind, values, *more) in columns.items()},
        len(next(iter(columns.values()))[1]),
    )


def labels(column):
    """Each row's text, None where it is missing."""
    known = labels_of(column)
    return [None if code < 0 else known[code] for code in column.values.tolist()]


def test_numbers_times_and_texts_stand_in_their_order():
    day = np.array(["2026-01-01", "2026-01-02"], "datetime64[us]")
    first = table(x=(Column.NUMBER, [1.0, 2.0]), t=(Column.TIMESTAMP, day), s=(Column.TEXT, ["a", "long one"]))
    second = table(x=(Column.NUMBER, [3.0]), t=(Column.TIMESTAMP, day[:1]), s=(Column.TEXT, ["longer than that"]))
    whole = joined([first, second])
    assert whole.row_count == 3
    assert whole.columns["x"].values.tolist() == [1.0, 2.0, 3.0]
    assert whole.columns["t"].values.tolist() == [*day.tolist(), day[0].tolist()]
    assert whole.columns["s"].values.tolist() == ["a", "long one", "longer than that"]
    assert all(column.missing is None for column in whole.columns.values())


def test_codes_of_tables_with_categories_of_their_own_mean_what_they_meant():
    first = table(city=(Column.CATEGORY, np.array([1, 0, -1], np.int32), np.array([False, False, True]), ("b", "a")))
    second = table(city=(Column.CATEGORY, np.array([0, 1], np.int32), None, ("a", "c")))
    none = table(city=(Column.CATEGORY, np.array([-1], np.int32), np.array([True]), ()))
    column = joined([first, second, none]).columns["city"]
    assert labels(column) == ["a", "b", None, "a", "c", None]
    assert column.missing.tolist() == [False, False, True, False, False, True]
    assert labels(joined([none, second]).columns["city"]) == [None, "a", "c"]
    assert column.values.dtype == np.int32


def test_what_is_missing_in_one_is_missing_in_the_whole():
    first = table(x=(Column.NUMBER, [1.0]))
    second = table(x=(Column.NUMBER, [np.nan, 2.0], np.array([True, False])))
    assert joined([first, second]).columns["x"].missing.tolist() == [False, True, False]


def test_columns_of_several_types_are_refused():
    with pytest.raises(ValueError, match="x has values of several types"):
        joined([table(x=(Column.NUMBER, [1.0])), table(x=(Column.BOOLEAN, [True]))])
