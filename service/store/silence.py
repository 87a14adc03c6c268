"""A PostgreSQL connection that does not wait for ever.

The kernel notices a peer that is gone, but not one that is frozen, or a proxy between that has lost the other side:
those go on acknowledging packets. A thread that waits there would wait for ever, and with it a slot of a worker or one
of the threads that a server answers with.
"""

import contextlib
import math
import time
from collections.abc import Generator, Iterator
from typing import Any

import psycopg
from sqlalchemy import Connection

# Twice as long as any statement may wait for a lock: a server that says nothing for so long does not answer any more.
SILENCE_S = 10.0


class Impatient(psycopg.Connection[Any]):
    """Gives up, and closes itself, when nothing has come or gone for `silence_s` while it waits for an answer."""

    silence_s = SILENCE_S

    def wait(self, gen: Any, *arguments: Any, **named: Any) -> Any:
        """Run a step of the protocol to its end. Raises OperationalError at a silence."""
        return super().wait(self._listening(gen), *arguments, **named)

    def _listening(self, steps: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """The same steps; whoever runs them sends a false value from time to time while nothing happens."""
        happened, heard_at = None, time.monotonic()
        while True:
            try:
                wanted = steps.send(happened)
            except StopIteration as end:
                return end.value
            happened = yield wanted
            now = time.monotonic()
            if happened:
                heard_at = now
            elif now - heard_at > self.silence_s:
                steps.close()
                self.pgconn.finish()
                raise psycopg.OperationalError(f"the server did not answer for {self.silence_s:g} s")


@contextlib.contextmanager
def patient(connection: Connection) -> Iterator[None]:
    """Let statements of this connection take as long as they do: a migration may copy a table."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, Impatient)
    driver.silence_s = math.inf
    try:
        yield
    finally:
        driver.silence_s = SILENCE_S
