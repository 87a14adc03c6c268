"""What a job is said to take of memory before it is submitted, beside what its process takes of the machine."""

import io
import pathlib
import threading
import time

import numpy as np
import psutil
import pytest

import traind
from tests.acceptance import stack as stacks
from tests.waiting import wait_until

# The estimate is at most so many times the measured growth, and at least that part of it.
FACTOR = 1.6
ALL_ROWS = {"gradientDescent": {"lr": 0.001}}


def mlp(*hidden, **more):
    return {"mlp": {"hidden": list(hidden), "activation": "RELU", **more}}


def gradient(**more):
    return {"gradient": {"epochs": 2, **more}}


CASES = {
    "weights with Adam": ("narrow", {"network": mlp(1400, 1400), "learn": gradient()}),
    "weights in 64 bits without moments": (
        "narrow",
        {"network": mlp(1400, 1400), "dtype": "FLOAT64", "learn": gradient(optimizer={"sgd": {"lr": 0.001}})},
    ),
    "a batch of all rows": ("long", {"network": mlp(128, 128), "learn": gradient(optimizer=ALL_ROWS)}),
    "a batch of all rows, autograd": (
        "long",
        {"network": mlp(128, 128), "learn": gradient(optimizer=ALL_ROWS, path="GENERAL")},
    ),
    "normalisation and dropout": (
        "long",
        {"network": mlp(128, 128, normalisation="BATCH", dropout=0.2), "learn": gradient(optimizer=ALL_ROWS)},
    ),
    "many rows": ("wide", {"network": mlp(32), "learn": gradient(batchSize=1024)}),
    "the exact solution": ("wide", {"network": {"linear": {}}, "learn": {"exact": {}}}),
}


def table(rows, columns):
    """Columns of noise, and `y` that follows from the first, as an NPZ file."""
    x = np.random.default_rng(1).standard_normal((rows, columns))
    file = io.BytesIO()
    np.savez(file, **{f"x{i}": x[:, i] for i in range(columns)}, y=2 * x[:, 0] + 1)
    return file.getvalue()


@pytest.fixture(scope="module")
def lab():
    with stacks.split(TRAIND_SLOTS="1") as stack, traind.Client(stack.address["grpc"], token=stack.token) as client:
        for name, shape in (("narrow", (500, 4)), ("long", (100_000, 10)), ("wide", (200_000, 40))):
            client.datasets.create(table(*shape), name=name)
        yield stack, client


class Watch:
    """Looks at the anonymous memory of the one zygote's forks."""

    def __init__(self, stack):
        processes = stack.processes("worker.trainer")
        (self._zygote,) = [one for one in processes if one.ppid() not in {other.pid for other in processes}]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._before = anonymous(self._zygote.pid)
        self._most = 0

    @property
    def growth(self):
        """The most that a fork had, beside what it had from the zygote."""
        return self._most - self._before

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _look(self):
        while not self._over.is_set():
            for fork in self._zygote.children():
                self._most = max(self._most, anonymous(fork.pid))
            time.sleep(0.002)


def anonymous(pid):
    """RssAnon in bytes; 0 of a process that has ended."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon")), 0)


@pytest.mark.parametrize("case", CASES)
def test_the_estimate_is_near_what_the_process_takes(lab, case):
    stack, client = lab
    dataset, spec = CASES[case]
    job = {"dataset": dataset, "model": "m", "train": {"target": ["y"], "seed": 1, **spec}}
    told = client.jobs.create(job, validate_only=True).message
    wait_until(lambda: stack.processes("worker.trainer"), "the zygote is there", 30)
    with Watch(stack) as watch:
        done = client.jobs.create(job).wait(100)
    assert done.message.memory_bytes == told.memory_bytes
    print(f"{case}: told {told.memory_bytes / 1e6:.0f} MB, took {watch.growth / 1e6:.0f} MB")
    assert watch.growth > 50e6, "the job is too small to tell anything"
    assert watch.growth / FACTOR < told.memory_bytes < watch.growth * FACTOR


def test_the_place_is_told_before_the_job_is_there(lab):
    _, client = lab
    endless = {"network": mlp(32), "learn": {"gradient": {"epochs": 1_000_000, "batchSize": 1}}, "target": ["y"]}
    job = {"dataset": "narrow", "model": "m", "train": endless}

    def place():
        return client.jobs.create(job, validate_only=True).queue_position

    assert place() == 0
    running = client.jobs.create(job)
    wait_until(lambda: client.jobs.get(running.name).state == "RUNNING", "the only slot is held", 30)
    assert place() == 0
    waiting = [client.jobs.create(job) for _ in range(3)]
    assert [one.queue_position for one in waiting] == [0, 1, 2]
    assert place() == 3
    for one in [*waiting, running]:
        client.jobs.cancel(one)
    assert place() == 0
    wait_until(lambda: client.jobs.get(running.name).done, "the running one has ended", 30)
