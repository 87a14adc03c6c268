"""INSERT in the forms that each database spells, or does fastest, in a way of its own."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Connection, Table, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from service.store.clock import clock
from service.store.fixed import Fixed, given


def insert_or_ignore(
    connection: Connection, table: Table, values: Mapping[str, Any], unique: tuple[str, ...], now: tuple[str, ...] = ()
) -> bool:
    """Insert a row unless one has the same `unique` columns; True if it was inserted. Columns `now` get the time.

    On PostgreSQL this waits for an open transaction that inserts the same, so that exactly one of two wins.
    """
    statement = _statement(connection.dialect.name, table, tuple(values), unique, now)
    return statement(connection, **{f"the_{name}": value for name, value in values.items()}).first() is not None


@functools.cache
def _statement(
    dialect: str, table: Table, columns: tuple[str, ...], unique: tuple[str, ...], now: tuple[str, ...]
) -> Fixed:
    insert_into = postgresql.insert if dialect == "postgresql" else sqlite.insert
    values: dict[str, ColumnElement[Any]] = {name: given(f"the_{name}") for name in columns}
    values |= dict.fromkeys(now, clock())
    statement = insert_into(table).values(values).on_conflict_do_nothing(index_elements=unique)
    return Fixed(statement.returning(table.c[unique[0]]))


class BulkInsert:
    """Inserts many rows: on SQLite one by one by its driver, on PostgreSQL out of arrays, which takes a fifth."""

    def __init__(
        self, table: Table, *, same: tuple[str, ...], each: tuple[str, ...], now: tuple[str, ...] = ()
    ) -> None:
        """Columns `same` have one value for all rows of a call, `each` have their own, `now` get the time."""
        self._each = each
        values: dict[str, ColumnElement[Any]] = {name: given(f"the_{name}") for name in (*same, *each)}
        self._one_by_one = Fixed(insert(table).values(values | dict.fromkeys(now, clock())))
        kept = [given(f"the_{name}", type_=table.c[name].type) for name in same]
        spread = [func.unnest(given(f"the_{name}", type_=ARRAY(table.c[name].type))) for name in each]
        rows = select(*kept, *spread, *(clock() for _ in now))
        self._from_arrays = Fixed(insert(table).from_select([*same, *each, *now], rows))

    def __call__(self, connection: Connection, rows: Sequence[tuple[Any, ...]], **same: Any) -> None:
        """Insert `rows`, each with the values of `each`."""
        if not rows:
            return
        shared = {f"the_{name}": value for name, value in same.items()}
        names = [f"the_{name}" for name in self._each]
        if connection.dialect.name == "postgresql":
            columns = (list(column) for column in zip(*rows, strict=True))
            self._from_arrays(connection, **shared, **dict(zip(names, columns, strict=True)))
        else:
            self._one_by_one.many(connection, [dict(zip(names, row, strict=True)) for row in rows], **shared)
