"""Copies of a SQLite database that are consistent while others write to it, and what stands in one."""

import pathlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from alembic.script import ScriptDirectory

from service.errors import DataCorrupt
from service.store.failures import translated
from service.store.tables import LIVE_STATES

_SCRIPTS = pathlib.Path(__file__).parent / "migrations"
# What only the running processes of the copied server know: bytes of unfinished uploads are not part of a copy, and its
# workers are not those of whoever opens it.
_OF_THIS_MACHINE = ("upload", "worker")


def copy(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copy the database as it stands at one moment into one new file.

    Writers go on meanwhile. Raises DataCorrupt for a database that is damaged, DatabaseUnavailable, DiskFull.
    """
    with _opened(source) as old, _opened(target) as new:
        # A copy that a power cut ends is made again.
        new.execute("PRAGMA synchronous = OFF")
        old.backup(new)
        new.execute("PRAGMA journal_mode = DELETE")
        # An older schema has not all of them.
        tables = {name for (name,) in new.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        for table in tables.intersection(_OF_THIS_MACHINE):
            new.execute(f"DELETE FROM {table}")  # noqa: S608  # names of ours
        new.commit()
        found = new.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise DataCorrupt(f"the database is damaged ({found}): restore it from an older backup")


def fold(path: pathlib.Path) -> None:
    """Make one file of the database and its log; nobody may have it open."""
    with _opened(path) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")


def revision(path: pathlib.Path) -> str:
    """The schema's revision, `0005`."""
    with _opened(path) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def known(schema: str) -> bool:
    """Whether this traind can open a database of that revision, or bring it to its own."""
    return schema in {script.revision for script in ScriptDirectory(str(_SCRIPTS)).walk_revisions()}


def objects(path: pathlib.Path) -> dict[str, str]:
    """For each object that data sets name, by its hash: one of them, as `kim.penguins version 1`."""
    query = (
        "SELECT sha256, table_sha256, name || '.' || slug || ' version ' || version "
        "FROM dataset JOIN user_ ON user_.id = owner_id ORDER BY dataset.created_at"
    )
    with _opened(path) as connection:
        rows = connection.execute(query).fetchall()
    return {sha256: name for *hashes, name in rows for sha256 in hashes}


def live_jobs(path: pathlib.Path) -> list[tuple[str, int]]:
    """Jobs that a worker held when the copy was made, each as (id, attempt)."""
    marks = ", ".join("?" for _ in LIVE_STATES)
    with _opened(path) as connection:
        return connection.execute(f"SELECT id, attempt FROM job WHERE state IN ({marks})", LIVE_STATES).fetchall()  # noqa: S608


@contextmanager
def _opened(path: pathlib.Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(path, timeout=5.0)) as connection:
            yield connection
    except sqlite3.Error as error:
        known_error = translated(error)
        if known_error is None:
            raise DataCorrupt(f"{path.name} is no database of traind ({error})") from error
        raise known_error from error
