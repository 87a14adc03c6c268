"""Pages of a list, newest first, by the place where the page before ended."""

from typing import Any

from sqlalchemy import Select, Table, tuple_


def newest_first(query: Select[Any], table: Table, limit: int, before: tuple[float, str] | None) -> Select[Any]:
    """The next `limit` rows after `before` = (created_at, id) of the last row seen; None = from the newest on."""
    if before is not None:
        query = query.where(tuple_(table.c.created_at, table.c.id) < tuple_(*before))
    return query.order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit)
