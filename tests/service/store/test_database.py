"""Transactions, what a URL means, and what a driver's error becomes."""

import pathlib
import resource
import sqlite3
import subprocess
import sys
import threading
import time

import psycopg
import pytest
import sqlalchemy

from service.errors import DatabaseUnavailable, DiskFull
from service.settings import SettingError
from service.store import opening, users
from service.store.database import Database, now
from service.store.failures import translated
from tests import servers
from tests.service.store.rows import only


def names(connection):
    return [row.name for row in users.list_users(connection)]


def test_a_write_commits_at_its_end(database):
    with database.write() as connection:
        users.add_user(connection, "kim")
    with database.read() as connection:
        assert names(connection) == ["kim"]


def test_a_write_that_raises_leaves_nothing(database):
    def add_and_break():
        with database.write() as connection:
            users.add_user(connection, "kim")
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        add_and_break()
    with database.read() as connection:
        assert names(connection) == []


def test_a_reader_sees_one_snapshot(database):
    with database.read() as reader:
        assert names(reader) == []
        with database.write() as writer:
            users.add_user(writer, "kim")
        assert names(reader) == []
    with database.read() as reader:
        assert names(reader) == ["kim"]


@only("postgresql")
def test_a_reader_cannot_write(database):
    with pytest.raises(sqlalchemy.exc.InternalError, match="read-only"), database.read() as connection:
        users.add_user(connection, "kim")


def test_readers_do_not_wait_for_a_writer(database):
    with database.write() as writer:
        users.add_user(writer, "kim")
        with database.read() as reader:
            assert names(reader) == []


def test_the_clock_is_the_databases_and_moves(database):
    with database.read() as connection:
        first = now(connection)
        deadline = time.monotonic() + 5
        while (later := now(connection)) == first:
            assert time.monotonic() < deadline, "the clock stands still inside a transaction"
    assert first < later < first + 5
    assert abs(first - time.time()) < 60


def test_threads_write_one_after_the_other(database):
    def add(number):
        for step in range(5):
            with database.write() as connection:
                users.add_user(connection, f"user{number}-{step}")

    threads = [threading.Thread(target=add, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with database.read() as connection:
        assert len(names(connection)) == 160


@only("sqlite")
def test_a_locked_sqlite_file_is_unavailable_and_can_be_retried(database, monkeypatch):
    monkeypatch.setattr(opening, "BUSY_S", 0.05)
    waiting = Database(f"sqlite:///{database.path}")
    with database.write(), pytest.raises(DatabaseUnavailable) as refused, waiting.write():
        pytest.fail("two writers at once")
    assert refused.value.retry_after_s == 1
    assert "sqlite" not in str(refused.value).lower()
    with waiting.write() as connection:
        users.add_user(connection, "kim")
    waiting.dispose()


@only("postgresql")
def test_a_row_locked_for_too_long_is_unavailable(database, monkeypatch):
    with database.write() as connection:
        users.add_user(connection, "kim")

    def rename(*, within_ms):
        with database.write() as connection:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {within_ms}")
            connection.exec_driver_sql("UPDATE user_ SET name = 'lee'")

    with database.write() as holder:
        holder.exec_driver_sql("UPDATE user_ SET name = 'an'")
        with pytest.raises(DatabaseUnavailable):
            rename(within_ms=50)
    rename(within_ms=50)


def test_a_server_that_does_not_answer_is_unavailable():
    gone = Database("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(DatabaseUnavailable), gone.read():
        pytest.fail("there is no server")


def test_a_start_without_the_server_tells_the_administrator_why():
    with pytest.raises(SettingError, match=r"TRAIND_DATABASE_URL.*[Cc]onnection refused"):
        Database("postgresql://nobody:secret@127.0.0.1:1/none").migrate()


@only("postgresql")
def test_a_start_on_no_database_names_it(database):
    url = servers.database_url(servers.postgres_url(), "traind_test_none")
    with pytest.raises(SettingError, match=r'TRAIND_DATABASE_URL.*"traind_test_none" does not exist'):
        Database(url).migrate()


@only("postgresql")
def test_a_lost_connection_is_unavailable_once(database):
    def lose_it_midway():
        with database.write() as connection:
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            with database.write() as other:
                other.exec_driver_sql("SELECT pg_terminate_backend(%s)", (pid,))
            users.add_user(connection, "kim")

    with pytest.raises(DatabaseUnavailable):
        lose_it_midway()
    with database.write() as connection:
        users.add_user(connection, "kim")


@only("postgresql")
def test_connections_that_died_in_the_pool_are_not_handed_out(database):
    with database.write() as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    with psycopg.connect(servers.postgres_url(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (pid,))
    with database.write() as connection:
        users.add_user(connection, "kim")


def test_a_killed_server_loses_nothing_that_was_committed():
    try:
        with servers.OwnPostgres() as server:
            database = Database(server.url)
            database.migrate()
            with database.write() as connection:
                users.add_user(connection, "kim")
            server.kill()
            with pytest.raises(DatabaseUnavailable), database.read() as connection:
                names(connection)
            server.start()
            with database.read() as connection:
                assert names(connection) == ["kim"]
            database.dispose()
    except servers.NoServer as error:
        servers.missing(error)


FORKS = """
import os, sys
from service.store import users
from service.store.database import Database

def add(database, name):
    with database.write() as connection:
        users.add_user(connection, name)

parent = Database(sys.argv[1])
add(parent, "before")
pid = os.fork()
if pid == 0:
    parent.dispose(close=False)
    child = Database(sys.argv[1])
    for number in range(20):
        add(child, f"child{number}")
    child.dispose()
    os._exit(0)
for number in range(20):
    add(parent, f"parent{number}")
print(os.waitpid(pid, 0)[1])
with parent.read() as connection:
    print(len(users.list_users(connection)))
"""


def test_parent_and_child_of_a_fork_each_have_their_own(database_url):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKS, database_url], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["0", "41"], done.stderr


FULL_DISK = """
import resource, sys
from service.errors import DiskFull
from service.store import artifacts
from service.store.database import Database
database = Database(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    artifacts.stage(database, b"x" * (8 << 20), "weights")
except DiskFull as error:
    print("full:", error.code)
"""


@only("sqlite")
def test_a_full_disk_is_told_and_the_rest_survives(database):
    with database.write() as connection:
        users.add_user(connection, "kim")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, f"sqlite:///{database.path}"], capture_output=True, text=True, check=False
    )
    assert done.stdout == "full: RESOURCE_EXHAUSTED\n", done.stderr
    with database.read() as connection:
        assert names(connection) == ["kim"]
    with sqlite3.connect(database.path) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1 << 20


@only("sqlite")
def test_sqlite_is_set_up_for_durability(database):
    pragmas = ("page_size", "journal_mode", "synchronous", "foreign_keys", "busy_timeout", "journal_size_limit")
    with database.read() as connection:
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas]
    assert found == [16384, "wal", 2, 1, 5000, 64 << 20]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("postgresql://kim@host/traind", "host"),
        ("postgres://kim:pw%40@host:5433/traind?sslmode=require", "host"),
        ("postgresql+psycopg:///traind?host=/run/pg", None),
    ],
)
def test_postgresql_urls(url, host):
    database = Database(url)
    assert database.kind == "postgresql"
    assert database._engine.url.drivername == "postgresql+psycopg"
    assert database._engine.url.host == host
    assert "pw" not in repr(database)


@pytest.mark.parametrize(
    "url", ["", "sqlite://", "sqlite:///", "sqlite:///:memory:", "mysql://host/db", "/var/traind.db", "postgresql:/x"]
)
def test_other_urls_are_refused(url):
    with pytest.raises(SettingError, match="TRAIND_DATABASE_URL"):
        Database(url)


def test_a_sqlite_path_may_hold_any_character(tmp_path):
    folder = tmp_path / "데이터 100% ?#"
    database = Database(f"sqlite:///{folder}/traind.db")
    database.migrate()
    database.dispose()
    assert (folder / "traind.db").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


MOUNTS = """\
/dev/vda / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/vdb /home/local xfs rw 0 0
share /mnt/my\\040share cifs rw 0 0
host:/ /mnt/ssh fuse.sshfs rw 0 0
tmp /over nfs rw 0 0
tmp /over tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/traind", None),
        ("/home/kim/traind.db", "nfs4"),
        ("/home", "nfs4"),
        ("/homestead/x", None),
        ("/home/local/traind", None),
        ("/mnt/my share/x", "cifs"),
        ("/mnt/ssh/x", "fuse.sshfs"),
        ("/over/x", None),
    ],
)
def test_network_file_systems_are_found(path, kind):
    assert opening.mounted_over_network(MOUNTS, pathlib.Path(path)) == kind


def test_sqlite_on_a_network_file_system_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "mounted_over_network", lambda _mounts, _path: "nfs4")
    with pytest.raises(SettingError, match=r"TRAIND_DATA_DIR .*nfs4.*local disk"):
        Database(f"sqlite:///{tmp_path}/traind.db")


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    database = Database(f"sqlite:///{tmp_path}/file/traind.db")
    with pytest.raises(SettingError, match="TRAIND_DATA_DIR"):
        database.migrate()


def test_disk_errors_of_postgresql_are_told_apart():
    errors = psycopg.errors

    def wrapped(cause):
        return sqlalchemy.exc.OperationalError("SELECT 1", {}, cause)

    assert isinstance(translated(wrapped(errors.DiskFull())), DiskFull)
    assert isinstance(translated(wrapped(errors.TooManyConnections())), DatabaseUnavailable)
    assert isinstance(translated(wrapped(errors.AdminShutdown())), DatabaseUnavailable)
    assert isinstance(translated(wrapped(errors.DeadlockDetected())), DatabaseUnavailable)
    assert translated(wrapped(errors.UndefinedTable())) is None
    assert translated(ValueError("ours")) is None
