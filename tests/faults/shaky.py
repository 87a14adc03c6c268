"""A database on the test's own clock, that loses a process at any statement, or the answer of any commit."""

import itertools
import re
import sqlite3

import psycopg
import sqlalchemy

from service.store.database import Database
from service.store.failures import database_unavailable

# A row of a job is made or moved: the transaction is the verb's own, and not one that stages bytes for it.
_MOVES_JOB = re.compile(r"(UPDATE job |INSERT INTO job )")
_EPOCH_JULIAN = 2440587.5
_FAKE_CLOCK = """
    CREATE SCHEMA IF NOT EXISTS fake;
    CREATE TABLE IF NOT EXISTS fake.moment (at float8);
    DELETE FROM fake.moment;
    INSERT INTO fake.moment VALUES (0);
    CREATE OR REPLACE FUNCTION fake.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
        AS 'SELECT to_timestamp(at) FROM fake.moment';
"""


class Died(BaseException):
    """The process is gone: its transaction is, and what it wanted to do next."""


class ShakyDatabase(Database):
    """With `die_at` its process ends before that writing statement; with `unanswered` a commit is not answered."""

    def __init__(self, url):
        super().__init__(url)
        self.die_at = None
        self.unanswered = False
        # Whether one of them has come about since this was last set to False.
        self.fired = False
        self._moves_job = False
        self._time = 0.0
        sqlalchemy.event.listen(self._engine, "connect", self._set_up)
        sqlalchemy.event.listen(self._engine, "before_cursor_execute", self._before_statement)
        if self.kind == "sqlite":
            self.eye = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        else:
            self.eye = psycopg.connect(url, autocommit=True)
            self.eye.execute(_FAKE_CLOCK)

    def set_clock(self, time):
        """What the clock of every statement says from now on."""
        self._time = time
        if self.kind == "postgresql":
            self.eye.execute("UPDATE fake.moment SET at = %s", (time,))

    def rows(self, statement):
        """What stands there, past all that is shaky."""
        return self.eye.execute(statement).fetchall()

    def close(self):
        self.dispose()
        self.eye.close()

    def write(self):
        return _Write(self, super().write())

    def calm(self):
        """No fault is armed any more."""
        self.die_at, self.unanswered = None, False

    def _set_up(self, connection, _record):
        if self.kind == "sqlite":
            # No power is cut here, only processes die.
            connection.execute("PRAGMA synchronous = OFF")
            # SQLite's own function gives way to one of the connection's.
            connection.create_function("julianday", 1, lambda _: self._time / 86400.0 + _EPOCH_JULIAN)
        else:
            connection.autocommit = True
            connection.execute("SET search_path = fake, public, pg_catalog")
            connection.execute("SET synchronous_commit = off")
            connection.autocommit = False

    def _before_statement(self, _connection, _cursor, statement, *_):
        if _MOVES_JOB.search(statement):
            self._moves_job = True
        if self.die_at is not None and statement.lstrip()[:6] in {"INSERT", "UPDATE", "DELETE"}:
            self.die_at -= 1
            if self.die_at < 0:
                self.fired = True
                raise Died


class _Write:
    """The context of a write."""

    def __init__(self, database, context):
        self._database, self._context = database, context

    def __enter__(self):
        self._database._moves_job = False
        return self._context.__enter__()

    def __exit__(self, *error):
        swallowed = self._context.__exit__(*error)
        if error[0] is None and self._database.unanswered and self._database._moves_job:
            self._database.unanswered, self._database.fired = False, True
            raise database_unavailable()
        return swallowed


class Broker:
    """Tickets that get lost, doubled and out of order; and a broker that is away."""

    def __init__(self):
        self.queue = []
        self.away = False
        self._numbers = itertools.count()

    def send(self, _device, count):
        self._ask()
        self.queue += [next(self._numbers) for _ in range(count)]

    def waiting(self, _device):
        self._ask()
        return len(self.queue)

    def close(self):
        pass

    def _ask(self):
        from service.tickets import BrokerUnavailable

        if self.away:
            raise BrokerUnavailable("nobody answers")
