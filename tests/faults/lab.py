"""An installation over servers of its own, with a proxy on each of its lines: what a test may do everything to.

    client --(client)--> api --(api_db)--> PostgreSQL
                         worker --(worker_db)--> PostgreSQL
                         worker --(worker_broker)--> Valkey
                         other --> both, by their sockets: a second worker that no fault of a line reaches

Each part has a wall clock that can be wrong.
"""

import contextlib
import os
import pathlib
import signal
import struct
import tempfile
import threading
import time

import grpc
import psutil

from service.store import refusals
from tests import servers
from tests.acceptance import wire as wires
from tests.acceptance.checks import assert_whole
from tests.acceptance.stack import ROOT
from tests.faults import invariants
from tests.faults import stack as stacks
from tests.faults.own_servers import Broker, Postgres
from tests.faults.proxy import Proxy
from tests.faults.record import Client, Record, tiny
from tests.waiting import gone, wait_until
from traind.v1 import jobs_pb2

Job = jobs_pb2.Job
LEASE_S, SWEEP_S = stacks.LEASE_S, 0.5
# Long enough that a fault meets it in the middle.
STEADY_EPOCHS = 150
PARTS = ("api", "worker", "other")
# A table whose features the model of `predict` takes.
ROW = {f"x{column}": [0.1 * column, -0.2] for column in range(wires.WIDTH)}


class Lab:
    """The installation and all that can be done to it; made once, healed after each test."""

    def __init__(self, exits):
        self.postgres = exits.enter_context(Postgres())
        self.broker = exits.enter_context(Broker())
        self.database_url = self.postgres.create("lab")
        self.api_db = exits.enter_context(Proxy(self.postgres.door))
        self.worker_db = exits.enter_context(Proxy(self.postgres.door))
        self.worker_broker = exits.enter_context(Proxy(str(self.broker.socket)))
        self.clocks = {part: Clock(exits) for part in PARTS}
        self.stack = exits.enter_context(contextlib.closing(self._stack()))
        self.client_door = exits.enter_context(Proxy(self.stack.address["grpc"].removeprefix("grpc://")))
        self.record = Record()
        self.client = Client(self.stack, self.record)
        self.references = {}
        self.model = self.run(tiny()).model_version
        self.predicted = self.predict()

    def _stack(self):
        stack = stacks.FaultStack(self.database_url, self.broker.url)
        path = os.pathsep.join([str(ROOT / "tests" / "faults" / "clockwork"), stack.env["PYTHONPATH"]])
        broker = f"TRAIND_BROKER_URL=redis://{self.worker_broker.address}/0"
        settings = {
            "api": [f"TRAIND_DATABASE_URL={self.postgres.at(self.api_db.address, 'lab')}"],
            "worker": [f"TRAIND_DATABASE_URL={self.postgres.at(self.worker_db.address, 'lab')}", broker],
            "other": ["TRAIND_SLOTS=1"],
        }
        words = {"api": ("service", "api"), "worker": ("worker",), "other": ("worker",)}
        stack.run("migrate")
        for part in PARTS:
            own = [*settings[part], f"PYTHONPATH={path}", f"CLOCK_FILE={self.clocks[part].path}"]
            stack.start(part, "tests.faults.part", *own, "--", *words[part])
        stack.wait_ready()
        return stacks.furnished(stack)

    def refer(self):
        """Learn what the jobs of the tests come to when nothing interrupts them, each twice."""
        for name in [self.submit(job).name for job in (tiny(), steady()) for _ in range(2)]:
            assert self.client.wait(name, seconds=90).state == Job.SUCCEEDED
        database = self.stack.database()
        self.references = {task: tuple(digests) for _, task, *digests in invariants.digests(database)}
        assert not invariants.of_results(database, self.references)
        database.dispose()

    def begin(self):
        """Whole, with a record of its own for what clients will see."""
        self.heal()
        self.record = Record()
        self.client = Client(self.stack, self.record)

    def violations(self):
        """Healed and quiet again: everything that does not hold."""
        self.heal()
        self.client.join()
        return invariants.violations(self.stack, self.record, self.references)

    def heal(self):
        """Everything as it should be, and nothing under way."""
        self.unhurt()
        self.stack.wait_quiet()

    def unhurt(self):
        """No fault holds any more."""
        for proxy in (self.api_db, self.worker_db, self.worker_broker, self.client_door):
            proxy.heal()
        for clock in self.clocks.values():
            clock.set(0)
        self.postgres.thaw()
        self.broker.thaw()
        self.broker.empty()

    def through_the_door(self):
        """A raw client by way of the proxy before the api."""
        wire = wires.Wire(self.client_door.address, self.stack.token)
        self.stack._wires.append(wire)
        return wire

    def submit(self, job=None):
        """Submit until it is acknowledged."""
        return self.client.submit(job or tiny())

    def run(self, job):
        """A job to its good end."""
        ended = self.client.wait(self.submit(job).name)
        assert ended.state == Job.SUCCEEDED, ended
        return ended

    def steady(self, worker=None, epochs=STEADY_EPOCHS):
        """A job in the middle of its work; on the worker of that name in the stack, if one is given."""
        while True:
            job = self.submit(steady(epochs))
            self.client.wait(job.name, lambda job: job.epoch >= 3)
            if worker is None or self.worker_of(job.name) == self.stack.roots[worker].pid:
                return job
            self.client.cancel(job.name)

    def worker_of(self, name):
        """The number of the first process of the worker that holds the job; None where nobody does."""
        database = self.stack.database()
        query = "SELECT worker FROM job WHERE id = %s"
        with database.read() as connection:
            held_by = connection.exec_driver_sql(query, (name.removeprefix("jobs/"),)).scalar()
        database.dispose()
        return self.root_of(int(held_by.rpartition(":")[2])) if held_by else None

    def root_of(self, pid):
        """The process of the stack below which `pid` runs; None if it has ended."""
        with contextlib.suppress(psutil.NoSuchProcess):
            above = {pid, *(process.pid for process in psutil.Process(pid).parents())}
            return next((root.pid for root in self.stack.roots.values() if root.pid in above), None)
        return None

    def predict(self, wire=None, seconds=10.0):
        """What the model says of ROW."""
        wire = wire or self.client.wire
        request = wires.predictions_pb2.PredictRequest(
            name=self.model,
            columns=[wires.tables_pb2.ColumnValues(name=name, numbers=values) for name, values in ROW.items()],
        )
        answer = wire.predictions.Predict(request, metadata=wire.metadata, timeout=seconds)
        answer.ClearField("model")
        return answer

    def assert_predicts(self):
        assert self.predict().SerializeToString() == self.predicted.SerializeToString()

    def assert_done(self, *jobs, attempts=None, seconds=60.0):
        """Each ended well and whole; that its bits are those of an undisturbed run is an invariant."""
        for job in jobs:
            self.client.wait(job.name, seconds=seconds)
            assert_whole(self.client.wire, job.name, epochs=job.epochs, attempts=attempts)

    def submitting(self, count):
        """Submit so many jobs beside everything else, each until it is acknowledged."""
        return _Submitting(self, count)

    def tickets(self):
        """How many tickets nobody has taken."""
        with self.broker.client() as client:
            return client.llen(f"{self.stack.prefix}cpu")

    def consumers(self):
        """Who takes tickets: the Celery parents of both workers."""
        celery = self.stack.processes("-m worker celery")
        return [process for process in celery if process.parent() not in celery]

    @contextlib.contextmanager
    def consumers_held(self):
        """To freeze and thaw those who take tickets; they go on in any case."""
        held = Held(self.consumers())
        try:
            yield held
        finally:
            held.thaw()

    def kill_api(self):
        """SIGKILL; it comes back on its ports."""
        self.stack.roots["api"].kill()

    @contextlib.contextmanager
    def held(self, part):
        """To freeze and thaw every process of a part."""
        root = psutil.Process(self.stack.roots[part].pid)
        held = Held([root, *root.children(recursive=True)])
        try:
            yield held
        finally:
            held.thaw()

    @contextlib.contextmanager
    def frozen_parts(self):
        """To freeze and thaw api, worker, broker and database by name; in the end all go on."""
        with self.held("api") as api, self.held("worker") as worker:
            freezer = Freezer({"api": api, "worker": worker, "broker": self.broker, "database": self.postgres})
            try:
                yield freezer
            finally:
                for part in freezer.parts:
                    freezer.thaw(part)

    def wait_swept(self):
        """Until a sweep has begun and ended: the workers' word that they live is renewed by it."""
        query = "SELECT MIN(alive_until) FROM worker WHERE alive_until > extract(epoch from clock_timestamp())"
        with self.postgres.session(self.database_url) as session:
            before = session.execute(query).fetchone()[0]
            wait_until(lambda: session.execute(query).fetchone()[0] > before + 2 * SWEEP_S, "two sweeps are over", 20)

    def trainers_of(self, part):
        """Processes that learn below a part of the stack."""
        root = self.stack.roots[part].pid
        return [process for process in self.stack.trainers() if self.root_of(process.pid) == root]

    def assert_gone(self, processes, within):
        wait_until(lambda: all(gone(process.pid) for process in processes), "they are gone", within)

    def refused(self):
        """How many writes were refused."""
        database = self.stack.database()
        with database.read() as connection:
            count = refusals.total(connection).count
        database.dispose()
        return count


class Held:
    """Processes that are frozen and let go."""

    def __init__(self, processes):
        self.processes = processes

    def freeze(self):
        self._signal(signal.SIGSTOP)

    def thaw(self):
        self._signal(signal.SIGCONT)

    def _signal(self, number):
        for process in self.processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)


class Freezer:
    """Parts by name."""

    def __init__(self, parts):
        self.parts = parts

    def freeze(self, part):
        self.parts[part].freeze()

    def thaw(self, part):
        self.parts[part].thaw()


class _Submitting:
    """Submissions in a thread of their own, with a client of its own."""

    def __init__(self, lab, count):
        self.jobs = []
        client = Client(lab.stack, lab.record)

        def run():
            for _ in range(count):
                self.jobs.append(client.submit(tiny()))

        self._count = count
        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def join(self, seconds=60.0):
        self._thread.join(seconds)
        assert len(self.jobs) == self._count, "every submission is acknowledged at last"


class Clock:
    """How far the wall clock of a part is ahead, in seconds."""

    def __init__(self, exits):
        folder = exits.enter_context(tempfile.TemporaryDirectory(prefix="td-clock-"))
        self.path = pathlib.Path(folder) / "offset"
        self.path.write_bytes(struct.pack("d", 0.0))

    def set(self, seconds):
        with self.path.open("r+b") as file:
            file.write(struct.pack("d", seconds))


def steady(epochs=STEADY_EPOCHS):
    """A job of so many epochs, of which all with as many epochs have the same bits."""
    return tiny(epochs)


def sleep(seconds):
    """For so long a fault lasts."""
    time.sleep(max(seconds, 0))


def timed(act):
    """What it answers, and how many seconds it took."""
    began = time.monotonic()
    return act(), time.monotonic() - began


def error_of(act):
    """The status with which a call fails; None if it does not."""
    try:
        act()
    except grpc.RpcError as error:
        return error.code()
    return None


@contextlib.contextmanager
def opened():
    """A lab, and its end."""
    with contextlib.ExitStack() as exits:
        try:
            lab = Lab(exits)
        except servers.NoServer as error:
            servers.missing(error)
        yield lab
