"""Rows to predict for, as the wire wants them: the model's columns, by its types, in parts that fit a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from traind.errors import InvalidSpec
from traind.tables_in import is_missing
from traind.v1 import tables_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from traind.tables_in import TableIn

_NUMBERS = frozenset({tables_pb2.Column.INTEGER, tables_pb2.Column.NUMBER})
# Of the rows in one request or answer; servers take 4 MiB.
PART_BYTES = 2 << 20
LARGEST_PART = 32768


def encode_rows(table: TableIn, inputs: Sequence[tables_pb2.Column]) -> list[tables_pb2.ColumnValues]:
    """The model's columns out of a table; others are left out. Raises InvalidSpec naming column and row."""
    absent = [column.name for column in inputs if column.name not in table.columns]
    if absent:
        have = ", ".join(repr(name) for name in table.columns)
        raise InvalidSpec(
            f"the model needs {', '.join(repr(name) for name in absent)}",
            fix=f"give it columns of these names; the table has {have}",
        )
    return [_encode(column, table.columns[column.name]) for column in inputs]


def parts(columns: Sequence[tables_pb2.ColumnValues], answer_bytes: int) -> Iterator[list[tables_pb2.ColumnValues]]:
    """The rows in parts that fit a message; `answer_bytes` is what the answer takes for a row."""
    total = max((len(c.numbers) or len(c.strings) for c in columns), default=0)
    size = sum(c.ByteSize() for c in columns)
    if not total:
        yield list(columns)
        return
    step = max(1, min(LARGEST_PART, total * PART_BYTES // max(size, 1), PART_BYTES // max(answer_bytes, 1)))
    for begin in range(0, total, step):
        whole = begin == 0 and step >= total
        yield list(columns) if whole else [_slice(column, begin, begin + step) for column in columns]


def _slice(column: tables_pb2.ColumnValues, begin: int, end: int) -> tables_pb2.ColumnValues:
    return tables_pb2.ColumnValues(
        name=column.name,
        numbers=column.numbers[begin:end],
        strings=column.strings[begin:end],
        missing=column.missing[begin:end],
    )


def _encode(column: tables_pb2.Column, values: list[Any]) -> tables_pb2.ColumnValues:
    found = tables_pb2.ColumnValues(name=column.name)
    as_numbers = column.type in _NUMBERS or (
        column.type == tables_pb2.Column.BOOLEAN and not any(isinstance(value, str) for value in values)
    )
    if as_numbers:
        # A NUMBER may be NaN, which is a value; elsewhere NaN is how data frames say that there is none.
        keeps_nan = column.type == tables_pb2.Column.NUMBER
        if not keeps_nan or not all(type(value) is float for value in values):
            missing = [is_missing(value) and not (keeps_nan and isinstance(value, float)) for value in values]
            found.missing.extend(missing if any(missing) else [])
            values = [0.0 if gone else _number(column, i, values[i]) for i, gone in enumerate(missing)]
        found.numbers.extend(values)
    else:
        missing = [is_missing(value) for value in values]
        found.missing.extend(missing if any(missing) else [])
        found.strings.extend("" if gone else _text(values[i]) for i, gone in enumerate(missing))
    return found


def _number(column: tables_pb2.Column, row: int, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        said = f"{value!r:.80}"
        raise InvalidSpec(f"column {column.name!r}, row {row}: {said} is no number") from None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)
