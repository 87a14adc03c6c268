"""Without a broker, or with one that is gone for good, jobs run all the same."""

import os
import signal

import pytest

from tests.acceptance import stack as stacks
from tests.acceptance import wire as wires
from tests.acceptance.checks import assert_whole
from tests.acceptance.conftest import furnished
from tests.servers import OwnValkey
from tests.waiting import gone, wait_until
from traind.v1 import jobs_pb2

Job = jobs_pb2.Job


@pytest.fixture(scope="module")
def brokerless():
    """A server and a worker without any broker: its slot looks for jobs itself."""
    with stacks.split(TRAIND_SLOTS="1") as stack:
        yield furnished(stack)


def test_without_a_broker_slots_look_for_jobs_themselves(brokerless):
    wire = brokerless.wire()
    assert not brokerless.processes("-m worker celery")
    assert len(brokerless.processes("-m worker slot")) == 1
    jobs = [wire.submit(wires.train(6)) for _ in range(6)]
    for job in jobs:
        wire.wait(job.name)
        assert_whole(wire, job.name, epochs=6, attempts=1)


def test_without_a_broker_a_cancel_is_as_fast_and_a_killed_slot_comes_back(brokerless):
    wire = brokerless.wire()
    job = wire.submit(wires.steady())
    wire.wait_epoch(job.name, 3)
    trainer = brokerless.wait_trainer()
    slot = trainer.parent().parent()
    assert "worker slot" in " ".join(slot.cmdline())
    os.kill(slot.pid, signal.SIGKILL)
    wait_until(lambda: gone(trainer.pid), "its trainer is gone too", 2)
    wire.wait(job.name)
    assert_whole(wire, job.name, epochs=40, attempts=2)
    wait_until(lambda: len(brokerless.processes("-m worker slot")) == 1, "there is a slot again")
    running = wire.submit(wires.endless())
    wire.wait_epoch(running.name)
    wire.cancel(running.name)
    assert wire.wait(running.name, 1.0).state == Job.CANCELLED


def test_a_brokerless_worker_hands_its_job_back_when_it_is_stopped(brokerless):
    wire = brokerless.wire()
    job = wire.submit(wires.steady())
    wire.wait_epoch(job.name, 3)
    assert brokerless.stop("worker") < 10
    assert wire.get(job.name).state == Job.QUEUED
    brokerless.start("worker", "service", "worker")
    wire.wait(job.name)
    assert_whole(wire, job.name, epochs=40, attempts=2)


def test_a_broker_that_is_gone_for_good_starves_no_job():
    with OwnValkey() as broker, stacks.split(broker_url=broker.url) as made:
        stack = furnished(made)
        wire = stack.wire()
        running = wire.submit(wires.endless())
        wire.wait_epoch(running.name)
        broker.kill()
        jobs = [wire.submit(wires.quick()) for _ in range(3)]
        for job in jobs:
            wire.wait(job.name, 45)
            assert_whole(wire, job.name, epochs=3, attempts=1)
        assert len(stack.trainers()) == 1, "the job that ran before still runs, in its slot"
        assert wire.get(running.name).attempt == 1
        wire.cancel(running.name)
        wire.wait(running.name)
        broker.start()
        assert stack.stop("worker") < 10
