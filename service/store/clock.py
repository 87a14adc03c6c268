"""The database's clock, the only one that leases, order and ages are measured by."""

from typing import Any

from sqlalchemy import Connection, Double, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class _Clock(FunctionElement[float]):
    type = Double()
    inherit_cache = True


@compiles(_Clock, "sqlite")
def _sqlite_clock(element: _Clock, compiler: Any, **arguments: Any) -> str:  # noqa: ARG001 - the hook's signature
    # unixepoch('subsec') would be NULL before SQLite 3.42.
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(_Clock, "postgresql")
def _postgresql_clock(element: _Clock, compiler: Any, **arguments: Any) -> str:  # noqa: ARG001 - the hook's signature
    # now() would be the time at which the transaction began.
    return "extract(epoch from clock_timestamp())::float8"


def clock() -> _Clock:
    """Seconds since 1970 as an expression inside a statement."""
    return _Clock()


def now(connection: Connection) -> float:
    """Seconds since 1970."""
    return float(connection.execute(select(clock())).scalar_one())
