"""Every invariant turns red on what it forbids, on both databases, and on nothing else."""

import contextlib
import dataclasses
import hashlib
import os
import signal
import subprocess
import sys

import grpc
import pytest
import sqlalchemy
from sqlalchemy import text

from service import ledger
from service.store.database import Database
from service.store.tables import metadata
from tests import servers
from tests.faults import invariants, rules
from tests.faults import record as records
from tests.faults.conftest import KINDS
from tests.faults.record import Job, Record, Refusal
from tests.faults.stack import FaultStack
from tests.service.store import rows
from tests.service.test_ledger import LEASE_S, MODEL, epochs_of
from tests.waiting import wait_until
from traind.v1 import jobs_pb2

STRANGE = "99999999-9999-4999-8999-999999999999"

# What is done to rows that hold, and the rule that must see it.
DAMAGE = [
    ("I2 ", "UPDATE job SET state = 'QUEUED' WHERE id = :failed"),
    ("I3 ", "DELETE FROM event WHERE job_id = :done AND body_json LIKE '%SUCCEEDED%'"),
    (
        "I3 ",
        (
            "INSERT INTO event SELECT job_id, seq + 1, time, attempt, kind, body_json FROM event WHERE job_id = :done "
            "AND body_json LIKE '%SUCCEEDED%'"
        ),
    ),
    ("I3 ", 'UPDATE event SET body_json = \'{"state": "CANCELLED"}\' WHERE body_json LIKE \'%"SUCCEEDED"%\''),
    (
        "I4 ",
        (
            "INSERT INTO event SELECT job_id, seq + 1, time, attempt, 'log', '{}' FROM event WHERE job_id = :done "
            "AND body_json LIKE '%SUCCEEDED%'"
        ),
    ),
    ("I5 an illegal move", 'UPDATE event SET body_json = \'{"state": "CANCELLING"}\' WHERE job_id = :done AND seq = 2'),
    ("I5 an illegal move", 'UPDATE event SET body_json = \'{"state": "RUNNING"}\' WHERE job_id = :done AND seq = 1'),
    ("I5 the row", "UPDATE job SET state = 'FAILED' WHERE id = :cancelled"),
    ("I6 ", "DELETE FROM event WHERE job_id = :done AND seq = 3"),
    ("I6 ", "UPDATE job SET last_seq = last_seq + 1 WHERE id = :done"),
    ("I7 a series", "DELETE FROM metric WHERE job_id = :done AND step = 2"),
    ("I7 a series", "UPDATE metric SET step = 4 WHERE job_id = :done AND step = 3"),
    ("I7 a series", "INSERT INTO metric SELECT job_id, series_id, step, value FROM metric WHERE step = 1"),
    ("I7 a job", "DELETE FROM series WHERE job_id = :done AND name = 'train_loss'"),
    ("I7 a point", "DELETE FROM series WHERE job_id = :done AND name = 'mae'"),
    ("I8 ", "DELETE FROM model_version WHERE job_id = :done"),
    ("I8 ", "UPDATE model_version SET job_id = :failed"),
    ("I8 ", "UPDATE job SET model_name = '' WHERE id = :done"),
    ("I9 an attempt", "UPDATE job SET attempt = 0 WHERE id = :done"),
    ("I9 lost", "UPDATE job SET losses = 3 WHERE id = :done"),
    ("I10 a lease", "UPDATE job SET worker = 'w1' WHERE id = :done"),
    ("I10 a lease", "UPDATE job SET lease_until = 1 WHERE id = :failed"),
    ("I10 a checkpoint", "UPDATE artifact_ref SET holder = 'job:' || :done"),
    ("I11 an artifact", "DELETE FROM artifact_ref"),
    ("I11 chunks", "UPDATE artifact_chunk SET artifact_id = :strange"),
    ("I11 a holder", "UPDATE artifact_ref SET holder = 'model:' || :strange"),
    ("I11 a model", "UPDATE model_version SET artifact_id = :strange"),
    ("I11 a model", "UPDATE artifact SET state = 'staged'"),
    ("I11 a model", "UPDATE job SET checkpoint_id = :strange WHERE id = :done"),
    ("I12 one request", "UPDATE job SET request_id = 'r', display_name = id"),
    ("I12 one submission", "UPDATE job SET display_name = 'submission 1'"),
    ("I13 ", "UPDATE job SET failure_reason = NULL WHERE id = :failed"),
    ("I13 ", "UPDATE job SET failure_message = 'failed' WHERE id = :failed"),
]


@dataclasses.dataclass
class Bare:
    """A database whose tables refuse nothing, with jobs that hold every invariant."""

    database: Database
    ids: dict[str, str]


@pytest.fixture(scope="module", params=KINDS)
def bare(request):
    with contextlib.ExitStack() as exits:
        try:
            url = exits.enter_context(servers.fresh_database(request.param))
        except servers.NoServer as error:
            servers.missing(error)
        database = Database(url)
        exits.callback(database.dispose)
        database.migrate()
        ids = lived(database)
        loosen(database)
        yield Bare(database, ids)


def lived(database):
    """Three jobs: one succeeded after a loss, one failed, one was cancelled."""
    owner, queued = rows.make_queue(database, 3)
    done, failed, cancelled = (row.id for row in queued)
    claim = ledger.claim(database, "w1", LEASE_S)
    ledger.publish_epochs(database, claim, epochs_of(1, 2), b"checkpoint", 2)
    ledger.lost(database, claim, "it died")
    with database.write() as connection:
        connection.execute(text("UPDATE job SET not_before = 0"))
    claim = ledger.claim(database, "w2", LEASE_S)
    assert claim.job.id == done
    ledger.publish_epochs(database, claim, epochs_of(3, 3), b"newer checkpoint", 3)
    sha256 = hashlib.sha256(MODEL.weights).hexdigest()
    ledger.succeed(database, claim, dataclasses.replace(MODEL, weights_sha256=sha256), metrics={}, best_epoch=3)
    claim = ledger.claim(database, "w1", LEASE_S)
    ledger.fail(database, claim, "INTERNAL", "a defect of the server ended the job")
    ledger.cancel(database, owner.id, cancelled)
    return {"done": done, "failed": failed, "cancelled": cancelled, "strange": STRANGE}


def loosen(database):
    """Make every table again without any constraint."""
    with database.read() as connection:
        kept = {table: connection.execute(table.select()).mappings().all() for table in metadata.sorted_tables}
    loose = sqlalchemy.MetaData()
    with database.write() as connection:
        metadata.drop_all(connection)
        for table, found in kept.items():
            columns = [sqlalchemy.Column(column.name, column.type) for column in table.columns]
            copied = sqlalchemy.Table(table.name, loose, *columns)
            copied.create(connection)
            if found:
                connection.execute(copied.insert(), [dict(row) for row in found])


class _UndoneError(Exception):
    """Takes a transaction back."""


@contextlib.contextmanager
def damaged(bare, statement):
    """A transaction in which the statement has been run; taken back at the end."""
    with contextlib.suppress(_UndoneError), bare.database.write() as connection:
        wanted = {name: value for name, value in bare.ids.items() if f":{name}" in statement}
        assert connection.execute(text(statement), wanted).rowcount
        yield connection
        raise _UndoneError


def test_rows_that_hold(bare):
    assert invariants.of_rows(bare.database, {f"jobs/{bare.ids['done']}"}) == []
    with bare.database.read() as connection:
        assert invariants.of_versions(connection) == invariants.of_artifacts(connection) == []


def test_every_rule_is_tried():
    """Also one that is added later."""
    tried = {name for name in rules.RULES for start, _ in DAMAGE if name.startswith(start)}
    assert tried == rules.RULES.keys()


@pytest.mark.parametrize(("rule", "statement"), DAMAGE)
def test_a_rule_sees_what_it_forbids(bare, rule, statement):
    with damaged(bare, statement) as connection:
        assert any(line.startswith(rule) for line in invariants.rows_within(connection))


def test_a_missing_job(bare):
    """I1."""
    [line] = invariants.of_rows(bare.database, {f"jobs/{bare.ids['done']}", f"jobs/{STRANGE}"})
    assert line.startswith("I1 ")
    assert STRANGE in line


def test_a_changed_weight(bare):
    """I14."""
    with damaged(bare, "UPDATE artifact SET sha256 = 'other'") as connection:
        assert {line[:12] for line in invariants.of_artifacts(connection)} == {"I14 artifact"}
    with damaged(bare, "DELETE FROM artifact_chunk") as connection:
        assert {line[:12] for line in invariants.of_artifacts(connection)} == {"I14 artifact"}


def test_a_changed_file(still):
    """I14, I11."""
    name = hashlib.sha256(b"rows").hexdigest()
    path = still.data / "objects" / name[:2] / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"rows")
    assert invariants.of_files(still, {name}) == []
    assert invariants.of_files(still, set()) == [f"I11 the file {name} belongs to no data set"]
    path.write_bytes(b"row")
    assert invariants.of_files(still, {name}) == [f"I14 the file {name} is not what was stored"]
    path.unlink()
    assert invariants.of_files(still, {name}) == [f"I14 the file {name} of a data set is missing"]


def test_other_bits(bare):
    """I15."""
    [(_, task, *came)] = invariants.digests(bare.database)
    assert invariants.of_results(bare.database, {task: came}) == []
    assert ["other weights" in line for line in invariants.of_results(bare.database, {task: ("x", came[1])})] == [True]
    assert ["other figures" in line for line in invariants.of_results(bare.database, {task: (came[0], "x")})] == [True]


def event(seq, **kind):
    return jobs_pb2.JobEvent(seq=seq, **kind)


def state(seq, name):
    return event(seq, state=jobs_pb2.StateChange(state=name))


def epoch(seq, number):
    return event(seq, epoch=jobs_pb2.EpochRecord(epoch=number))


WHOLE = [state(1, "QUEUED"), state(2, "RUNNING"), epoch(3, 1), epoch(4, 2), state(5, "SUCCEEDED")]
REWOUND = event(5, resumed=jobs_pb2.Resumed(epoch=1, rewound=True))
SEEN = [
    (WHOLE, 0),
    ([*WHOLE[:4], REWOUND, epoch(6, 2), state(7, "SUCCEEDED")], 0),
    (WHOLE[1:], 1),  # an event is missing
    ([*WHOLE[:2], WHOLE[1], *WHOLE[2:]], 1),  # came twice
    (WHOLE[:4], 1),  # no end
    ([*WHOLE[:3], epoch(4, 3), WHOLE[4]], 1),  # an epoch is missing
    ([*WHOLE[:3], epoch(4, 1), WHOLE[4]], 1),  # an epoch came twice
]


@pytest.mark.parametrize(("events", "count"), SEEN)
def test_a_watcher(events, count):
    """I16."""
    found = invariants.of_clients(Record(watches=[("jobs/1", events)]))
    assert [line[:3] for line in found] == ["I16"] * count


READS = [
    ([(Job.QUEUED, 0, 0), (Job.RUNNING, 1, 0), (Job.RUNNING, 1, 2), (Job.RUNNING, 2, 2), (Job.SUCCEEDED, 2, 6)], 0),
    ([(Job.RUNNING, 1, 2), (Job.RUNNING, 1, 1)], 1),
    ([(Job.RUNNING, 2, 2), (Job.RUNNING, 1, 2)], 1),
    ([(Job.SUCCEEDED, 1, 6), (Job.CANCELLED, 1, 6)], 1),
]


@pytest.mark.parametrize(("reads", "count"), READS)
def test_a_reader(reads, count):
    """I16."""
    assert len(invariants.of_clients(Record(reads={"jobs/1": reads}))) == count


def test_a_submission_that_was_answered_twice():
    """I12."""
    [line] = invariants.of_clients(Record(submissions={"one": {"jobs/1"}, "two": {"jobs/1", "jobs/2"}}))
    assert line.startswith("I12 two")


@pytest.fixture
def still():
    """A stack of which nothing runs."""
    with FaultStack() as stack:
        stack.database().migrate()
        yield stack


def test_a_process_of_nobody(still):
    """I17."""
    assert invariants.of_leftovers(still) == []
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], env=still.env | {"PYTHONPATH": ""}
    ) as child:
        wait_until(still.family, "it has begun")
        [line] = invariants.of_leftovers(still)
        assert f"process {child.pid} belongs to nobody" in line
        os.kill(child.pid, signal.SIGSTOP)
        wait_until(lambda: len(invariants.of_leftovers(still)) == 2, "it is stopped too")
        still.roots["child"] = child
        [line] = invariants.of_leftovers(still)
        assert f"process {child.pid} is stopped" in line
        child.kill()
        del still.roots["child"]


def test_a_file_of_nobody(still):
    """I17."""
    (still.data / "tmp").mkdir()
    (still.data / "tmp" / "scratch-1").touch()
    assert invariants.of_leftovers(still) == ["I17 the file scratch-1 was left behind"]


def test_an_upload_that_counts_too_much(still):
    """I18, and I17 for a file whose upload is gone."""
    database = still.database()
    owner = rows.make_user(database)
    with database.write() as connection:
        connection.execute(
            text("INSERT INTO upload VALUES ('u', :owner, 10, '', 4, 0, 9999999999)"), {"owner": owner.id}
        )
    (still.data / "tmp").mkdir()
    file = still.data / "tmp" / "upload-u"
    file.write_bytes(b"1234")
    assert invariants.of_counts(still, database) == invariants.of_leftovers(still) == []
    file.write_bytes(b"123")
    assert invariants.of_counts(still, database) == ["I18 upload u counts 4 bytes and has 3"]
    with database.write() as connection:
        connection.execute(text("DELETE FROM upload"))
    assert invariants.of_leftovers(still) == ["I17 the file upload-u was left behind"]
    database.dispose()


def test_a_model_that_counts_other_versions(bare):
    """I18."""
    with damaged(bare, "UPDATE model SET last_version = 2") as connection:
        assert [line[:3] for line in invariants.of_versions(connection)] == ["I18"]


def test_a_queue_that_tells_other_numbers():
    """I18."""
    counted = {"QUEUED": 2, "RUNNING": 1, "PAUSED": 3, "SUCCEEDED": 4}
    told = jobs_pb2.ListQueueResponse(queued=2, busy_slots=1)
    assert invariants.queue_told(told, counted) == []
    for wrong in (jobs_pb2.ListQueueResponse(queued=1, busy_slots=1), jobs_pb2.ListQueueResponse(queued=2)):
        assert [line[:3] for line in invariants.queue_told(wrong, counted)] == ["I18"]


def test_a_token_in_a_log(still):
    """I19."""
    still.token, still.other_token = "trd_kim", "trd_lee"
    (still.folder / "api.out").write_text("let in\n")
    assert invariants.of_logs(still) == []
    (still.folder / "api.out").write_text("let in trd_lee\n")
    assert invariants.of_logs(still) == ["I19 a log holds the token of lee"]


CODE = grpc.StatusCode
TOLD = [
    (CODE.INTERNAL, "the server failed; tell its administrator the error id 0123456789ab", 0),
    (CODE.UNAVAILABLE, "failed to connect: [Errno 111] Connection refused", 0),
    (CODE.UNKNOWN, "Unexpected", 1),
    (CODE.INTERNAL, "[Errno 5] Input/output error: '/tmp/secret'", 1),
    (CODE.INTERNAL, 'Traceback (most recent call last):\n  File "x", line 1', 1),
    (CODE.INTERNAL, "(sqlite3.OperationalError) no such table: job [SQL: SELECT id FROM job]", 1),
]


@pytest.mark.parametrize(("code", "told", "count"), TOLD)
def test_an_error_that_tells_of_the_inside(code, told, count):
    """I19."""
    found = invariants.of_refusals(Record(refusals=[Refusal("kim", code, told)]))
    assert [line[:3] for line in found] == ["I19"] * count


def test_a_stranger_who_is_let_in(stack, record, client):
    """I19: for kim is no stranger to kim's jobs."""
    job = client.submit(records.tiny())
    client.wait(job.name)
    assert invariants.of_strangers(stack.wire_of(stack.other_token), [job.name]) == []
    found = invariants.of_strangers(stack.wire_of(stack.token), [job.name])
    for what in ("GetJobRequest", "GetHistoryRequest", "FAILED_PRECONDITION", "was listed"):
        assert any(what in line for line in found), what
