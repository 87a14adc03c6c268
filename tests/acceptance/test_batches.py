"""Batch predictions by real processes: a million rows in bounded memory, and the same bytes whatever is killed."""

import os
import signal
import time

import numpy as np
import pytest

import traind
from tests.acceptance.test_memory import anonymous, table
from tests.waiting import gone, wait_until

LARGE = 1_000_000
MOST_ANONYMOUS = 600e6
PATIENCE_S = 240
# Wide enough that a slice takes a while.
SPEC = {
    "target": ["y"],
    "network": {"mlp": {"hidden": [256, 256], "activation": "TANH"}},
    "learn": {"gradient": {"epochs": 1}},
    "seed": 1,
}


@pytest.fixture
def client(stack):
    with traind.Client(stack.address["grpc"], token=stack.token) as found:
        if not hasattr(stack, "batches"):
            found.datasets.create(table(2000, 8), name="small")
            found.datasets.create(table(LARGE, 8), name="large")
            found.jobs.create({"dataset": "small", "model": "wide", "train": SPEC}).wait(PATIENCE_S)
            stack.batches = found.predict_job("wide", "large", output="calm", keep_columns=["y"]).wait(PATIENCE_S)
        yield found


def sha256(client, name):
    return client.datasets.get(name).sha256


def begun(client, output, slices=3):
    """A job in the middle of its slices."""
    job = client.predict_job("wide", "large", output=output, keep_columns=["y"])
    wait_until(lambda: job.refresh().epoch >= slices, "some slices are done", PATIENCE_S)
    assert not job.done
    return job


def ended_alike(stack, client, job):
    """It goes on after the slices that were done, and its table has the bytes of the one that nobody disturbed."""
    done = job.wait(PATIENCE_S)
    assert (done.state, done.epoch) == ("SUCCEEDED", done.epochs)
    assert done.message.attempt >= 2
    assert any(event.kind == "resumed" and event.epoch >= 3 for event in client.jobs.watch(job))
    assert sha256(client, done.output_dataset) == sha256(client, stack.batches.output_dataset)


@pytest.mark.timeout(600)
def test_a_million_rows_in_bounded_memory(stack, client):
    wait_until(lambda: stack.processes("worker.trainer"), "a zygote is there", 30)
    most = 0
    job = client.predict_job("wide", "large", output="watched", keep_columns=["y"])
    deadline = time.monotonic() + PATIENCE_S
    while not job.refresh().done and time.monotonic() < deadline:
        most = max([most, *(anonymous(process.pid) for process in stack.trainers())])
        time.sleep(0.05)
    assert job.state == "SUCCEEDED"
    assert job.metrics == {"rows_done": LARGE, "rows_bad": 0}
    print(f"{LARGE} rows: RssAnon {most / 1e6:.0f} MB at most, told {job.memory_bytes / 1e6:.0f} MB")
    assert 50e6 < most < MOST_ANONYMOUS
    assert sha256(client, job.output_dataset) == sha256(client, stack.batches.output_dataset)


@pytest.mark.timeout(600)
def test_a_killed_trainer(stack, client):
    job = begun(client, "trainer")
    trainer = stack.wait_trainer()
    os.kill(trainer.pid, signal.SIGKILL)
    ended_alike(stack, client, job)


@pytest.mark.timeout(600)
def test_a_killed_worker(stack, client):
    job = begun(client, "worker")
    [guardian] = [process for process in stack.processes("-m worker") if process.cmdline()[-1] == "worker"]
    tree = guardian.children(recursive=True)
    for process in [guardian, *(tree if "worker" in stack.roots else [])]:
        os.kill(process.pid, signal.SIGKILL)
    if "worker" in stack.roots:
        stack.roots.pop("worker").wait()
        stack.start("worker", "service", "worker")
    wait_until(lambda: all(gone(process.pid) for process in tree), "the whole worker is gone", 10)
    ended_alike(stack, client, job)


@pytest.mark.timeout(600)
def test_paused_resumed_and_cancelled(stack, client):
    job = begun(client, "paused")
    job.pause()
    wait_until(lambda: job.refresh().state == "PAUSED", "it is paused", 30)
    job.resume()
    ended_alike(stack, client, job)
    given_up = begun(client, "given-up")
    given_up.cancel()
    wait_until(lambda: given_up.refresh().state == "CANCELLED", "it is cancelled", 30)
    with pytest.raises(traind.NotFound):
        client.datasets.get("given-up")


def test_what_comes_out_can_be_downloaded(stack, client, tmp_path):
    file = client.datasets.download("calm", tmp_path / "calm.csv")
    header, first = file.read_text().split("\n", 2)[:2]
    assert header == "row,y,predicted_y"
    assert first.startswith("1,")
    rows = client.predict("wide", dict(client.datasets.head("large", 5)))
    told = [float(line.split(",")[2]) for line in file.read_text().split("\n", 6)[1:6]]
    np.testing.assert_allclose(told, rows, rtol=1e-6)
