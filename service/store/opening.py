"""How a database is opened: what its URL means, where its file may lie, how each connection is set up."""

import pathlib
import re
import sqlite3
import time
from typing import Any

import sqlalchemy
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.pool import NullPool, QueuePool

from service.settings import SettingError
from service.store.silence import Impatient

# Seconds that a write waits for another one, and a call for a connection.
BUSY_S = 5.0
# How long the server keeps the locks of a client that says nothing in the middle of a transaction: it is frozen, or its
# line is cut, and the sweep waits for its job.
IDLE_S = 10.0
# Seconds between two looks whether SQLite's writing lock is free.
LOOK_S = 0.0005
# One for each thread that a server answers with.
CONNECTIONS = 32
# RETURNING came with it.
OLDEST_SQLITE = (3, 35, 0)
WRITE_OPTION = "traind_write"
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_SNAPSHOT, sqlite3.SQLITE_BUSY_RECOVERY)

# SQLite's write-ahead log is shared memory: of one machine only, and a lock of these does not hold between machines.
NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs"}
    | {"nfs4", "ocfs2", "orangefs", "pvfs2", "smb2", "smb3", "smbfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.gcsfuse"}
    | {"fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"}
)
_OCTAL = re.compile(r"\\([0-7]{3})")


def mounted_over_network(mounts: str, path: pathlib.Path) -> str | None:
    """The type of the network file system that holds `path`, by the text of /proc/mounts; None on a local disk."""
    kind, longest = "", -1
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = pathlib.Path(_OCTAL.sub(lambda code: chr(int(code[1], 8)), fields[1]))
        # A later mount on the same folder hides the one before.
        if (path == point or point in path.parents) and len(point.parts) >= longest:
            kind, longest = fields[2], len(point.parts)
    return kind if kind in NETWORK_FILE_SYSTEMS else None


def sqlite_path(url: str) -> pathlib.Path | None:
    """The file that a `sqlite:` URL names; None for PostgreSQL. Raises SettingError on any other URL."""
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///") and ":memory:" not in url:
        return pathlib.Path(url.removeprefix("sqlite:///")).expanduser().absolute()
    if re.match(r"postgres(ql)?(\+psycopg)?://", url):
        return None
    raise SettingError(
        "TRAIND_DATABASE_URL names no database that can be used: write sqlite:////absolute/path/traind.db "
        "or postgresql://user@host/name"
    )


def refuse_network(path: pathlib.Path) -> None:
    """Raise SettingError where SQLite would lose data."""
    try:
        mounts = pathlib.Path("/proc/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return  # No Linux: nothing is known.
    found = mounted_over_network(mounts, path.resolve())
    if found is not None:
        raise SettingError(
            f"TRAIND_DATA_DIR (or TRAIND_DATABASE_URL) lies on a network file system ({found}), where SQLite loses "
            "data: set it to a folder of a local disk, or use PostgreSQL by TRAIND_DATABASE_URL=postgresql://…"
        )


def open_sqlite(path: pathlib.Path, *, migrating: bool = False) -> Engine:
    """An engine on the file; with `migrating` one connection that lets tables be copied."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise SettingError(f"SQLite {sqlite3.sqlite_version} is too old: use a Python with SQLite 3.35 or newer")
    url = sqlalchemy.URL.create("sqlite+pysqlite", database=str(path))
    # isolation_level None: the driver begins nothing by itself.
    connect: dict[str, Any] = {"isolation_level": None, "timeout": BUSY_S, "check_same_thread": False}
    pool: dict[str, Any] = (
        {"poolclass": NullPool}
        if migrating
        else {"poolclass": QueuePool, "pool_size": CONNECTIONS, "max_overflow": 0, "pool_timeout": BUSY_S}
    )
    engine = create_engine(url, connect_args=connect, **pool)

    @event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _record: object) -> None:
        if migrating:
            # Only an empty file takes a page size, and only one without readers another journal.
            connection.execute("PRAGMA page_size = 16384")
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA foreign_keys = {'OFF' if migrating else 'ON'}")
        # What was acknowledged survives a power cut.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")

    @event.listens_for(engine, "begin")
    def _begin(connection: sqlalchemy.Connection) -> None:
        # A transaction that first reads and then writes would fail at once when another wrote between.
        if migrating or connection.get_execution_options().get(WRITE_OPTION):
            _begin_writing(connection)
        else:
            connection.exec_driver_sql("BEGIN")

    return engine


def _begin_writing(connection: sqlalchemy.Connection) -> None:
    """Take SQLite's only writing lock, for which writers of several processes wait up to BUSY_S.

    SQLite itself would look ever more seldom, at last ten times a second, and so seldom in the moment in which a
    process that writes much lets go of the lock. Such a writer pauses between its transactions: see artifacts.py.
    """
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    deadline = time.monotonic() + BUSY_S
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode not in _LOCKED or time.monotonic() > deadline:
                    raise
            else:
                return
            time.sleep(LOOK_S)
    finally:
        driver.execute(f"PRAGMA busy_timeout = {int(BUSY_S * 1000)}")


def open_postgresql(url: str, idle_s: float = IDLE_S) -> Engine:
    """An engine on the server; connections that fell silent are noticed, and a frozen client cannot hold a lock."""
    with_driver = re.sub(r"^postgres(ql)?(\+psycopg)?://", "postgresql+psycopg://", url)
    try:
        parsed = make_url(with_driver)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise SettingError(
            "TRAIND_DATABASE_URL is no URL: write postgresql://user:password@host:5432/name, with %xx for special "
            "characters of the password"
        ) from None
    connect = {
        "connect_timeout": 5,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
        "application_name": "traind",
        "options": f"-c lock_timeout={int(BUSY_S * 1000)} -c idle_in_transaction_session_timeout={int(idle_s * 1000)}",
    }
    engine = create_engine(
        parsed,
        connect_args=connect,
        pool_pre_ping=True,
        pool_size=8,
        max_overflow=CONNECTIONS - 8,
        pool_timeout=BUSY_S,
    )

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: object, _record: object, arguments: list[Any], named: dict[str, Any]) -> Impatient:
        return Impatient.connect(*arguments, **named)

    return engine
