"""What a database driver's error means to a caller. Nothing of the driver's text goes on: it names hosts and files."""

import sqlite3
from typing import Any

import sqlalchemy

from service.errors import DatabaseUnavailable, DataCorrupt, DiskFull, TraindError

# A full disk shows as one of these, depending on which write meets it.
_SQLITE_FULL = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_SHMSIZE,
}
_SQLITE_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SQLITE_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}
_PRIMARY = 0xFF  # of an extended result code

# Classes of SQLSTATE: connection, invalid authorization, rollback (deadlock), resources, operator, system; then a lock
# that was waited for too long, and a transaction that was silent for too long.
_POSTGRESQL_UNAVAILABLE = ("08", "28", "40", "53", "57", "58", "55P03", "25P03")
_POSTGRESQL_FULL = "53100"
_POSTGRESQL_CORRUPT = "XX001"


def database_unavailable() -> DatabaseUnavailable:
    """The database did not answer in time; nothing of the call was stored."""
    return DatabaseUnavailable("the database did not answer in time; send the call again", retry_after_s=1.0)


def disk_full() -> DiskFull:
    """There is no room."""
    return DiskFull("the server's disk is full and nothing was stored; ask the administrator to make room, then retry")


def translated(error: BaseException) -> TraindError | None:
    """The error that callers know for one of the driver or its pool; None for a defect of ours."""
    if isinstance(error, sqlalchemy.exc.TimeoutError):
        return database_unavailable()
    cause: Any = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite(getattr(cause, "sqlite_errorcode", None))
    if isinstance(error, sqlalchemy.exc.DBAPIError) or hasattr(cause, "sqlstate"):
        lost = isinstance(error, sqlalchemy.exc.DBAPIError) and error.connection_invalidated
        operational = type(cause).__name__ in {"OperationalError", "ConnectionTimeout"}
        return _of_postgresql(getattr(cause, "sqlstate", None), lost=lost or operational)
    return None


def _of_sqlite(code: int | None) -> TraindError | None:
    if code is None:
        return None
    if code in _SQLITE_FULL:
        return disk_full()
    if code & _PRIMARY in _SQLITE_CORRUPT:
        return DataCorrupt("the database file is damaged; ask the administrator to restore it")
    if code & _PRIMARY in _SQLITE_UNAVAILABLE:
        return database_unavailable()
    return None


def _of_postgresql(state: str | None, *, lost: bool) -> TraindError | None:
    if state == _POSTGRESQL_FULL:
        return disk_full()
    if state == _POSTGRESQL_CORRUPT:
        return DataCorrupt("the database is damaged; ask the administrator to restore it")
    if (state is not None and state.startswith(_POSTGRESQL_UNAVAILABLE)) or (state is None and lost):
        return database_unavailable()
    return None
