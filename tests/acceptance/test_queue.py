"""The queue of a server with real workers: what waits, who holds the slots, and which workers live."""

import signal

import pytest

import traind
from tests.acceptance import stack as stacks
from tests.clients.traind.conftest import ENDLESS, FLATS
from tests.waiting import wait_until
from traind.v1 import jobs_pb2, server_pb2


@pytest.fixture
def stack():
    with stacks.split(TRAIND_SLOTS="1") as stack:
        yield stack


def test_it_tells_holder_waiters_and_workers_as_they_come_and_go(stack):
    wire = stack.wire()

    def seen():
        return wire.call(wire.jobs.ListQueue, jobs_pb2.ListQueueRequest())

    def info():
        return wire.call(wire.server.GetServerInfo, server_pb2.GetServerInfoRequest())

    wait_until(lambda: (seen().workers, seen().slots) == (1, 1), "the worker says that it lives", 20)
    assert (info().workers, info().slots) == (1, 1)
    with traind.Client(stack.address["grpc"], token=stack.token) as client:
        client.datasets.create(FLATS, name="flats")
        first, second = (client.jobs.create(dataset="flats", model="m", train=ENDLESS) for _ in range(2))
        holds = wait_until(lambda: next((e for e in seen().entries if e.epoch > 0), None), "an epoch is done", 30)
        assert (holds.job, holds.owner, holds.state, holds.position) == (first.name, "kim", jobs_pb2.Job.RUNNING, 0)
        assert holds.worker.split(":")[1] in {str(process.pid) for process in stack.processes("-m worker")}
        assert holds.device == "cpu"
        waits = seen().entries[1]
        assert (waits.job, waits.position) == (second.name, 1)
        assert waits.why_waiting == "It is the next to be begun; 1 of 1 slot is busy"

        stack.stop("worker")  # As an administrator: it takes back its word at once.
        assert (seen().workers, seen().slots) == (0, 0)
        assert "No worker is alive" in client_why(seen(), second.name)

        stack.start("worker", "service", "worker")
        wait_until(lambda: seen().workers == 1, "the new worker says that it lives", 20)
        stack.stop("worker", signal.SIGKILL)  # It cannot take back anything.
        wait_until(lambda: seen().workers == 0, "a killed worker's word runs out", stacks.LEASE_S + 5)
        client.jobs.cancel(first)
        client.jobs.cancel(second)


def client_why(answer, job):
    return next(entry.why_waiting for entry in answer.entries if entry.job == job)
