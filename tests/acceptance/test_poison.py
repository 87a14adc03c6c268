"""A job that ends every process it runs in, and one that takes more memory than it may: they fail, others go on."""

import os
import signal

import psutil
import pytest
from sqlalchemy import text

from tests.acceptance import stack as stacks
from tests.acceptance import wire as wires
from tests.acceptance.wire import Wire
from tests.waiting import wait_until
from traind.v1 import jobs_pb2

Job = jobs_pb2.Job
Reason = jobs_pb2.Failure


def trainer_of(stack, database, job, lines):
    """The process that learns this job just now, if there is one, once the job's log has so many lines."""
    with database.read() as connection:
        known = {"id": job.name.removeprefix("jobs/")}
        worker = connection.execute(text("SELECT worker FROM job WHERE id = :id"), known).scalar()
        told = text("SELECT count(*) FROM event WHERE job_id = :id AND kind = 'log'")
        if connection.execute(told, known).scalar_one() < lines:
            return None
    for trainer in stack.trainers() if worker else ():
        try:
            if trainer.parent().ppid() == int(worker.rpartition(":")[2]):
                return trainer
        except (psutil.Error, AttributeError):
            continue
    return None


def test_a_job_that_ends_its_process_each_time_fails_and_others_go_on(stack, wire):
    lee_token = stack.run("user", "add", f"lee{os.getpid()}", "--scopes", "read,submit").stdout.strip()
    lee = Wire(stack.address["grpc"], lee_token)
    lee.upload("waves", wires.table())
    poison = wire.submit(wires.heavy())
    database, killed, others = stack.database(), set(), []
    while not wire.get(poison.name).done:
        trainer = wait_until(
            lambda: wire.get(poison.name).done or trainer_of(stack, database, poison, len(killed) + 1),
            "it runs or is over",
            60,
        )
        if trainer is True:
            break
        if trainer.pid not in killed:
            killed.add(trainer.pid)
            os.kill(trainer.pid, signal.SIGKILL)
            others.append(lee.submit(wires.quick()).name)
    database.dispose()
    ended = wire.get(poison.name)
    assert (ended.state, ended.failure.reason) == (Job.FAILED, Reason.WORKER_LOST)
    assert ended.attempt == len(killed) == 3
    for words in ("3 times", "SIGKILL", "its log last said", "smaller"):
        assert words in ended.failure.message
    assert [lee.wait(name, 90).state for name in others] == [Job.SUCCEEDED] * 3
    assert wire.wait(wire.submit(wires.quick()).name, 90).state == Job.SUCCEEDED
    lee.close()


@pytest.fixture
def tight():
    """A worker with less memory than its server believes."""
    with stacks.Stack(TRAIND_SLOTS="1") as stack:
        stack.token = stack.run("user", "add", "kim", "--scopes", "read,submit").stdout.strip()
        stack.start("api", "service", "api")
        stack.env["TRAIND_MAX_JOB_BYTES"] = str(1 << 20)
        stack.start("worker", "service", "worker")
        stack.wait_ready()
        yield stack


def test_a_job_that_takes_more_memory_than_it_may(tight):
    wire = tight.wire()
    wire.upload("waves", wires.table())
    large = wires.train(2)
    large.train.network.mlp.hidden[:] = [6500, 6500]
    name = wire.submit(large).name
    beside = wire.submit(wires.quick()).name
    ended = wire.wait(name, 120)
    assert (ended.state, ended.failure.reason) == (Job.FAILED, Reason.OUT_OF_MEMORY)
    assert ended.attempt == 1, "what will not fit is not tried again"
    expected = f"{ended.memory_bytes / 1e6:,.0f} MB were expected, 538 MB are allowed"
    assert expected in ended.failure.message
    assert "batch_size is 32" in ended.failure.message
    assert wire.wait(beside, 90).state == Job.SUCCEEDED, "the worker lives on"


def test_a_job_that_no_worker_could_hold_is_refused_before_it_waits(tight):
    tight.stop("api")
    tight.start("api", "service", "api")
    tight.wait_ready()
    done = tight.wire()
    done.upload("waves", wires.table())
    large = wires.train(2)
    large.train.network.mlp.hidden[:] = [2000, 2000]
    with pytest.raises(Exception, match="MB of memory; this server allows 1 MB a job: use a smaller batch_size"):
        done.submit(large)
