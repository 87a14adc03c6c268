"""Columns as a call would send them: what is made of them again is what they were."""

import numpy as np
import pytest

from service.data.sent import as_sent
from service.data.table import TableColumn, numbers_of, table_from_values
from traind.v1 import tables_pb2

Column = tables_pb2.Column
GONE = np.array([False, True, False])
COLUMNS = {
    "whole": TableColumn("c", Column.INTEGER, np.array([3, 0, -(2**53)]), GONE),
    "number": TableColumn("c", Column.NUMBER, np.array([0.1, np.nan, -1e300]), GONE),
    "full": TableColumn("c", Column.NUMBER, np.array([0.1, 5e-324, -0.0])),
    "switch": TableColumn("c", Column.BOOLEAN, np.array([True, False, False]), GONE),
    "category": TableColumn("c", Column.CATEGORY, np.array([1, -1, 0], np.int32), GONE, ("", "옥탑")),
    "time": TableColumn(
        "c", Column.TIMESTAMP, np.array(["2024-02-29T12:00:00.000001", "NaT", "1969-12-31"], "datetime64[us]"), GONE
    ),
    "text": TableColumn("c", Column.TEXT, np.array(["a", "", "나"], np.object_), GONE),
}


def texts(column):
    return [column.categories[code] if code >= 0 else None for code in column.values]


@pytest.mark.parametrize("name", COLUMNS)
def test_there_and_back(name):
    column = COLUMNS[name]
    wanted = Column(name="c", type=column.type)
    again = table_from_values([as_sent(column)], [wanted]).column("c")
    here, there = column.missing, again.missing
    assert (here is None and there is None) or here.tolist() == there.tolist()
    if column.type in {Column.INTEGER, Column.NUMBER}:
        assert numbers_of(again).tobytes() == numbers_of(column).astype(np.float64).tobytes()
    elif column.type == Column.CATEGORY:
        assert texts(again) == texts(column)
    else:
        present = ~GONE
        assert (again.values[present] == column.values[present]).all()
