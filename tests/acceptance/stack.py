"""traind as its administrators run it: real processes on free ports, in a folder that is thrown away.

A stack knows the processes it started and finds their children by psutil; it signals nothing else.
"""

import contextlib
import json
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import psutil
import redis

from service.store.database import Database
from tests.acceptance.wire import Wire
from tests.waiting import gone, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
PYTHON = sys.executable
READY_S = 90
LEASE_S, BEAT_S, SWEEP_S = 2.0, 0.4, 0.5


class Stack:
    """One installation."""

    def __init__(self, database_url=None, broker_url=None, **env):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="traind-acceptance-"))
        self.data = self.folder / "data"
        self.database_url = database_url or f"sqlite:///{self.data / 'traind.db'}"
        self.broker_url = broker_url
        self.prefix = f"traind-test-{secrets.token_hex(4)}:"
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("TRAIND_")}
        self.env |= {
            "TRAIND_DATA_DIR": str(self.data),
            "TRAIND_DATABASE_URL": self.database_url,
            "TRAIND_BROKER_PREFIX": self.prefix,
            "TRAIND_HTTP_PORT": "0",
            "TRAIND_GRPC_PORT": "0",
            "TRAIND_PREDICT_PORT": "0",
            "TRAIND_SLOTS": "2",
            "TRAIND_LEASE_S": str(LEASE_S),
            "TRAIND_BEAT_S": str(BEAT_S),
            "TRAIND_SWEEP_S": str(SWEEP_S),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
            **env,
        }
        if broker_url:
            self.env["TRAIND_BROKER_URL"] = broker_url
        # By name; a restart replaces one.
        self.roots = {}
        self.token = None
        self._wires = []

    def run(self, *words, check=True):
        """A command to its end."""
        argv = [PYTHON, "-m", "service", *words]
        done = subprocess.run(argv, cwd=ROOT, env=self.env, capture_output=True, text=True, check=False, timeout=60)
        assert not check or done.returncode == 0, done.stderr
        return done

    def start(self, name, *words, within=()):
        """A process that stays, its output in a file by its name; `within` = words that come before its own."""
        with (self.folder / f"{name}.out").open("ab") as out:
            self.roots[name] = subprocess.Popen(
                [*within, PYTHON, "-m", *words],
                cwd=ROOT,
                env=self.env,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        return self.roots[name]

    def output(self, name):
        return (self.folder / f"{name}.out").read_text()

    @property
    def address(self):
        """What the running server says of itself; None while none does."""
        try:
            told = json.loads((self.data / "run" / "address.json").read_text())
        except (OSError, ValueError):
            return None
        return told if psutil.pid_exists(told["pid"]) else None

    def wait_back(self, killed, seconds=60):
        """Until another process than `killed` is the server."""
        wait_until(lambda: (self.address or {}).get("pid", killed) != killed, "the server is back", seconds)

    def wait_ready(self):
        def ready():
            for name, process in self.roots.items():
                assert process.poll() is None, f"{name} ended: {self.output(name)}"
            return self.address

        return wait_until(ready, "the server is ready", READY_S)

    def wire(self):
        """A client of its own for whoever asks."""
        wire = Wire(self.address["grpc"], self.token)
        self._wires.append(wire)
        return wire

    def database(self):
        """A look past the doors, for what no caller can see."""
        return Database(self.database_url)

    def processes(self, *words):
        """Live descendants of this stack whose command line holds all the words; some end while they are looked for."""
        found = []
        for root in [*self.roots.values()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                if root.poll() is not None:
                    continue
                found += [psutil.Process(root.pid), *psutil.Process(root.pid).children(recursive=True)]
        return [process for process in found if all(word in command(process) for word in words)]

    def trainers(self):
        """Processes that learn a job just now: forks of a zygote."""
        zygotes = {process.pid for process in self.processes("worker.trainer")}
        return [process for process in self.processes("worker.trainer") if parent(process) in zygotes]

    def supervisors(self):
        """Celery's children."""
        celery = {process.pid for process in self.processes("-m worker celery")}
        return [process for process in self.processes("-m worker celery") if parent(process) in celery]

    def wait_trainer(self):
        return wait_until(self.trainers, "a trainer runs", 20)[0]

    def logs(self):
        """Everything that any process wrote, but for what `up` tells the person at the terminal."""
        paths = [path for path in self.folder.glob("*.out") if path.stem != "up"]
        paths += (self.data / "run").glob("*.log")
        return "\n".join(path.read_text(errors="replace") for path in paths)

    def stop(self, name, number=signal.SIGTERM, seconds=15):
        """End one root process and say how long it took; nothing of its tree may be left."""
        root = self.roots.pop(name)
        tree = [process.pid for process in psutil.Process(root.pid).children(recursive=True)] if alive(root) else []
        began = time.monotonic()
        root.send_signal(number)
        try:
            root.wait(seconds)
        except subprocess.TimeoutExpired:
            for pid in (root.pid, *tree):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise
        took = time.monotonic() - began
        wait_until(lambda: all(gone(pid) for pid in tree), f"all of {name} is gone", 3)
        return took

    def close(self):
        """End everything that is of it, each whatever became of the others."""
        for wire in self._wires:
            wire.close()
        with contextlib.ExitStack() as ends:
            ends.callback(shutil.rmtree, self.folder, ignore_errors=True)
            ends.callback(self._clear_broker)
            for name in reversed(self.roots):
                ends.callback(self.stop, name)

    def _clear_broker(self):
        if self.broker_url and self.broker_url.startswith("redis://"):
            with redis.Redis.from_url(self.broker_url) as client:
                keys = list(client.scan_iter(f"{self.prefix}*"))
                if keys:
                    client.delete(*keys)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def up(**env):
    """`up`: everything below one process, SQLite and the embedded broker."""
    stack = Stack(**env)
    stack.start("up", "service", "up")
    stack.wait_ready()
    stack.token = (stack.data / "run" / "token").read_text().strip()
    return stack


def split(database_url=None, broker_url=None, **env):
    """`api` and `worker` as processes of their own."""
    stack = Stack(database_url, broker_url, **env)
    stack.token = stack.run("user", "add", "kim", "--scopes", "read,submit,predict,admin").stdout.strip()
    stack.start("api", "service", "api")
    stack.start("worker", "service", "worker")
    stack.wait_ready()
    return stack


def parent(process):
    """The pid of a process's parent; None of one that is gone."""
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return None


def command(process):
    try:
        return " ".join(process.cmdline()) if process.status() != psutil.STATUS_ZOMBIE else ""
    except psutil.Error:
        return ""


def alive(popen):
    return popen.poll() is None
