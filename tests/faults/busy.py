"""A SQLite database that answers SQLITE_BUSY at a chosen call of the driver: at a BEGIN, a statement or a COMMIT."""

import sqlite3

import sqlalchemy

from service.store.database import Database

# What never asks for a lock that another process could hold.
_FREE = ("PRAGMA", "ROLLBACK")


class BusyDatabase(Database):
    """Armed by `arm`; `fired` tells at which call it was busy, "" if it was at none."""

    def __init__(self, url):
        super().__init__(url)
        self.calm()
        sqlalchemy.event.listen(self._engine, "do_connect", self._connect)
        # No power is cut here.
        sqlalchemy.event.listen(self._engine, "connect", lambda made, _: made.execute("PRAGMA synchronous = OFF"))

    def arm(self, number, *, stays):
        """Busy at the call of that number, from 1; from then on too if it `stays`."""
        self._left, self._stays, self.fired = number, stays, ""

    def calm(self):
        """Never busy."""
        self._left, self._stays, self.fired = 0, False, ""

    def ask(self, statement):
        """Before each call of the driver."""
        if not self._left or statement.startswith(_FREE):
            return
        if self._left > 1:
            self._left -= 1
            return
        if not self._stays:
            self._left = 0
        self.fired = self.fired or statement
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_BUSY, "SQLITE_BUSY"
        raise error

    def _connect(self, _dialect, _record, _arguments, named):
        database = self

        class Cursor(sqlite3.Cursor):
            def execute(self, statement, *arguments):
                database.ask(statement)
                return super().execute(statement, *arguments)

            def executemany(self, statement, *arguments):
                database.ask(statement)
                return super().executemany(statement, *arguments)

        class Connection(sqlite3.Connection):
            def cursor(self, factory=Cursor):
                return super().cursor(factory)

            def execute(self, *arguments):
                return self.cursor().execute(*arguments)

            def commit(self):
                if self.in_transaction:
                    database.ask("COMMIT")
                super().commit()

        named["factory"] = Connection
