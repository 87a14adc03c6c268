"""A small training and a prediction from end to end, on rows whose answer is known."""

from __future__ import annotations

import contextlib
import secrets
import time
from typing import TYPE_CHECKING

from traind.checkup import Look
from traind.display import duration
from traind.errors import TraindError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traind.client import Client
    from traind.jobs import Job

# How long a worker may take to begin, and then to learn, before the trial is given up.
TO_BEGIN_S = 20.0
TO_LEARN_S = 40.0
EPOCHS = 20
X = [float(i) for i in range(64)]
# A line that one full step on scaled inputs finds: 2 x lr = 1 over the curvature of the squared error.
SLOPE, START = 3.0, -2.0
TRAIN = {
    "inputs": ["x"],
    "target": ["y"],
    "network": {"linear": {}},
    "preprocess": {"scale": "STANDARD"},
    "split": {"none": {}},
    "learn": {"gradient": {"optimizer": {"gradientDescent": {"lr": 0.5}}, "epochs": EPOCHS}},
    "dtype": "FLOAT64",
}
MODEL = "doctor"


def try_training(client: Client) -> Iterator[Look]:
    """Send rows, learn, predict, remove the rows; the job and its model `doctor` stay, as every job does."""
    rows = {"x": X, "y": [SLOPE * x + START for x in X]}
    dataset = client.datasets.create(rows, name=f"doctor-{secrets.token_hex(4)}")
    job = None
    try:
        yield Look("ok", "data", f"{dataset.row_count} rows sent and read")
        job = client.jobs.create(dataset=dataset, model=MODEL, train=TRAIN)
        yield from _learned(job, client)
    finally:
        _clean(client, dataset.name, job)


def _learned(job: Job, client: Client) -> Iterator[Look]:
    began = time.monotonic()
    job = _wait(job, began + TO_BEGIN_S, "QUEUED")
    if job.state == "QUEUED":
        yield _not_begun(job)
        return
    begun = time.monotonic()
    job = _wait(job, begun + TO_LEARN_S, "RUNNING")
    if not job.done:
        cure = "look at the worker's log and at the machine's load"
        yield Look("bad", "training", f"{job.epoch} of {EPOCHS} epochs in {TO_LEARN_S:.0f} s: {job.state}", cure)
    elif job.state != "SUCCEEDED":
        failure = job.failure
        said = f"{failure.reason}: {failure.message}" if failure else "no reason was told"
        cure = f"traind explain {failure.reason}" if failure else "look at the worker's log"
        yield Look("bad", "training", f"the job {job.id} ended {job.state} ({said})", cure)
    else:
        waited, learned = duration(begun - began), duration(time.monotonic() - begun)
        yield Look("ok", "training", f"{job.epoch} epochs in {learned}; a worker took it after {waited}")
        yield _predicted(job, client)


def _predicted(job: Job, client: Client) -> Look:
    asked = [100.0, -7.5]
    began = time.monotonic()
    answers = client.predict(job.message.model_version, {"x": asked})
    took = duration(time.monotonic() - began)
    right = [SLOPE * x + START for x in asked]
    if all(abs(answer - wanted) < 1e-6 for answer, wanted in zip(answers, right, strict=True)):
        return Look("ok", "prediction", f"right, in {took}")
    cure = "tell whoever runs the server: its numbers cannot be trusted"
    return Look("bad", "prediction", f"{answers} where {right} is right", cure)


def _not_begun(job: Job) -> Look:
    if ahead := job.queue_position:
        before = "1 job is" if ahead == 1 else f"{ahead} jobs are"
        text = f"{before} ahead, so it was not begun in {TO_BEGIN_S:.0f} s"
        return Look("warn", "training", text, "workers are busy; try again later, or add one: python -m worker")
    cure = "start one where the server is: python -m worker (`traind up` brings its own)"
    return Look("bad", "training", f"no worker took the job in {TO_BEGIN_S:.0f} s", cure)


def _wait(job: Job, deadline: float, state: str) -> Job:
    """The job once it has left the state, or as it is at the deadline."""
    while job.state == state and time.monotonic() < deadline:
        time.sleep(0.05)
        job = job.refresh()
    return job


def _clean(client: Client, dataset: str, job: Job | None) -> None:
    """Leave nothing that runs and no rows; what a broken server keeps of them cannot be helped."""
    with contextlib.suppress(TraindError):
        if job is not None and not job.refresh().done:
            job.cancel()
            client.jobs.wait(job.id, 10.0, raise_on_failure=False)
    with contextlib.suppress(TraindError):
        client.datasets.delete(dataset)
