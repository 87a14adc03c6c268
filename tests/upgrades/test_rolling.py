"""An upgrade part by part while jobs run, and the way back: workers of two versions on one database."""

import contextlib
import datetime as dt
import os
import signal
import threading
import time

import psutil
import pytest

from tests import servers
from tests.acceptance import wire as wires
from tests.acceptance.checks import assert_whole
from tests.acceptance.stack import ROOT, Stack
from tests.conftest import KINDS
from tests.waiting import wait_until
from traind.v1 import jobs_pb2, server_pb2

# Neither is the version of this checkout.
BEFORE, AFTER = "0.8.0", "0.9.0"
# Within which a worker hands its jobs back.
BACK_S = 10.0
EPOCHS = 60
# A busy machine takes its time for the jobs; nothing is measured by it.
PATIENCE_S = 300


class Rolling(Stack):
    """An api and workers with a slot each, every process of the version that it is started with."""

    def __init__(self, *arguments):
        # A lease that no busy machine lets run out: what is handed back is not to be found lost.
        super().__init__(*arguments, TRAIND_SLOTS="1", TRAIND_LEASE_S="15")
        paths = [ROOT / "tests" / "upgrades" / "versioned", ROOT, ROOT / "clients"]
        self.env["PYTHONPATH"] = os.pathsep.join(map(str, paths))
        self.token = self.run("user", "add", "kim", "--scopes", "read,submit,predict,admin").stdout.strip()

    def begin(self, name, version):
        """`api`, or a worker by its version."""
        self.env["TRAIND_TEST_VERSION"] = version
        self.start(name, "service", "api" if name == "api" else "worker")

    def keep_ports(self):
        """The api comes back where watchers look for it."""
        for door in ("grpc", "http"):
            self.env[f"TRAIND_{door.upper()}_PORT"] = self.address[door].rpartition(":")[2]

    def holders(self, *names):
        """The name of the root process below which each job runs."""
        database = self.database()
        query = "SELECT worker FROM job WHERE id = '{}'"
        with database.read() as connection:
            ids = [name.removeprefix("jobs/") for name in names]
            held = [connection.exec_driver_sql(query.format(job_id)).scalar_one() for job_id in ids]
        database.dispose()
        return [self.root_of(int(one.rpartition(":")[2])) if one else None for one in held]

    def root_of(self, pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            above = {pid, *(process.pid for process in psutil.Process(pid).parents())}
            return next((name for name, root in self.roots.items() if root.pid in above), None)
        return None


class Watcher(threading.Thread):
    """Watches a job from its first event to its end."""

    def __init__(self, stack, name):
        super().__init__()
        self._wire, self._job = stack.wire(), name
        self.events = []
        self.start()

    def run(self):
        self.events = self._wire.watch(self._job, PATIENCE_S)


@pytest.fixture(params=KINDS)
def rolling(request):
    with contextlib.ExitStack() as exits:
        arguments = ()
        if request.param == "postgresql":
            try:
                broker_url = servers.redis_url()
                arguments = (exits.enter_context(servers.fresh_database("postgresql")), broker_url)
            except servers.NoServer as error:
                servers.missing(error)
        yield exits.enter_context(Rolling(*arguments))


def info(wire):
    return wire.call(wire.server.GetServerInfo, server_pb2.GetServerInfoRequest())


def steady():
    job = wires.steady()
    job.train.learn.gradient.epochs = EPOCHS
    return job


def warm(wire):
    """Until the slots of both workers can begin at once: while one is busy, a job comes to its end."""
    busy = wire.submit(wires.endless()).name
    wire.wait_epoch(busy, seconds=PATIENCE_S)
    wire.wait(wire.submit(wires.quick()).name, PATIENCE_S)
    wire.cancel(busy)
    wire.wait(busy)


def roll(stack, wire, old, new, weights):
    """With a job on a worker of each version: the api and the old worker go, and the new ones do the rest."""
    jobs = [wire.submit(steady()).name for _ in range(2)]
    watchers = [Watcher(stack, name) for name in jobs]
    for name in jobs:
        wire.wait_epoch(name, 3)
    holders = stack.holders(*jobs)
    assert sorted(holders) == sorted([old, new])
    moved, stayed = (jobs[holders.index(one)] for one in (old, new))

    asked_at = time.time()
    stack.roots["api"].send_signal(signal.SIGTERM)
    stack.stop(old)
    stack.stop("api")
    stack.begin("api", new)
    wait_until(lambda: stack.address, "the api is back", 90)
    assert info(wire).version == new

    for name, watcher in zip(jobs, watchers, strict=True):
        watcher.join(PATIENCE_S)
        attempts = {moved: 2, stayed: 1}[name]
        assert_whole(wire, name, epochs=EPOCHS, attempts=attempts, events=watcher.events)
        waits = [event for event in watcher.events if event.state.state == jobs_pb2.Job.QUEUED]
        told = ["", "the worker makes room"][:attempts]
        assert [event.state.message for event in waits] == told, "handed back, and not found lost"
        assert waits[-1].time.ToDatetime(dt.UTC).timestamp() < asked_at + BACK_S
        model = wire.model(wire.get(name).model_version)
        assert (model.weights_sha256, model.engine) == (weights, new)


@pytest.mark.timeout(900)
def test_an_upgrade_and_the_way_back_lose_nothing(rolling):
    rolling.begin("api", BEFORE)
    rolling.begin(BEFORE, BEFORE)
    rolling.wait_ready()
    rolling.keep_ports()
    wire = rolling.wire()
    wire.upload("waves", wires.table())
    calm = wire.model(wire.wait(wire.submit(steady()).name, PATIENCE_S).model_version)
    assert (info(wire).version, calm.engine) == (BEFORE, BEFORE)
    for old, new in [(BEFORE, AFTER), (AFTER, BEFORE)]:
        rolling.begin(new, new)
        wait_until(lambda: info(wire).workers == 2, "both workers say that they live", 60)
        warm(wire)
        roll(rolling, wire, old, new, calm.weights_sha256)
