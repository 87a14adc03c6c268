"""Each end of a job is told once to each target that it names, by real calls to real servers."""

import base64
import dataclasses
import hashlib
import hmac
import json
import pathlib
import subprocess
import sys

import pytest

from service import ledger
from service.store import webhooks
from service.store.tables import FAILURE_REASONS
from service.webhooks import delivering
from service.webhooks.delivering import Deliverer
from service.webhooks.messages import body_of
from service.webhooks.targets import Target
from tests.service.store.rows import make_dataset, make_job, make_user
from tests.service.webhooks.receiver import Receiver
from tests.waiting import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[3]
KEY = bytes(range(32))
only_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"])


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(delivering, "PAUSES_S", (0.1, 0.1, 0.1))
    monkeypatch.setattr(delivering, "LOOK_S", 0.02)
    monkeypatch.setattr(delivering, "TIMEOUT_S", 0.5)


@pytest.fixture
def receive():
    made = []

    def receiver(*answers):
        made.append(Receiver(*answers))
        return made[-1]

    yield receiver
    for one in made:
        one.close()


@pytest.fixture
def deliver():
    """Starts deliverers that send to receivers by name."""
    made = []

    def started(database, **receivers):
        targets = {name: Target(name, url, KEY) for name, url in receivers.items()}
        made.append(Deliverer(database, targets))
        made[-1].start()

    yield started
    for one in made:
        one.stop()


def job_that_names(database, *targets):
    owner = make_user(database)
    job = make_job(database, owner, make_dataset(database, owner), webhooks=",".join(targets))
    return owner, job


def ended(database, *targets, times=1):
    owner, job = job_that_names(database, *targets)
    ledger.cancel(database, owner.id, job.id)
    for _ in range(times - 1):
        more = make_job(database, owner, make_dataset(database, owner), webhooks=",".join(targets))
        ledger.cancel(database, owner.id, more.id)
    return job


def states(database):
    with database.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT target, state, tries, last_answer FROM webhook ORDER BY job_id, target"
        )
        return [tuple(row) for row in rows]


def settled(database):
    return wait_until(
        lambda: all(state != "waiting" for _, state, _, _ in states(database)) and states(database), "all are settled"
    )


ENDS = {
    "cancelled while it waited": lambda db, owner, job: ledger.cancel(db, owner.id, job.id),
    "cancelled while it ran": lambda db, owner, job: (
        claim := ledger.claim(db, "w", 60),
        ledger.cancel(db, owner.id, job.id),
        ledger.settle_stopped(db, claim),
    ),
    "succeeded": lambda db, _owner, _job: ledger.succeed(db, ledger.claim(db, "w", 60), None, metrics={}, best_epoch=0),
    "failed": lambda db, _owner, _job: ledger.fail(db, ledger.claim(db, "w", 60), "INTERNAL", "a defect"),
    "lost three times": lambda db, _owner, _job: [lose(db) for _ in range(3)],
}


def lose(database):
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE job SET not_before = 0")
    ledger.lost(database, ledger.claim(database, "w", 60), "killed")


@pytest.mark.parametrize("end", ENDS)
def test_every_end_is_noted_in_its_own_transaction(database, end):
    owner, job = job_that_names(database, "lab", "other")
    make_job(database, owner, make_dataset(database, owner, slug="quiet"))
    assert states(database) == []
    ENDS[end](database, owner, job)
    assert states(database) == [("lab", "waiting", 0, ""), ("other", "waiting", 0, "")]


def test_a_receiver_that_is_down_then_broken_then_well(database, quick, receive, deliver):
    gone = receive()
    gone.close()
    job = ended(database, "lab", "away")
    lab = receive((500, {}), (302, {"location": "http://127.0.0.1:1/"}))
    deliver(database, lab=lab.url, away=gone.url)
    found = settled(database)
    assert [row[:3] for row in found] == [("away", "given_up", 4), ("lab", "delivered", 3)]
    assert found[0][3] == "ConnectionRefusedError"
    assert len(lab.calls) == 3
    assert len({headers["webhook-id"] for headers, _, _ in lab.calls}) == 1
    for headers, body, _ in lab.calls:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        signature = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{signature}"
    message = lab.messages()[0]
    assert message["type"] == "job.ended"
    assert message["data"]["job"] == f"jobs/{job.id}"
    assert (message["data"]["state"], message["data"]["dataset"]) == ("CANCELLED", job.dataset_name)
    assert "task" not in json.dumps(message)


@only_sqlite
def test_the_failure_is_told_without_what_it_says_of_the_data(database, quick, receive, deliver):
    job_that_names(database, "lab")
    ledger.fail(database, ledger.claim(database, "w", 60), "INVALID_DATA", "column 'salary' holds '4,200'")
    lab = receive()
    deliver(database, lab=lab.url)
    settled(database)
    assert lab.messages()[0]["data"]["failure"] == {
        "reason": "INVALID_DATA",
        "message": "The rows cannot be learned from as the spec asks.",
    }
    assert b"salary" not in lab.calls[0][1]


@only_sqlite
@pytest.mark.parametrize("reason", FAILURE_REASONS)
def test_each_failure_has_its_text(database, reason):
    _, job = job_that_names(database)
    failed = dataclasses.replace(job, state="FAILED", failure_reason=reason, failure_message="secret")
    told = json.loads(body_of(failed))["data"]["failure"]
    assert told["reason"] == reason
    assert told["message"].endswith(".")
    assert "secret" not in told["message"]


@only_sqlite
def test_gone_gives_up_at_once(database, quick, receive, deliver):
    ended(database, "lab")
    lab = receive((410, {}))
    deliver(database, lab=lab.url)
    assert settled(database) == [("lab", "given_up", 1, "status 410")]


@only_sqlite
def test_retry_after_is_followed(database, quick, receive, deliver):
    ended(database, "lab")
    lab = receive((429, {"retry-after": "2"}))
    deliver(database, lab=lab.url)
    settled(database)
    assert lab.calls[1][2] - lab.calls[0][2] >= 1.9


@only_sqlite
def test_a_slow_receiver_holds_up_nobody_else(database, quick, receive, deliver):
    ended(database, "slow", "lab", times=5)
    slow, lab = receive(*[30] * 5), receive()
    deliver(database, slow=slow.url, lab=lab.url)
    wait_until(lambda: len(lab.calls) == 5, "the quick one has all", 5)
    assert len(slow.calls) < 5


def test_two_processes_send_each_once(database, quick, receive, deliver):
    ended(database, "lab", times=20)
    lab = receive()
    deliver(database, lab=lab.url)
    deliver(database, lab=lab.url)
    settled(database)
    ids = [headers["webhook-id"] for headers, _, _ in lab.calls]
    assert len(ids) == len(set(ids)) == 20


SENDS = """
import sys, time
from service.store.database import Database
from service.webhooks import delivering
from service.webhooks.targets import Target

delivering.CLAIM_S = 1.0
delivering.Deliverer(Database(sys.argv[1]), {"lab": Target("lab", sys.argv[2], bytes(range(32)))}).start()
time.sleep(600)
"""


def test_a_process_that_dies_before_it_notes_the_answer(database, database_url, quick, receive, deliver):
    """Its try is made again, with the same id, by which the receiver knows it."""
    ended(database, "lab")
    lab = receive(0.5)
    process = subprocess.Popen([sys.executable, "-c", SENDS, database_url, lab.url], cwd=ROOT)
    try:
        wait_until(lambda: lab.calls, "it sends", 30)
    finally:
        process.kill()
        process.wait()
    assert states(database) == [("lab", "waiting", 1, "")]
    deliver(database, lab=lab.url)
    assert settled(database) == [("lab", "delivered", 2, "status 204")]
    assert len({headers["webhook-id"] for headers, _, _ in lab.calls}) == 1


@only_sqlite
def test_who_is_not_named_any_more(database, quick, deliver, caplog):
    ended(database, "old")
    deliver(database)
    assert "1 webhooks wait for old, which TRAIND_WEBHOOKS does not name" in caplog.text
    with database.read() as connection:
        assert webhooks.counts(connection) == {("old", "waiting"): 1}
