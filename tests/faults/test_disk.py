"""A full disk, a database that is locked, and bytes that are not those that were stored.

A file that may not grow (RLIMIT_FSIZE, set from outside while the processes run) is what a full disk looks like to them
and needs no root; beside it stands a real file system of a few megabytes, where one may be mounted.
"""

import contextlib
import os
import resource
import sqlite3
import subprocess
import uuid

import grpc
import psutil
import pytest
from sqlalchemy import text

from tests.acceptance import wire as wires
from tests.acceptance.checks import assert_whole
from tests.faults import invariants
from tests.faults.lab import error_of, sleep, steady, timed
from tests.faults.record import Client, Record, tiny
from tests.faults.stack import FaultStack
from tests.waiting import wait_until
from traind.v1 import datasets_pb2, jobs_pb2, uploads_pb2

Job = jobs_pb2.Job
FULL = {grpc.StatusCode.RESOURCE_EXHAUSTED}


@pytest.fixture
def disk(sqlite_faults):
    """`up` on SQLite, a client of it, and nothing violated in the end."""
    record = Record()
    client = Client(sqlite_faults, record)
    yield sqlite_faults, client
    sqlite_faults.wait_quiet()
    assert invariants.violations(sqlite_faults, record, getattr(sqlite_faults, "references", None)) == []


@contextlib.contextmanager
def files_of_at_most(stack, size):
    """No process of the stack can make a file longer than so many bytes."""
    limited = []
    for process in stack.family():
        with contextlib.suppress(psutil.Error):
            limited.append((process, process.rlimit(resource.RLIMIT_FSIZE)))
            process.rlimit(resource.RLIMIT_FSIZE, (size, limited[-1][1][1]))
    try:
        yield
    finally:
        for process, before in limited:
            with contextlib.suppress(psutil.Error):
                process.rlimit(resource.RLIMIT_FSIZE, before)


def begun(client, job):
    made = client.submit(job)
    client.wait(made.name, lambda job: job.epoch >= 3)
    return made


def done(client, *jobs):
    for job in jobs:
        client.wait(job.name)
        assert_whole(client.wire, job.name, epochs=job.epochs)


def test_a_database_that_may_not_grow(disk):
    """Nothing is acknowledged, nothing is half stored; what ran goes on when there is room, by a retry if it met it."""
    stack, client = disk
    running = begun(client, steady())
    request = jobs_pb2.CreateJobRequest(job=tiny(), request_id=str(uuid.uuid4()))
    request.job.display_name = f"submission {uuid.uuid4()}"
    with files_of_at_most(stack, 4096):
        told = error_of(lambda: client.wire.jobs.CreateJob(request, metadata=client.wire.metadata, timeout=10))
        assert told in FULL
    made = client.call(client.wire.jobs.CreateJob, request)
    client.record.acknowledged.add(made.name)
    ended = client.wait(running.name)
    if ended.state == Job.FAILED:
        assert ended.failure.reason == jobs_pb2.Failure.STORAGE_FULL
        again = jobs_pb2.RetryJobRequest(name=running.name, request_id=str(uuid.uuid4()))
        running = client.call(client.wire.jobs.RetryJob, again)
        client.record.acknowledged.add(running.name)
    done(client, running, made)


def test_an_upload_that_does_not_fit(disk):
    """The file is refused with nothing kept of the piece; with room it goes on at its offset."""
    stack, client = disk
    data = b"a,b\n" + b"1,2\n" * 50_000 + f"{uuid.uuid4().int % 997},3\n".encode()
    wire = client.wire
    upload = client.call(wire.uploads.CreateUpload, uploads_pb2.CreateUploadRequest(upload={"size_bytes": len(data)}))
    wal = stack.data / "traind.db-wal"
    room = max(wal.stat().st_size, (stack.data / "traind.db").stat().st_size) + (64 << 10)
    assert upload.offset == 0
    with files_of_at_most(stack, 100_000 if room < 100_000 else len(data) // 2):
        told = error_of(lambda: write(wire, upload, data))
        assert told in FULL
    stands = client.call(wire.uploads.GetUpload, uploads_pb2.GetUploadRequest(name=upload.name))
    assert stands.offset < len(data)
    assert write(wire, stands, data).offset == len(data)
    source = datasets_pb2.DatasetSource(upload=upload.name)
    made = client.call(wire.datasets.CreateDataset, datasets_pb2.CreateDatasetRequest(dataset_id="fits", source=source))
    assert made.row_count == 50_001


def write(wire, upload, data):
    pieces = [
        uploads_pb2.WriteUploadRequest(name=upload.name, offset=start, data=data[start : start + 50_000])
        for start in range(upload.offset, len(data), 50_000)
    ]
    return wire.uploads.WriteUpload(iter(pieces), metadata=wire.metadata, timeout=20)


@pytest.mark.alone
def test_a_locked_database(disk):
    """Somebody holds SQLite's lock for longer than anybody waits: refused to be sent again, and nothing is lost."""
    stack, client = disk
    running = begun(client, steady())
    request = jobs_pb2.CreateJobRequest(job=tiny(), request_id=str(uuid.uuid4()))
    with held_lock(stack.data / "traind.db"):
        told, took = timed(
            lambda: error_of(lambda: client.wire.jobs.CreateJob(request, metadata=client.wire.metadata, timeout=20))
        )
        assert told is grpc.StatusCode.UNAVAILABLE
        assert 4.5 < took < 10
        client.get(running.name)
    made = client.call(client.wire.jobs.CreateJob, request)
    done(client, running, made)


def test_a_database_that_is_busy_again_and_again(disk):
    stack, client = disk
    running = begun(client, steady())
    made = []
    for _ in range(10):
        with held_lock(stack.data / "traind.db"):
            sleep(0.3)
        made.append(client.submit(tiny()))
    done(client, running, *made)
    assert client.get(running.name).attempt == 1


@contextlib.contextmanager
def held_lock(path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=20)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request):
    """An installation of either database, with a client of it; of what is damaged it is told when it is whole again."""
    if request.param == "sqlite":
        stack, client = request.getfixturevalue("disk")
        return stack, client
    lab = request.getfixturevalue("lab")
    return lab.stack, lab.client


@contextlib.contextmanager
def damaged(stack, artifact_id, how):
    """The artifact's bytes are others, as after a fault of the disk; whole again in the end."""
    database = stack.database()
    of = {"id": artifact_id}
    with database.read() as connection:
        query = text("SELECT data FROM artifact_chunk WHERE artifact_id = :id AND number = 0")
        whole = bytes(connection.execute(query, of).scalar())
    store(database, artifact_id, how(whole))
    try:
        yield
    finally:
        store(database, artifact_id, whole)
        database.dispose()


def store(database, artifact_id, data):
    with database.write() as connection:
        query = text("UPDATE artifact_chunk SET data = :data WHERE artifact_id = :id AND number = 0")
        connection.execute(query, {"id": artifact_id, "data": data})


def flipped(data):
    """One bit in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def truncated(data):
    return data[: len(data) // 2]


DAMAGE = pytest.mark.parametrize("how", [flipped, truncated])


@DAMAGE
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(place, how):
    """The same bits come out, and the job's events tell why it went back."""
    stack, client = place
    job = begun(client, steady())
    client.call(client.wire.jobs.PauseJob, jobs_pb2.PauseJobRequest(name=job.name))
    client.wait(job.name, lambda job: job.state == Job.PAUSED)
    newest, older = scalars(stack, "SELECT checkpoint_id, older_checkpoint_id FROM job WHERE id = :id", job.name)
    assert newest
    assert older
    # The checkpoint is dropped as the job goes on, and nothing is left to be made whole.
    with damaged(stack, newest, how):
        client.call(client.wire.jobs.ResumeJob, jobs_pb2.ResumeJobRequest(name=job.name))
        done(client, job)
    told = [event.resumed.reason for event in client.wire.watch(job.name) if event.WhichOneof("kind") == "resumed"]
    assert any("a newer checkpoint is damaged" in reason for reason in told), told


@DAMAGE
def test_damaged_weights_are_told_and_give_no_number(place, how):
    """A model that nobody has loaded yet."""
    stack, client = place
    model = client.wait(client.submit(tiny()).name).model_version
    slug, version = model.split("/")[1].split(".")[1], int(model.split("/")[-1])
    query = (
        "SELECT v.artifact_id FROM model_version v JOIN model m ON m.id = v.model_id "
        f"WHERE m.slug = '{slug}' AND v.version = {version}"
    )
    [artifact_id] = scalars(stack, query, "")
    columns = {f"x{column}": [0.5] for column in range(wires.WIDTH)}
    with damaged(stack, artifact_id, how):
        assert error_of(lambda: client.wire.predict(model, columns)) is grpc.StatusCode.DATA_LOSS
    assert client.wire.predict(model, columns).predictions


def scalars(stack, query, name):
    database = stack.database()
    with database.read() as connection:
        row = tuple(connection.execute(text(query), {"id": name.removeprefix("jobs/")}).one())
    database.dispose()
    return row


@pytest.mark.timeout(240)
def test_a_file_system_that_is_really_full():
    """The twin of RLIMIT_FSIZE: SQLite, objects and scratch on a tmpfs of 24 MB."""
    stack = FaultStack()
    with contextlib.closing(stack), mounted(stack.data, "24m"):
        stack.start("up", "service", "up")
        stack.wait_ready()
        from tests.faults.stack import furnished

        furnished(stack)
        client = Client(stack, Record())
        running = begun(client, steady())
        ballast = stack.data / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(b"\0" * (1 << 16)):
                pass
        request = jobs_pb2.CreateJobRequest(job=tiny(), request_id=str(uuid.uuid4()))
        codes = set()

        def refused():
            codes.add(error_of(lambda: client.wire.jobs.CreateJob(request, metadata=client.wire.metadata, timeout=10)))
            request.request_id = str(uuid.uuid4())
            return codes & FULL

        wait_until(refused, f"a submission is refused: {codes}", 30, 0.05)
        assert codes <= {None, *FULL}
        ballast.unlink()
        done(client, client.submit(tiny()))
        assert client.wait(running.name).state in {Job.SUCCEEDED, Job.FAILED}
        stack.stop("up")


@contextlib.contextmanager
def mounted(folder, size):
    """A tmpfs there; the test is skipped where none may be mounted."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("a tmpfs is mounted by root only; the tests above do the same with RLIMIT_FSIZE")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here ({done.stderr.strip()}); RLIMIT_FSIZE does the same above")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
