"""One database: its connections, its transactions, its migrations.

The store is written once, sync. Servers call it from threads; a process that forks makes a Database of its own in the
child, for neither a SQLite nor a PostgreSQL connection outlives a fork.
"""

import fcntl
import os
import pathlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import sqlalchemy
from sqlalchemy import Engine, text

from service.settings import SettingError, Settings
from service.store.clock import now
from service.store.failures import database_unavailable, translated
from service.store.migrations.version import is_current
from service.store.opening import (
    BUSY_S,
    IDLE_S,
    WRITE_OPTION,
    open_postgresql,
    open_sqlite,
    refuse_network,
    sqlite_path,
)
from service.store.silence import patient

__all__ = ["Connection", "Database", "now"]

Connection = sqlalchemy.Connection

# Keys of PostgreSQL's advisory locks: "trai", then what is locked.
MIGRATION_LOCK = 0x7472_6169_0001
QUEUE_LOCK = 0x7472_6169_0002
HOUSE_LOCK = 0x7472_6169_0003
# Seconds that a start waits for the migration of another process.
MIGRATION_S = 60.0


class Database:
    """The database that a URL names: SQLite by `sqlite:////path`, PostgreSQL by `postgresql://…`.

    Nothing is opened before the first transaction. Errors of a transaction: DatabaseUnavailable (locked for 5 s, or
    the connection was lost: nothing was stored, unless the commit itself went unanswered), DiskFull, DataCorrupt.
    """

    def __init__(self, url: str, *, idle_s: float = IDLE_S) -> None:
        """Raises SettingError for a URL of another kind, and for a SQLite file on a network file system.

        `idle_s`: how long PostgreSQL keeps the locks of a transaction in which this process says nothing.
        """
        self.path = sqlite_path(url)
        self.kind = "postgresql" if self.path is None else "sqlite"
        self._url = url
        if self.path is None:
            self._engine = open_postgresql(url, idle_s)
            # One snapshot for all statements of a reader.
            options: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            self._readers: Engine = self._engine.execution_options(**options)
            self._writers: Engine = self._engine
        else:
            refuse_network(self.path)
            self._engine = open_sqlite(self.path)
            self._readers = self._engine
            self._writers = self._engine.execution_options(**{WRITE_OPTION: True})
        # SQLite has one writer at a time. Threads of one process line up here, which costs less than polling the file.
        self._turn = threading.Lock()

    @classmethod
    def of_worker(cls, settings: Settings) -> Self:
        """The database for those who hold jobs: a frozen one keeps no lock for longer than its lease."""
        return cls(settings.database_url, idle_s=min(IDLE_S, settings.lease_s))

    def __repr__(self) -> str:
        return f"Database({self.kind})"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads: one snapshot, and no lock that a writer would wait for."""
        with _callers_errors(), self._readers.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits at the end, and on an error leaves nothing behind.

        On SQLite it is alone from its first statement on; on PostgreSQL it sees at each statement what others have
        committed (READ COMMITTED), and waits at rows they hold. It must not be begun inside another one.
        """
        with _callers_errors(), self._alone(), self._writers.begin() as connection:
            yield connection

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self.kind == "postgresql":
            yield
            return
        if not self._turn.acquire(timeout=BUSY_S):
            raise database_unavailable()
        try:
            yield
        finally:
            self._turn.release()

    def migrate(self) -> None:
        """Bring the tables to this version, making folder and file where there are none.

        Every process does so at its start; several at once wait for the first. Raises SettingError, for the one who
        set the server up, when the database cannot be reached or is of a newer traind.
        """
        with _callers_errors():
            if self.path is None:
                with self._reached() as connection, patient(connection), connection.begin():
                    connection.execute(text(f"SET LOCAL lock_timeout = '{int(MIGRATION_S)}s'"))
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
                    _upgrade(connection)
                return
            _make_folder(self.path.parent)
            with _file_lock(self.path.with_name(self.path.name + ".migrating")):
                # SQLite gives its other files the mode of this one.
                self.path.touch(mode=0o600)
                engine = open_sqlite(self.path, migrating=True)
                with engine.begin() as connection:
                    _upgrade(connection)

    def check_there(self) -> None:
        """Raise SettingError where there is no file of this database: nobody has started a server on it."""
        if self.path is not None and not self.path.exists():
            raise SettingError(
                f"there is no database {self.path}: TRAIND_DATA_DIR and TRAIND_DATABASE_URL must be set "
                "as they are for the server (beside `make up`: TRAIND_DATA_DIR=.traind)"
            )

    def check_migrated(self) -> None:
        """Raise SettingError unless the tables are of this version; nothing is made or changed."""
        self.check_there()
        with self.read() as connection:
            if not is_current(connection):
                raise SettingError(
                    "TRAIND_DATABASE_URL: the database is of another traind: start this version's server "
                    "once, which migrates it"
                )

    @contextmanager
    def keeping_house(self) -> Iterator[bool]:
        """Whether this process alone looks after the house until the end of the block; a process that dies lets go."""
        if self.path is None:
            with _callers_errors():
                connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                try:
                    yield bool(connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": HOUSE_LOCK}))
                finally:
                    # The lock is the session's, and ends with it, whatever became of the connection.
                    connection.invalidate()
                    connection.close()
            return
        path = self.path.with_name(self.path.name + ".housekeeping")
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            alone = False
        try:
            yield alone
        finally:
            os.close(handle)

    def _reached(self) -> Connection:
        try:
            return self._engine.connect()
        except sqlalchemy.exc.OperationalError as error:
            told = str(error.orig).strip().splitlines()
            raise SettingError(
                f"TRAIND_DATABASE_URL: the database cannot be reached ({told[0] if told else 'no answer'}); "
                "start it, or correct the URL"
            ) from error

    def dispose(self, *, close: bool = True) -> None:
        """Give the connections back. `close=False` in a forked child: they are the parent's, which goes on."""
        self._engine.dispose(close=close)


@contextmanager
def _callers_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        known = translated(error)
        if known is None:
            raise
        raise known from error


def _upgrade(connection: Connection) -> None:
    if not is_current(connection):
        from service.store.migrations.upgrade import upgrade

        upgrade(connection)


def _make_folder(folder: pathlib.Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(
            f"TRAIND_DATA_DIR: the folder {folder} cannot be made ({error.strerror}); name another one"
        ) from error


@contextmanager
def _file_lock(path: pathlib.Path) -> Iterator[None]:
    """Hold the lock of a file; whoever dies lets go of it. Raises DatabaseUnavailable after a minute."""
    try:
        handle = path.open("a")
    except OSError as error:
        raise SettingError(
            f"TRAIND_DATA_DIR: {path.parent} cannot be written to ({error.strerror}); name another folder"
        ) from error
    with handle:
        deadline = time.monotonic() + MIGRATION_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise database_unavailable() from None
                time.sleep(0.02)
        yield
