"""Submit, watch, predict and cancel, through real processes on both kinds of database."""

import os
import signal
import statistics
import time

import psutil
import pytest

from tests.acceptance import wire as wires
from tests.acceptance.checks import assert_whole
from traind.v1 import jobs_pb2

Job = jobs_pb2.Job


def test_a_job_goes_from_its_submission_to_predictions(wire):
    job = wire.submit(wires.train(12))
    assert job.state == Job.QUEUED
    events = wire.watch(job.name)
    assert_whole(wire, job.name, epochs=12, attempts=1, events=events)
    done = wire.get(job.name)
    assert done.model_version.startswith("models/kim.m/versions/") or done.model_version.startswith("models/")
    answer = wire.predict(done.model_version, {f"x{column}": [0.5, -0.5] for column in range(wires.WIDTH)})
    assert answer.model == done.model_version
    assert len(answer.predictions[0].numbers) == 2


def test_a_watcher_sees_epochs_while_they_happen(wire):
    job = wire.submit(wires.steady())
    request = jobs_pb2.WatchJobRequest(name=job.name)
    seen_at = []
    for event in wire.jobs.WatchJob(request, metadata=wire.metadata, timeout=60):
        if event.WhichOneof("kind") == "epoch":
            seen_at.append(time.monotonic())
    assert len(seen_at) == 40
    assert seen_at[-1] - seen_at[0] > 0.3, "they came one after the other, not all at the end"


def test_the_same_spec_and_seed_give_the_same_weights(wire):
    names = [wire.wait(wire.submit(wires.train(5)).name).model_version for _ in range(2)]
    first, second = [wire.model(name).weights_sha256 for name in names]
    assert first == second
    other = wire.wait(wire.submit(wires.train(5, seed=2)).name).model_version
    assert wire.model(other).weights_sha256 != first


@pytest.mark.alone
def test_cancelling_a_running_job_takes_half_a_second_at_most(wire):
    took = []
    for _ in range(20):
        job = wire.submit(wires.endless())
        wire.wait_epoch(job.name)
        began = time.monotonic()
        assert wire.cancel(job.name).state in {Job.CANCELLING, Job.CANCELLED}
        assert wire.wait(job.name).state == Job.CANCELLED
        took.append(time.monotonic() - began)
    assert statistics.quantiles(took, n=20)[-1] <= 0.5, sorted(took)
    events = wire.watch(job.name)
    assert [event.state.state for event in events if event.WhichOneof("kind") == "state"] == [
        Job.QUEUED,
        Job.RUNNING,
        Job.CANCELLING,
        Job.CANCELLED,
    ]


@pytest.mark.alone
def test_cancelling_a_job_that_does_not_listen_takes_two_and_a_half_seconds_at_most(stack, wire):
    job = wire.submit(wires.endless())
    wire.wait_epoch(job.name)
    trainer = stack.wait_trainer()
    os.kill(trainer.pid, signal.SIGSTOP)
    began = time.monotonic()
    wire.cancel(job.name)
    assert wire.wait(job.name).state == Job.CANCELLED
    assert 1.5 < time.monotonic() - began <= 2.5
    assert not trainer.is_running() or trainer.status() == psutil.STATUS_ZOMBIE


def test_a_queued_job_is_cancelled_at_once(wire):
    holders = [wire.submit(wires.endless()) for _ in range(2)]
    for holder in holders:
        wire.wait_epoch(holder.name)
    waiting = wire.submit(wires.quick())
    assert wire.cancel(waiting.name).state == Job.CANCELLED
    for holder in holders:
        wire.cancel(holder.name)
        wire.wait(holder.name)


def test_a_paused_job_goes_on_from_its_checkpoint_to_the_same_weights(wire, reference):
    job = wire.submit(wires.steady())
    wire.wait_epoch(job.name, 3)
    wire.call(wire.jobs.PauseJob, jobs_pb2.PauseJobRequest(name=job.name))
    paused = wire.wait(job.name, until=lambda job: job.state == Job.PAUSED)
    assert 3 <= paused.epoch < 40
    wire.call(wire.jobs.ResumeJob, jobs_pb2.ResumeJobRequest(name=job.name))
    wire.wait(job.name)
    assert_whole(wire, job.name, epochs=40, attempts=2)
    assert wire.model(wire.get(job.name).model_version).weights_sha256 == reference


@pytest.fixture
def reference(stack, wire):
    """The hash of the weights of `steady` when nothing disturbs it."""
    if not hasattr(stack, "reference"):
        done = wire.wait(wire.submit(wires.steady()).name)
        stack.reference = wire.model(done.model_version).weights_sha256
    return stack.reference
