"""Columns of a table as a call would send them: the inverse of table_from_values."""

import numpy as np

from service.data.table import NUMERIC, TableColumn, labels_of, numbers_of
from traind.v1 import tables_pb2

Column = tables_pb2.Column


def as_sent(column: TableColumn) -> tables_pb2.ColumnValues:
    """The values of a column: numbers as 64 bits and NaN where they are missing, everything else as texts."""
    missing = [] if column.missing is None else column.missing.tolist()
    if column.type in NUMERIC:
        return tables_pb2.ColumnValues(name=column.name, numbers=numbers_of(column).tolist(), missing=missing)
    return tables_pb2.ColumnValues(name=column.name, strings=_texts(column), missing=missing)


def _texts(column: TableColumn) -> list[str]:
    """One for each row, any where the value is missing."""
    if column.type == Column.TIMESTAMP:
        there = np.where(np.isnat(column.values), np.datetime64(0, "us"), column.values)
        return [f"{text}Z" for text in np.datetime_as_string(there, unit="us")]
    if column.type == Column.TEXT:
        return [str(text) for text in column.values]
    labels = labels_of(column)
    return [labels[code] if code >= 0 else "" for code in column.values.astype(np.int64).tolist()]
