"""The tables are made by migrations at every start, whoever comes first."""

import fcntl
import logging
import pathlib
import re
import subprocess
import sys
import threading

import pytest
import sqlalchemy
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from service.settings import SettingError
from service.store import tables, users
from service.store.database import Database
from service.store.migrations.upgrade import alembic_config
from service.store.migrations.version import NEWEST
from tests import servers
from tests.contenders import contend
from tests.service.store.rows import make_queue, only
from traind.v1 import jobs_pb2

ROOT = pathlib.Path(__file__).resolve().parents[3]


@pytest.fixture
def empty(database_kind, request):
    request.getfixturevalue(f"_{database_kind}_template")  # Skips where there is no server.
    with servers.fresh_database(database_kind) as url:
        yield url


def test_processes_that_start_at_once_all_succeed(empty):
    assert contend("migrate", empty) == ["migrated"] * 4
    database = Database(empty)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all() == [NEWEST]
        assert connection.exec_driver_sql("SELECT count(*) FROM job").scalar() == 0
    database.dispose()


@only("sqlite")
def test_a_start_waits_while_another_migrates(empty):
    """Setting up the file's pages and journal is no transaction, so the file's own lock would be too late."""
    database = Database(empty)
    thread = threading.Thread(target=database.migrate)
    with database.path.with_name("traind.db.migrating").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        thread.start()
        thread.join(0.2)
        assert not database.path.exists()
    thread.join(20)
    assert database.path.exists()


def test_files_of_migrations_begin_with_their_revision(database):
    with database.read() as connection:
        scripts = ScriptDirectory.from_config(alembic_config(connection))
    assert [script.revision for script in scripts.walk_revisions()] == [
        pathlib.Path(script.path).name.partition("_")[0] for script in scripts.walk_revisions()
    ]
    assert scripts.get_current_head() == NEWEST


def test_a_start_that_changes_nothing_does_without_alembic(database_url):
    start = "import sys; from service.store.database import Database; database = Database(sys.argv[1]); "
    told = "database.migrate(); database.check_migrated(); print('alembic' in sys.modules)"
    argv = [sys.executable, "-c", start + told, database_url]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


def test_migrations_make_what_tables_say(database):
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []


def test_migrations_make_the_checks_that_tables_say(database):
    """Alembic compares no checks, so their texts are looked for."""
    expected = {
        constraint.name
        for table in tables.metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, sqlalchemy.CheckConstraint)
    }
    with database.read() as connection:
        if database.kind == "sqlite":
            texts = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").scalars()
            found = set(re.findall(r"CONSTRAINT (ck_\w+)", "\n".join(texts)))
        else:
            query = "SELECT conname FROM pg_constraint WHERE contype = 'c' AND conname LIKE 'ck_%%'"
            found = set(connection.exec_driver_sql(query).scalars())
    assert found == expected


def test_migrating_again_changes_nothing_and_keeps_rows(database):
    with database.write() as connection:
        users.add_user(connection, "kim")
    database.migrate()
    with database.read() as connection:
        assert [row.name for row in users.list_users(connection)] == ["kim"]


def test_migrating_leaves_logging_alone(empty, capfd):
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.getLogger("alembic").level)
    database = Database(empty)
    database.migrate()
    database.dispose()
    assert (root.level, list(root.handlers), logging.getLogger("alembic").level) == before
    assert not logging.getLogger(__name__).disabled
    assert capfd.readouterr() == ("", "")


def test_a_database_of_a_newer_traind_is_refused(database_url, database):
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SettingError, match="newer traind"):
        database.migrate()


def test_a_migration_that_fails_leaves_nothing(empty, monkeypatch):
    made = op.create_table

    def refuse(name, *arguments, **options):
        if name == "model_version":
            raise RuntimeError("no more tables")
        return made(name, *arguments, **options)

    database = Database(empty)
    with monkeypatch.context() as patched:
        patched.setattr(op, "create_table", refuse)
        with pytest.raises(RuntimeError, match="no more tables"):
            database.migrate()
    with database.read() as connection:
        assert sqlalchemy.inspect(connection).get_table_names() == []
    database.migrate()
    with database.read() as connection:
        assert "model_version" in sqlalchemy.inspect(connection).get_table_names()
    database.dispose()


@only("postgresql")
def test_weights_are_not_compressed_by_postgresql(database):
    query = "SELECT attstorage FROM pg_attribute WHERE attrelid = 'artifact_chunk'::regclass AND attname = 'data'"
    with database.read() as connection:
        assert connection.exec_driver_sql(query).scalar() in ("e", b"e")


def test_names_are_those_of_the_contract():
    def declared(enum):
        return {name for name in enum.DESCRIPTOR.values_by_name if not name.endswith("_UNSPECIFIED")}

    assert set(tables.STATES) == declared(jobs_pb2.Job.State)
    assert set(tables.FAILURE_REASONS) == declared(jobs_pb2.Failure.Reason)
    kinds = {field.name for field in jobs_pb2.JobEvent.DESCRIPTOR.oneofs_by_name["kind"].fields}
    assert set(tables.EVENT_KINDS) == kinds
    assert set(tables.KINDS) == {field.name for field in jobs_pb2.Job.DESCRIPTOR.oneofs_by_name["task"].fields}


@pytest.mark.parametrize(
    "change",
    [
        "state = 'LOST'",
        "kind = 'explore'",
        "losses = 4",
        "state = 'FAILED', ended_at = 1",
        "failure_reason = 'INTERNAL'",
        "state = 'FAILED', ended_at = 1, failure_reason = 'TIRED'",
        "state = 'SUCCEEDED'",
        "ended_at = 1",
        "lease_until = NULL",
    ],
)
def test_rows_that_contradict_themselves_are_refused(database, change):
    make_queue(database)
    with pytest.raises(sqlalchemy.exc.IntegrityError), database.write() as connection:
        connection.exec_driver_sql(f"UPDATE job SET {change}")
