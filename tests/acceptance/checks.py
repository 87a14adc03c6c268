"""What must hold of every job that ended well, whatever happened on its way."""

import itertools
import math

from traind.v1 import jobs_pb2

Job = jobs_pb2.Job
# What may follow a state.
LEGAL = {
    Job.QUEUED: {Job.RUNNING, Job.PAUSED, Job.CANCELLED},
    Job.RUNNING: {Job.QUEUED, Job.PAUSING, Job.CANCELLING, Job.SUCCEEDED, Job.FAILED},
    Job.PAUSING: {Job.PAUSED, Job.CANCELLING, Job.SUCCEEDED, Job.FAILED},
    Job.PAUSED: {Job.QUEUED, Job.CANCELLED},
    Job.CANCELLING: {Job.CANCELLED, Job.SUCCEEDED, Job.FAILED},
}


def assert_whole(wire, name, *, epochs, attempts=None, events=None):
    """It succeeded once; its events are dense and legal; epochs 1..n stand once each in events and history."""
    job = wire.get(name)
    assert job.state == Job.SUCCEEDED, job
    assert job.epoch == epochs
    if attempts is not None:
        assert job.attempt == attempts, job
    events = events or wire.watch(name)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    states = [event.state.state for event in events if event.WhichOneof("kind") == "state"]
    assert states[0] == Job.QUEUED
    assert all(after in LEGAL[before] for before, after in itertools.pairwise(states)), states
    assert states.count(Job.SUCCEEDED) == 1
    assert events[-1].state.state == Job.SUCCEEDED
    assert [event.epoch.epoch for event in events if event.WhichOneof("kind") == "epoch"] == list(range(1, epochs + 1))
    history = wire.history(name)
    assert {"train_loss", "val_loss"} <= history.keys()
    for series, points in history.items():
        assert [step for step, _ in points] == list(range(1, epochs + 1)), series
        assert all(math.isfinite(value) for _, value in points), series
