"""Wall clocks that are wrong, and that jump while their process runs: only the database's clock decides."""

import time

import pytest

from tests.faults.lab import LEASE_S, SWEEP_S
from tests.faults.record import tiny
from tests.faults.test_network import write
from traind.v1 import uploads_pb2

# The first of them makes the lab.
pytestmark = pytest.mark.timeout(300)

BUSY_S = 3.0
JUMPS = {"an hour ahead": 3600.0, "an hour behind": -3600.0, "a day ahead": 90_000.0}


@pytest.mark.parametrize("part", ["api", "workers"])
def test_a_clock_that_jumps(lab, part):
    """No job is rescued from a worker that lives; times are the database's, and none comes before the other."""
    running, waiting = lab.steady("worker"), []
    for ahead_s in JUMPS.values():
        set_clocks(lab, part, ahead_s)
        waiting += [lab.submit(tiny()) for _ in range(2)]
        lab.assert_predicts()
        lab.assert_done(*waiting[-2:], attempts=1)
    lab.assert_done(running, attempts=1)
    now = time.time()
    for job in (lab.client.get(one.name) for one in [running, *waiting]):
        told = [moment.ToNanoseconds() / 1e9 for moment in (job.create_time, job.start_time, job.end_time)]
        assert told == sorted(told)
        assert all(abs(moment - now) < 120 for moment in told)
        times = [event.time.ToNanoseconds() for event in lab.client.wire.watch(job.name)]
        assert times == sorted(times)


@pytest.mark.parametrize("ahead_s", JUMPS.values(), ids=JUMPS)
@pytest.mark.alone
def test_a_dead_worker_is_noticed_whatever_its_clock_says(lab, ahead_s):
    """Neither early nor late: when its lease has ended by the database's clock."""
    running = lab.steady("worker")
    set_clocks(lab, "workers", ahead_s)
    with lab.held("worker") as worker:
        worker.freeze()
        began = time.monotonic()
        lab.client.wait(running.name, lambda job: job.attempt == 2)
        took = time.monotonic() - began
    # It may have renewed a beat before it was frozen. Frozen in the middle of a write it keeps the row's lock for a
    # lease; the first loss waits a second before the next claim, and the machine is busy.
    assert LEASE_S - 2 * 0.4 < took < 2 * LEASE_S + SWEEP_S + 1.0 + BUSY_S
    lab.assert_done(running, attempts=2)


def test_an_upload_outlives_a_day_of_its_servers_clock(lab):
    wire = lab.client.wire
    data = b"a,b\n" + b"1,2\n" * 500
    upload = wire.call(wire.uploads.CreateUpload, uploads_pb2.CreateUploadRequest(upload={"size_bytes": len(data)}))
    half = uploads_pb2.WriteUploadRequest(name=upload.name, offset=0, data=data[:1000])
    wire.uploads.WriteUpload(iter([half]), metadata=wire.metadata, timeout=10)
    set_clocks(lab, "api", 90_000.0)
    lab.wait_swept()
    stands = wire.call(wire.uploads.GetUpload, uploads_pb2.GetUploadRequest(name=upload.name))
    assert stands.offset == 1000
    assert write(wire, stands, data, 10.0).offset == len(data)


def set_clocks(lab, part, ahead_s):
    for name in ["api"] if part == "api" else ["worker", "other"]:
        lab.clocks[name].set(ahead_s)
