"""Any process is killed in the middle of an epoch: every job ends once, history whole, weights the same bits."""

import os
import signal
import time

import pytest

from tests import servers
from tests.acceptance import stack as stacks
from tests.acceptance import wire as wires
from tests.acceptance.checks import assert_whole
from tests.acceptance.conftest import furnished
from tests.waiting import gone, wait_until
from traind.v1 import jobs_pb2, learning_pb2

Job = jobs_pb2.Job


@pytest.fixture
def disturbed(stack, wire):
    """A job in the middle of its work, two that wait behind it and one beside it; afterwards all must be whole."""
    if not hasattr(stack, "reference"):
        done = wire.wait(wire.submit(wires.steady()).name)
        stack.reference = wire.model(done.model_version).weights_sha256
    job = wire.submit(wires.steady())
    wire.wait_epoch(job.name, 5)
    yield job
    others = [wire.submit(wires.quick()) for _ in range(2)]
    wire.wait(job.name, 60)
    assert_whole(wire, job.name, epochs=40)
    assert wire.model(wire.get(job.name).model_version).weights_sha256 == stack.reference
    for other in others:
        wire.wait(other.name)
        assert_whole(wire, other.name, epochs=3)


def kill(*processes):
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
    for process in processes:
        wait_until(lambda pid=process.pid: gone(pid), "it is gone")


def attempts_of(wire, job):
    return wire.wait(job.name, 60).attempt


def test_a_killed_trainer(stack, wire, disturbed):
    kill(stack.wait_trainer())
    assert attempts_of(wire, disturbed) == 2


def test_a_killed_trainer_of_a_plain_stack(stack, wire):
    """Written-out steps go on to the same bits too."""
    calm = wire.wait(wire.submit(wires.plain()).name)
    job = wire.submit(wires.plain())
    assert job.resolved.learn.gradient.path == learning_pb2.Gradient.WRITTEN_OUT
    wire.wait_epoch(job.name, 5)
    kill(stack.wait_trainer())
    assert attempts_of(wire, job) == 2
    assert_whole(wire, job.name, epochs=wires.PLAIN_EPOCHS)
    hashes = {wire.model(wire.get(name).model_version).weights_sha256 for name in (calm.name, job.name)}
    assert len(hashes) == 1


def test_a_killed_zygote(stack, wire, disturbed):
    trainer = stack.wait_trainer()
    kill(trainer.parent())
    wait_until(lambda: gone(trainer.pid), "the trainer is gone too", 2)
    assert attempts_of(wire, disturbed) == 2


def test_a_killed_celery_child(stack, wire, disturbed):
    trainer = stack.wait_trainer()
    supervisor = trainer.parent().parent()
    assert supervisor in stack.supervisors()
    kill(supervisor)
    wait_until(lambda: gone(trainer.pid), "the trainer is gone too", 2)
    assert attempts_of(wire, disturbed) == 2


def test_a_killed_worker(stack, wire, disturbed):
    """Where it stands alone all its processes at once; below `up` its first one, and the others follow."""
    [guardian] = [process for process in stack.processes("-m worker") if process.cmdline()[-1] == "worker"]
    tree = guardian.children(recursive=True)
    if "worker" in stack.roots:
        kill(guardian, *tree)
        stack.roots.pop("worker").wait()
        stack.start("worker", "service", "worker")
    else:
        kill(guardian)
        wait_until(lambda: all(gone(process.pid) for process in tree), "the whole worker is gone", 3)
    assert attempts_of(wire, disturbed) == 2


def test_a_killed_server(stack, wire, disturbed):
    """Training goes on, the watcher goes on where it was."""
    address = stack.address
    os.kill(address["pid"], signal.SIGKILL)
    if "api" in stack.roots:
        stack.roots.pop("api").wait()
        stack.env["TRAIND_GRPC_PORT"] = address["grpc"].rpartition(":")[2]
        stack.start("api", "service", "api")
    events = wire.watch(disturbed.name)
    assert_whole(wire, disturbed.name, epochs=40, attempts=1, events=events)


def test_a_frozen_worker_that_comes_back_writes_nothing(stack, wire, disturbed):
    """Stopped for longer than its lease: the job is another's then, and the zombie finds it out."""
    trainer = stack.wait_trainer()
    supervisor = trainer.parent().parent()
    frozen = [supervisor, trainer.parent(), trainer]
    for process in frozen:
        os.kill(process.pid, signal.SIGSTOP)
    wire.wait(disturbed.name, 30, lambda job: job.attempt == 2)
    for process in frozen:
        os.kill(process.pid, signal.SIGCONT)
    wait_until(lambda: gone(trainer.pid), "the old trainer is gone", 5)
    assert attempts_of(wire, disturbed) == 2


@pytest.mark.alone
def test_a_killed_broker(sqlite_stack):
    stack, wire = sqlite_stack, sqlite_stack.wire()
    running = wire.submit(wires.steady())
    wire.wait_epoch(running.name, 3)
    [broker] = stack.processes("valkey-server")
    kill(broker)
    began = time.monotonic()
    waiting = [wire.submit(wires.quick()) for _ in range(5)]
    assert time.monotonic() - began < 2, "nobody waits for a broker"
    for job in [running, *waiting]:
        wire.wait(job.name)
    assert_whole(wire, running.name, epochs=40, attempts=1)
    for job in waiting:
        assert_whole(wire, job.name, epochs=3, attempts=1)
    assert stack.processes("valkey-server"), "it was started again"


@pytest.mark.alone
def test_a_killed_broker_beside_postgresql():
    """Nobody starts it again but this test; what waited in it is gone, and no job is."""
    try:
        servers.postgres_url()
    except servers.NoServer as error:
        servers.missing(error)
    with (
        servers.fresh_database("postgresql") as database_url,
        servers.OwnValkey() as broker,
        stacks.split(database_url, broker.url) as made,
    ):
        stack, wire = furnished(made), made.wire()
        running = wire.submit(wires.steady())
        wire.wait_epoch(running.name, 3)
        broker.kill()
        began = time.monotonic()
        waiting = [wire.submit(wires.quick()) for _ in range(5)]
        assert time.monotonic() - began < 2, "nobody waits for a broker"
        broker.start()
        for job in [running, *waiting]:
            wire.wait(job.name, 60)
        assert_whole(wire, running.name, epochs=40, attempts=1)
        for job in waiting:
            assert_whole(wire, job.name, epochs=3, attempts=1)
        assert stack.stop("worker") < 10


def test_a_job_that_kills_its_trainer_each_time_fails_after_three(stack, wire):
    job = wire.submit(wires.heavy())
    for attempt in (1, 2, 3):
        wire.wait(job.name, 30, lambda job, n=attempt: (job.state, job.attempt) == (Job.RUNNING, n))
        kill(stack.wait_trainer())
    other = wire.submit(wires.quick())
    ended = wire.wait(job.name, 10)
    assert (ended.state, ended.failure.reason) == (Job.FAILED, jobs_pb2.Failure.WORKER_LOST)
    assert "SIGKILL" in ended.failure.message
    wire.wait(other.name)
    assert_whole(wire, other.name, epochs=3, attempts=1)


def test_no_log_holds_a_token_or_a_lock_error(stack):
    logs = stack.logs()
    assert "attempt 1 begins" in logs
    assert stack.token not in logs
    assert "database is locked" not in logs
