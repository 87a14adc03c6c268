"""A watcher and an uploader whose line breaks again and again, and whose server is killed under them."""

import uuid

import grpc
import pytest

from tests.acceptance import wire as wires
from tests.faults.lab import steady
from tests.waiting import wait_until
from traind.v1 import datasets_pb2, jobs_pb2, uploads_pb2

# The first of them makes the lab.
pytestmark = pytest.mark.timeout(300)

RECONNECTS = 50
EPOCHS = 300
EVENTS_EACH = 4


@pytest.mark.timeout(300)
def test_fifty_reconnects_with_the_api_killed_twice(lab):
    """Epochs 1..n once each, in order, over every break."""
    job = lab.submit(steady(EPOCHS))
    wire, events, breaks = lab.through_the_door(), [], 0
    lab.record.watches.append((job.name, events))
    while not events or events[-1].state.state not in wires.ENDED:
        call = watch(wire, job.name, len(events) + 1)
        try:
            for count, event in enumerate(call, 1):
                events.append(event)
                if count == EVENTS_EACH and breaks < RECONNECTS:
                    breaks += 1
                    broken(lab, breaks)
                    # What was under way to this call is lost with it.
                    break
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        call.cancel()
    assert breaks == RECONNECTS
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    epochs = [event.epoch.epoch for event in events if event.WhichOneof("kind") == "epoch"]
    assert epochs == list(range(1, EPOCHS + 1))


def broken(lab, number):
    """A break of every kind in turn, two of them with the death of the server."""
    if number in {RECONNECTS // 3, 2 * RECONNECTS // 3}:
        lab.kill_api()
    elif number % 2:
        lab.client_door.reset()
    else:
        lab.client_door.cut()


def watch(wire, name, seq):
    request = jobs_pb2.WatchJobRequest(name=name, from_seq=seq)
    return wire.jobs.WatchJob(request, metadata=wire.metadata, timeout=200)


def test_an_upload_under_which_the_api_is_killed_goes_on(lab):
    """Killed between pieces and within them, by the client's sight; every byte arrives once."""
    wire = lab.through_the_door()
    rows = "".join(f"{number},{number * number}\n" for number in range(3000))
    data = f"a,b\n{rows}{uuid.uuid4().int % 997},7\n".encode()
    upload = wire.call(wire.uploads.CreateUpload, uploads_pb2.CreateUploadRequest(upload={"size_bytes": len(data)}))
    kills = iter([len(data) // 5, len(data) // 2])
    due = next(kills)
    while upload.offset < len(data):
        due, upload = send(lab, wire, upload, data, due, kills)
    source = datasets_pb2.DatasetSource(upload=upload.name)
    request = datasets_pb2.CreateDatasetRequest(dataset_id="resumed", source=source)
    assert wire.call(wire.datasets.CreateDataset, request).row_count == 3001


def send(lab, wire, upload, data, due, kills):
    """A stream of pieces, in the middle of which the api is killed when the place is due."""
    begun = upload.offset

    def pieces():
        nonlocal due
        for start in range(begun, len(data), 500):
            if due is not None and start >= due:
                lab.kill_api()
                due = next(kills, None)
            yield uploads_pb2.WriteUploadRequest(name=upload.name, offset=start, data=data[start : start + 500])

    try:
        return due, wire.uploads.WriteUpload(pieces(), metadata=wire.metadata, timeout=30)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
    stands = wire.call(wire.uploads.GetUpload, uploads_pb2.GetUploadRequest(name=upload.name))
    assert begun <= stands.offset <= len(data)
    return due, stands


def test_an_api_killed_between_commit_and_answer_has_made_one_job(lab):
    """The client knows only that the line broke; its retry finds the job."""
    wire = lab.through_the_door()
    request = jobs_pb2.CreateJobRequest(job=steady(3), request_id=str(uuid.uuid4()))
    request.job.display_name = f"submission {uuid.uuid4()}"
    lab.stack.arm("C2", "kill")
    with pytest.raises(grpc.RpcError) as broken:
        wire.jobs.CreateJob(request, metadata=wire.metadata, timeout=10)
    assert broken.value.code() is grpc.StatusCode.UNAVAILABLE
    assert lab.stack.wait_fired()
    lab.stack.disarm()
    names = {wire.call(wire.jobs.CreateJob, request).name for _ in range(2)}
    lab.record.submissions[request.job.display_name] = names
    lab.record.acknowledged |= names
    assert len(names) == 1
    session = lab.postgres.session(lab.database_url)
    with session:
        query = "SELECT COUNT(*) FROM job WHERE display_name = %s"
        assert session.execute(query, (request.job.display_name,)).fetchone() == (1,)
    wait_until(lambda: lab.client.get(next(iter(names))).state in wires.ENDED, "it has ended", 60, 0.05)
