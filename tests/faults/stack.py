"""One long-lived installation for each database, whose dead processes come back as under an init system."""

import contextlib
import json
import os
import signal
import threading
import time
import uuid

import grpc
import psutil

from service import accounts
from tests import servers
from tests.acceptance import wire as wires
from tests.acceptance.stack import LEASE_S, READY_S, ROOT, Stack
from tests.waiting import gone, wait_until
from traind.v1 import server_pb2

KIM, LEE = "kim", "lee"
# A frozen process is let go after so long: its lease has ended then, and another worker has taken its job.
FROZEN_S = 3 * LEASE_S
# Meanwhile nobody kills a process that was frozen and writes again.
HARM_S = 2.0
FIRED_S = 60
QUIET_S = 60
LOOK_S = 0.05
WEEK_S = 7 * 86400


class FaultStack(Stack):
    """An installation whose processes act at a named point when they are told to.

    Its processes started by `start` are started again when they die, on the ports they had; `up` does that itself for
    its own. Two users: kim, whose jobs are tried, and lee, who must see nothing of them.
    """

    def __init__(self, database_url=None, broker_url=None, *, defect="", **env):
        super().__init__(database_url, broker_url, **env)
        self.faults = self.folder / "faults"
        self.faults.mkdir()
        paths = [ROOT / "tests" / "faults" / "injected", ROOT, ROOT / "clients"]
        self.env |= {"PYTHONPATH": os.pathsep.join(map(str, paths)), "FAULTS_FOLDER": str(self.faults)}
        if defect:
            self.env["FAULTS_DEFECT"] = defect
        self.other_token = None
        # The deaths of processes that `start` began: (name, exit code).
        self.deaths = []
        self._words = {}
        self._guard = threading.RLock()
        self._closing = threading.Event()
        self._init = threading.Thread(target=self._supervise, name="init", daemon=True)
        self._armed = self._thawed = None
        self._thawing = threading.Lock()

    # Processes

    def start(self, name, *words):
        """A process that stays, and that is started again when it dies."""
        with self._guard:
            self._words[name] = words
            return super().start(name, *words)

    def stop(self, name, number=signal.SIGTERM, seconds=15):
        """End a process for good, or until `start`."""
        with self._guard:
            self._words.pop(name, None)
        return super().stop(name, number, seconds)

    def supervise(self):
        """Begin to start dead processes again, the server on the ports it has now."""
        told = self.address
        self.env["TRAIND_GRPC_PORT"] = told["grpc"].rpartition(":")[2]
        self.env["TRAIND_HTTP_PORT"] = told["http"].rpartition(":")[2]
        self._init.start()

    def _supervise(self):
        while not self._closing.wait(LOOK_S):
            with self._guard:
                for name, words in list(self._words.items()):
                    if self.roots[name].poll() is not None:
                        self.deaths.append((name, self.roots[name].returncode))
                        Stack.start(self, name, *words)

    def family(self):
        """Every live process of this stack, whoever its parent is now: they carry its folder in their environment."""
        mark = str(self.faults)
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and process.environ().get("FAULTS_FOLDER") == mark:
                    found.append(process)
        return found

    def close(self):
        self._closing.set()
        if self._init.is_alive():
            self._init.join()
        self.disarm()
        try:
            super().close()
        finally:
            for process in self.family():
                with contextlib.suppress(psutil.Error):
                    process.kill()

    # Points

    def arm(self, point, action, hit=1):
        """Let the `hit`-th process that comes to the point kill or freeze itself, or meet an I/O error; once."""
        self.disarm()
        self._armed = f"{point}-{action}-{uuid.uuid4().hex[:8]}"
        told = {"id": self._armed, "point": point, "action": action, "hit": hit}
        new = self.faults / "armed.new"
        new.write_text(json.dumps(told))
        new.replace(self.faults / "armed.json")

    def fired(self):
        """{"pid", "frozen": [pid]} of the process that acted; None if none did yet."""
        try:
            return json.loads((self.faults / f"{self._armed}-fired").read_text())
        except FileNotFoundError:
            return None

    def wait_fired(self, seconds=FIRED_S):
        return wait_until(self.fired, f"a process came to the point of {self._armed}", seconds)

    def disarm(self):
        """Nothing happens any more, and who is frozen goes on."""
        if self._armed is None:
            return
        (self.faults / "armed.json").unlink(missing_ok=True)
        self.thaw()
        self._armed = None

    def thaw(self):
        """Let go whom the point froze: first the process itself, and its guardians when it had time to do harm."""
        with self._thawing:
            told = self.fired()
            if told is None or self._thawed == self._armed:
                return
            self._thawed = self._armed
            for pid in reversed(told["frozen"]):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
                deadline = time.monotonic() + HARM_S * (len(told["frozen"]) > 1 and pid == told["pid"])
                while not gone(pid) and time.monotonic() < deadline:
                    time.sleep(LOOK_S)

    @contextlib.contextmanager
    def acting(self, point, action, hit=1):
        """While the block runs somebody dies, freezes or errs at the point; who is frozen goes on after 3 leases.

        Fails where nobody came to the point.
        """
        self.arm(point, action, hit)
        over = threading.Event()

        def let_go():
            while not over.is_set() and self.fired() is None:
                over.wait(LOOK_S)
            over.wait(FROZEN_S)
            self.thaw()

        keeper = threading.Thread(target=let_go, name="keeper")
        if action == "freeze":
            keeper.start()
        try:
            yield
            self.wait_fired()
            if action == "freeze":
                keeper.join()
        finally:
            over.set()
            if keeper.is_alive():
                keeper.join()
            self.disarm()

    # States

    def wait_up(self):
        """Until the server answers and no process is frozen or missing."""

        def up():
            with self._guard:
                alive = all(root.poll() is None for root in self.roots.values())
            told = self.address
            return alive and told is not None and answers(told, self.token)

        wait_until(up, f"the server answers: {self.output_of_server()[-2000:]}", READY_S)

    def wait_quiet(self):
        """Until no job is queued or held, no trainer runs, and the server answers."""
        database = self.database()

        def quiet():
            return not unended(database) and not self.trainers()

        try:
            self.wait_up()
            wait_until(quiet, "every job has ended", QUIET_S, 0.02)
        finally:
            database.dispose()

    def output_of_server(self):
        """The end of what the server wrote."""
        path = self.data / "run" / "api.log" if "up" in self.roots else self.folder / "api.out"
        return path.read_text(errors="replace") if path.exists() else ""

    def files(self):
        """The files of data sets by name."""
        return {path.name: path for path in self.data.glob("objects/??/*")}

    def keep_house(self):
        """Collect what nobody needs any more, as if it had lain there for a week."""
        for path in self.files().values():
            os.utime(path, (time.time() - WEEK_S,) * 2)
        self.run("housekeeping")

    def wire_of(self, token):
        """A raw client."""
        wire = wires.Wire(self.address["grpc"], token)
        self._wires.append(wire)
        return wire


def sqlite(**options):
    """`up`: SQLite and the embedded broker below one process."""
    stack = FaultStack(**options)
    stack.start("up", "service", "up")
    stack.wait_ready()
    return furnished(stack)


def postgresql(database_url, broker_url, **options):
    """`api` and `worker` with PostgreSQL and Redis, each by itself."""
    stack = FaultStack(database_url, broker_url, **options)
    stack.run("migrate")
    stack.start("api", "service", "api")
    stack.start("worker", "worker")
    stack.wait_ready()
    return furnished(stack)


@contextlib.contextmanager
def opened(kind, **options):
    """A stack of that kind of database, and its end."""
    with contextlib.ExitStack() as exits:
        try:
            if kind == "sqlite":
                stack = sqlite(**options)
            else:
                broker_url = servers.redis_url()
                url = exits.enter_context(servers.fresh_database("postgresql"))
                stack = postgresql(url, broker_url, **options)
        except servers.NoServer as error:
            servers.missing(error)
        yield exits.enter_context(stack)


def furnished(stack):
    """With its users and kim's data set `waves`."""
    database = stack.database()
    for name in (KIM, LEE):
        accounts.create_user(database, name)
    stack.token = accounts.create_token(database, KIM, ["read", "submit", "predict", "admin"])
    stack.other_token = accounts.create_token(database, LEE, ["read", "submit", "predict"])
    database.dispose()
    stack.supervise()
    stack.wait_up()
    stack.wire_of(stack.token).upload("waves", wires.table())
    return stack


def answers(address, token):
    """Whether the server there lets the token in."""
    wire = wires.Wire(address["grpc"], token)
    try:
        wire.server.GetServerInfo(server_pb2.GetServerInfoRequest(), metadata=wire.metadata, timeout=2)
    except grpc.RpcError:
        return False
    finally:
        wire.close()
    return True


def unended(database):
    """How many jobs have not ended."""
    with database.read() as connection:
        query = "SELECT COUNT(*) FROM job WHERE state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED')"
        return connection.exec_driver_sql(query).scalar()


def frozen(pid):
    """Whether a process is stopped."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    return False
