"""Servers of a test's own to kill, flush, freeze and fill; what other tests use is never touched."""

import contextlib
import os
import signal
import threading
import time

import psutil
import psycopg
import redis

from tests import servers
from tests.waiting import gone, wait_until

# Seconds in which a server that is up lets a session in.
PATIENCE_S = 60.0


class Freezable:
    """A server process whose whole tree can be stopped and let go on."""

    def tree(self):
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]

    def freeze(self):
        """SIGSTOP the first process before its children, so that none is made meanwhile."""
        stopped = set()
        # Those that were forked before the first one stood still.
        while new := {process.pid for process in self.tree()} - stopped:
            for pid in sorted(new, key=lambda pid: pid != self.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            stopped |= new

    def thaw(self):
        for process in reversed(self.tree()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)

    @contextlib.contextmanager
    def frozen(self):
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def away(self, seconds):
        """Kill it at once, and start it again after so long, meanwhile going on; answers the thread to join."""
        self.kill()

        def back():
            time.sleep(seconds)
            self.start()
            return self.process

        return _Starter(back)


class _Starter:
    """Runs one start in a thread that stays as long as what it started, which is tied to it."""

    def __init__(self, start):
        self._started, self._error = threading.Event(), None

        def run():
            try:
                process = start()
            except Exception as error:
                self._error = error
                self._started.set()
                return
            self._started.set()
            process.wait()

        threading.Thread(target=run, daemon=True).start()

    def join(self, seconds=30.0):
        assert self._started.wait(seconds), "the server did not come back"
        assert self._error is None, self._error


class Broker(Freezable, servers.OwnValkey):
    """A Valkey without persistence."""

    def client(self):
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=5)

    def flush(self):
        with self.client() as client:
            client.flushall()

    def fill(self):
        """Take no write any more: less memory allowed than is used, and nothing is thrown away."""
        with self.client() as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", 1)

    def empty(self):
        """Take writes again."""
        with self.client() as client:
            client.config_set("maxmemory", 0)


class Postgres(Freezable, servers.OwnPostgres):
    """A PostgreSQL cluster. `door` is where a proxy finds it, `at` the URL of a database by way of a proxy."""

    @property
    def door(self):
        return f"{self.folder}/.s.PGSQL.5432"

    def at(self, address, database="postgres"):
        return f"postgresql://traind@{address}/{database}"

    def kill(self):
        """SIGKILL the first process; its backends notice and leave, and only then can it be started again."""
        children = self.tree()[1:] if self.process is not None and self.process.poll() is None else []
        super().kill()
        wait_until(lambda: all(gone(child.pid) for child in children), "its backends are gone", 20)

    def immediate(self):
        """SIGQUIT: the shutdown that is a crash; the next start recovers."""
        self.end(signal.SIGQUIT)

    def create(self, name):
        with self.session() as session:
            session.execute(f"CREATE DATABASE {name}")
        return servers.database_url(self.url, name)

    def backends(self):
        """The processes that serve traind."""
        with self.session() as session:
            found = session.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'traind'").fetchall()
        return [pid for (pid,) in found]

    def kill_a_backend(self):
        """SIGKILL, as when memory runs out."""
        os.kill(wait_until(self.backends, "traind is connected")[0], signal.SIGKILL)

    def terminate_backends(self):
        """End the connections of traind as an administrator does."""
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'traind'"
        with self.session() as session:
            return len(session.execute(query).fetchall())

    def session(self, url=None):
        """A session past every proxy; in another database than the first by its URL. A busy machine is waited for."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return psycopg.connect(url or self.url, autocommit=True, connect_timeout=5, application_name="the test")
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
