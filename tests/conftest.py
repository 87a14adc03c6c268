"""Fixtures of all suites: a migrated database of either kind, alone for each test."""

import faulthandler
import gc
import importlib
import os
import shutil
import sys
import tempfile
from urllib.parse import urlsplit

import pytest

from service.store.database import Database
from service.store.tables import metadata
from tests import alone, servers

KINDS = ("sqlite", "postgresql")
LONGEST_END_S = 60


def _fork_without_grpc():
    """Have gRPC do nothing at a fork of this process.

    While another thread is in a call, its handlers kill one of 25 children before their exec, and others never get
    there. Tests that fork use no gRPC in the child; processes that they start have gRPC's own default.
    """
    assert "grpc" not in sys.modules, "gRPC reads it when it is imported"
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    importlib.import_module("grpc").insecure_channel("unix:/nobody").close()
    del os.environ["GRPC_ENABLE_FORK_SUPPORT"]


_fork_without_grpc()
# What was garbage before a fork is the parent's to collect. In the child, the end of a channel of grpc.aio would wait
# for a thread that is not there, for ever.
os.register_at_fork(after_in_child=gc.freeze)


def pytest_configure(config):
    alone.begin(config)


def pytest_unconfigure():
    """A thread that does not end must not hold up whoever waits for the run: tell where it is, and fail."""
    faulthandler.dump_traceback_later(LONGEST_END_S, exit=True, file=2)


def migrated(url):
    database = Database(url)
    database.migrate()
    database.dispose()
    return url


@pytest.fixture(scope="session")
def _sqlite_template():
    with servers.fresh_database("sqlite") as url:
        yield migrated(url).removeprefix("sqlite:///")


@pytest.fixture(scope="session")
def _postgresql_template():
    try:
        servers.postgres_url()
    except servers.NoServer as error:
        servers.missing(error)
    with servers.fresh_database("postgresql") as url:
        yield urlsplit(migrated(url)).path.removeprefix("/")


@pytest.fixture(params=KINDS)
def database_kind(request):
    """`sqlite`, then `postgresql`."""
    return request.param


@pytest.fixture
def database_url(database_kind, request):
    """The URL of a migrated database without rows, alone for this test: a copy, for migrating takes longer."""
    template = request.getfixturevalue(f"_{database_kind}_template")
    if database_kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="traind-test-") as folder:
            yield f"sqlite:///{shutil.copy(template, folder)}"
    else:
        with servers.fresh_database("postgresql", template) as url:
            yield url


@pytest.fixture(scope="session")
def _postgresql_shared(_postgresql_template):
    with servers.fresh_database("postgresql", _postgresql_template) as url:
        database = Database(url)
        yield database
        database.dispose()


@pytest.fixture
def database(database_kind, request):
    """A migrated database without rows; that of `database_url` where a test asks for both.

    Where no other process is given the URL, PostgreSQL's is emptied and used again, which is quicker than a copy.
    """
    if database_kind == "postgresql" and "database_url" not in request.fixturenames:
        database = request.getfixturevalue("_postgresql_shared")
        yield database
        empty(database)
    else:
        database = Database(request.getfixturevalue("database_url"))
        yield database
        database.dispose()


def empty(database):
    """Delete every row."""
    with database.write() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.exec_driver_sql(f"DELETE FROM {table.name}")
