"""At each of the 20 named points a process is killed, frozen for three leases or meets an I/O error, on both databases.

Afterwards every invariant holds, and the job came to the bits of one that nothing interrupted.
"""

import subprocess
import uuid

import pytest

from service.store.database import Database
from service.store.tables import metadata
from tests import servers
from tests.acceptance.stack import PYTHON, ROOT
from tests.faults import invariants
from tests.faults import record as records
from tests.faults.conftest import KINDS
from tests.faults.record import Client, Job, Record

ACTIONS = ["kill", "freeze", "error"]
JOB_POINTS = [f"C{number}" for number in range(1, 15)]
# Where a job comes to a point more than once: the hit that acts.
HITS = {
    "C6": {"kill": 50, "freeze": 30, "error": 70},
    **{point: {"kill": 3, "freeze": 2, "error": 1} for point in ("C7", "C8", "C9", "C10", "C16", "C19")},
}
# An I/O error ends the job that meets it, in words; a process that has died only delays it.
FAILING = {f"C{number}" for number in range(6, 13)}
# The epoch from which a killed job goes on: the last one that was stored.
GOES_ON = {"C6": 2, "C7": 2, "C8": 2, "C9": 2, "C10": 3, "C11": 6, "C12": 6}
# Who is frozen there holds no lock: another worker has taken the job when it goes on.
TAKEN_OVER = {"C5", "C6", "C7", "C8", "C10", "C11"}

every_kind = pytest.mark.parametrize("kind", KINDS)
every_action = pytest.mark.parametrize("action", ACTIONS)


def hit_of(point, action):
    return HITS.get(point, {}).get(action, 1)


@every_kind
@every_action
@pytest.mark.parametrize("point", JOB_POINTS)
def test_a_job(paired, kind, point, action):
    paired(a_job, point, action)


def a_job(stack, point, action):
    client = Client(stack, Record())
    with stack.acting(point, action, hit_of(point, action)):
        job = client.submit(records.tiny())
        client.watch(job.name)
        stack.wait_fired()
        other = client.submit(records.tiny())
        ended = client.wait(job.name)
        assert client.wait(other.name).state == Job.SUCCEEDED
    if action == "error" and point in FAILING:
        assert (ended.state, ended.failure.reason) == (Job.FAILED, records.jobs_pb2.Failure.INTERNAL)
    else:
        assert ended.state == Job.SUCCEEDED
    if action == "kill" and point in GOES_ON:
        assert ended.attempt == 2
        resumed = [event.resumed for event in client.events(job.name) if event.WhichOneof("kind") == "resumed"]
        assert [(one.epoch, one.bitwise_equal) for one in resumed] == [(GOES_ON[point], True)]
    if action == "freeze" and point in TAKEN_OVER:
        assert ended.attempt == 2
    assert_whole(stack, client)


@every_kind
@every_action
def test_a_cancelled_job(paired, kind, action):
    paired(a_cancelled_job, action)


def a_cancelled_job(stack, action):
    client = Client(stack, Record())
    job = client.submit(records.long())
    client.watch(job.name)
    client.wait(job.name, lambda job: job.epoch >= 2)
    with stack.acting("C15", action):
        client.cancel(job.name)
        assert client.wait(job.name).state == Job.CANCELLED
    assert_whole(stack, client)


@every_kind
@every_action
@pytest.mark.parametrize("point", ["C16", "C17"])
def test_an_upload(paired, kind, point, action):
    paired(an_upload, point, action)


def an_upload(stack, point, action):
    client, table = Client(stack, Record()), csv(50)
    with stack.acting(point, action, hit_of(point, action)):
        made = client.upload(slug(), table, chunk=100)
    assert (made.row_count, made.size_bytes) == (50, len(table))
    assert_whole(stack, client)


@every_kind
@every_action
def test_a_deleted_data_set(paired, kind, action):
    paired(a_deleted_data_set, action)


def a_deleted_data_set(stack, action):
    client, before = Client(stack, Record()), stack.files().keys()
    made = client.upload(slug(), csv(3))
    with stack.acting("C18", action):
        client.delete_dataset(made.name)
    # Its file and its table: bytes without a row are what a death may leave, never a row without bytes.
    assert len(stack.files().keys() - before) == (0 if action == "freeze" else 2)
    stack.keep_house()
    assert_whole(stack, client)


@every_kind
@every_action
def test_an_imported_model(paired, kind, action):
    paired(an_imported_model, action)


def an_imported_model(stack, action):
    """More than a chunk of weights, so that some are staged; whoever asks again with the same id gets one model."""
    client = Client(stack, Record())
    job = client.wait(client.submit(records.wide()).name)
    data = client.export(job.model_version)
    with stack.acting("C20", action):
        made = client.import_model(slug(), data)
    assert (made.weights_sha256, made.origin.job) == (client.model(job.model_version).weights_sha256, job.name)
    assert client.export(made.name) == data
    versions = [one.name for one in client.models() if one.name.split("/")[1] == made.name.split("/")[1]]
    assert versions == [made.name]
    assert_whole(stack, client)


@every_kind
@every_action
def test_a_migration(paired, kind, action):
    paired(a_migration, kind, action)


def a_migration(stack, kind, action):
    """Of a database without tables; whoever comes next finishes it."""
    with servers.fresh_database(kind) as url:
        env = stack.env | {"TRAIND_DATABASE_URL": url, "TRAIND_DATA_DIR": str(stack.folder / "migrated")}
        argv = [PYTHON, "-m", "service", "migrate"]
        with stack.acting("C19", action, hit_of("C19", action)):
            first = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            stack.wait_fired()
        first.communicate(timeout=60)
        assert (first.returncode == 0) == (action == "freeze")
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        database = Database(url)
        with database.read() as connection:
            for table in metadata.sorted_tables:
                assert connection.execute(table.select()).first() is None
        assert invariants.of_rows(database) == []
        database.dispose()
    assert_whole(stack, Client(stack, Record()))


def slug():
    return f"d{uuid.uuid4().hex[:12]}"


def csv(rows):
    """A file like no other."""
    return ("a,b\n" + "".join(f"{row},{uuid.uuid4().int % 1_000_000}\n" for row in range(rows))).encode()


def assert_whole(stack, client):
    """What comes after a fault works, and nothing is violated."""
    client.join()
    assert client.wait(client.submit(records.tiny()).name).state == Job.SUCCEEDED
    stack.wait_quiet()
    assert invariants.violations(stack, client.record, stack.references) == []
