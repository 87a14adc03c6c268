"""Slow, narrow, cut, half-open, reset, silent lines: between client and api, worker and database, worker and broker."""

import time
import uuid

import grpc
import pytest

from tests.faults.lab import LEASE_S, error_of, sleep, steady, timed
from tests.faults.record import PASSING, tiny
from traind.v1 import datasets_pb2, jobs_pb2, uploads_pb2

# The first of them makes the lab.
pytestmark = pytest.mark.timeout(300)

FAULTS = {
    "slow": {"delay_s": 0.5},
    "narrow": {"bytes_per_s": 1000},
    "cut": {"cut_after": 700},
    "half-open": {"half_open": True},
    "black hole": {"black_hole": True},
}
SOON_S = 0.4


@pytest.fixture(params=FAULTS.values(), ids=FAULTS)
def fault(request):
    return request.param


@pytest.mark.alone
def test_a_deadline_holds_and_a_retry_makes_no_second_job(lab, fault):
    """Between client and api."""
    wire = lab.through_the_door()
    request = jobs_pb2.CreateJobRequest(job=tiny(), request_id=str(uuid.uuid4()))
    request.job.display_name = f"submission {uuid.uuid4()}"
    wire.get(lab.client.submit(tiny()).name)
    lab.client_door.inflict(**fault)
    code, took = timed(lambda: error_of(lambda: wire.jobs.CreateJob(request, metadata=wire.metadata, timeout=1.0)))
    assert code in {None, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}
    assert took < 1.0 + SOON_S
    assert timed(lambda: error_of(lambda: lab.predict(wire, seconds=1.0)))[1] < 1.0 + SOON_S
    lab.client_door.heal()
    names = {wire.call(wire.jobs.CreateJob, request).name, lab.client.wire.call(wire.jobs.CreateJob, request).name}
    lab.record.submissions[request.job.display_name] = names
    lab.record.acknowledged |= names
    assert len(names) == 1
    lab.assert_predicts()


def test_half_an_upload_goes_on_at_its_offset(lab, fault):
    rows = "1,2\n" * 4000
    wire, data = lab.through_the_door(), f"a,b\n{rows}{uuid.uuid4().int % 997},3\n".encode()
    upload = wire.call(wire.uploads.CreateUpload, uploads_pb2.CreateUploadRequest(upload={"size_bytes": len(data)}))
    lab.client_door.inflict(**fault)
    lab.client_door.also(cut_after=4000)
    ended = error_of(lambda: write(wire, upload, data, 2.0))
    assert ended in PASSING
    lab.client_door.heal()
    stands = wire.call(wire.uploads.GetUpload, uploads_pb2.GetUploadRequest(name=upload.name))
    assert stands.offset < len(data)
    assert write(wire, stands, data, 30.0).offset == len(data)
    source = datasets_pb2.DatasetSource(upload=upload.name)
    made = wire.call(wire.datasets.CreateDataset, datasets_pb2.CreateDatasetRequest(dataset_id="half", source=source))
    assert made.row_count == 4001


def write(wire, upload, data, seconds):
    """Send the rest in pieces."""
    pieces = [
        uploads_pb2.WriteUploadRequest(name=upload.name, offset=start, data=data[start : start + 1000])
        for start in range(upload.offset, len(data), 1000)
    ]
    return wire.uploads.WriteUpload(iter(pieces), metadata=wire.metadata, timeout=seconds)


def test_between_worker_and_database(lab, fault):
    """The job goes on there, or on the other worker; both never write."""
    job = lab.steady("worker")
    lab.worker_db.inflict(**fault)
    sleep(1.5 * LEASE_S)
    lab.worker_db.heal()
    lab.assert_done(job)


def test_reset_lines_between_worker_and_database(lab):
    job = lab.steady("worker")
    for _ in range(10):
        lab.worker_db.reset()
        sleep(0.1)
    lab.assert_done(job)


def test_between_worker_and_broker(lab, fault):
    running = lab.steady("worker")
    lab.worker_broker.inflict(**fault)
    waiting = [lab.submit(tiny()) for _ in range(3)]
    sleep(LEASE_S)
    lab.worker_broker.heal()
    lab.assert_done(running, *waiting, attempts=1)


def test_a_loss_of_twenty_leases_between_worker_and_database(lab):
    """The job is taken over, the old worker stops it, and what that writes when the line is back is refused."""
    job = lab.steady("worker", epochs=LONG_EPOCHS)
    trainers = lab.trainers_of("worker")
    assert trainers
    refused = lab.refused()
    lab.worker_db.inflict(black_hole=True)
    began = time.monotonic()
    lab.client.wait(job.name, lambda job: job.attempt == 2, seconds=5 * LEASE_S)
    assert lab.worker_of(job.name) == lab.stack.roots["other"].pid
    lab.assert_gone(trainers, within=8 * LEASE_S)
    lab.assert_done(job, attempts=2)
    sleep(20 * LEASE_S - (time.monotonic() - began))
    lab.worker_db.heal()
    after = lab.submit(steady())
    lab.assert_done(after)
    print(f"refused writes: {lab.refused() - refused}")


LONG_EPOCHS = 600
