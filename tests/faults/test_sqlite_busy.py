"""SQLITE_BUSY at every call of every write: the verb is done, or answers UNAVAILABLE and has done nothing."""

import dataclasses
import re
import uuid

import pytest
from google.rpc import code_pb2, error_details_pb2

from service import jobs, ledger
from service.app import App
from service.callers import Caller
from service.calling.statuses import from_error
from service.errors import DatabaseUnavailable
from service.settings import Settings
from service.store import artifacts, opening
from tests.conftest import empty
from tests.faults.busy import BusyDatabase
from tests.faults.world import job_of
from tests.service.store.rows import make_dataset, make_job, make_user
from tests.service.test_ledger import MODEL, contents, epochs_of
from traind.v1 import jobs_pb2

LEASE_S = 60.0
SMALL, LONG = b"small", b"long" * 100
CHUNK = 100


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(artifacts, "CHUNK_BYTES", CHUNK)
    monkeypatch.setattr(artifacts, "PAUSE_S", 0.0)
    monkeypatch.setattr(opening, "BUSY_S", 0.01)


@pytest.fixture
def database(database_url):
    database = BusyDatabase(database_url)
    yield database
    database.dispose()


@dataclasses.dataclass
class Scene:
    """A queued job of kim that names a webhook, or a claim of it with two epochs."""

    app: App
    kim: Caller
    job_id: str
    claim: ledger.Claim | None


def scene(database, folder, *, running):
    """Made anew, and calm."""
    database.calm()
    empty(database)
    owner = make_user(database)
    dataset = make_dataset(database, owner, slug="d", sha256="file", table_sha256="table", columns="x y")
    job = make_job(database, owner, dataset, webhooks="lab")
    settings = Settings.from_env({"TRAIND_DATA_DIR": str(folder)})
    kim = Caller(owner.id, "kim", "token", frozenset({"read", "submit"}))
    claim = None
    if running:
        claim = ledger.claim(database, "w1", LEASE_S)
        ledger.publish_epochs(database, claim, epochs_of(1, 2), LONG + b"before", 2)
    return Scene(App(settings, database, None), kim, job.id, claim)


def submit(at, request_id):
    request = jobs_pb2.CreateJobRequest(job=job_of(seed=1), request_id=request_id)
    return jobs.create_job(at.app, at.kim, request)


REQUEST_ID = str(uuid.UUID(int=1, version=4))
# Verbs with what they begin with, and how many calls of the driver each makes at the least.
VERBS = {
    "submit": (False, 8, lambda at: submit(at, REQUEST_ID)),
    "submit without an id": (False, 8, lambda at: submit(at, "")),
    "cancel what waits": (
        False,
        6,
        lambda at: jobs.cancel_job(at.app, at.kim, jobs_pb2.CancelJobRequest(name=f"jobs/{at.job_id}")),
    ),
    "cancel what runs": (
        True,
        5,
        lambda at: jobs.cancel_job(at.app, at.kim, jobs_pb2.CancelJobRequest(name=f"jobs/{at.job_id}")),
    ),
    "claim": (False, 5, lambda at: ledger.claim(at.app.database, "w1", LEASE_S)),
    "beat": (True, 3, lambda at: ledger.beat(at.app.database, at.claim, LEASE_S)),
    "publish": (True, 5, lambda at: ledger.publish_epochs(at.app.database, at.claim, epochs_of(3, 5), None, 4)),
    "publish a checkpoint": (
        True,
        8,
        lambda at: ledger.publish_epochs(at.app.database, at.claim, epochs_of(3, 5), SMALL, 4),
    ),
    "publish a long checkpoint": (
        True,
        20,
        lambda at: ledger.publish_epochs(at.app.database, at.claim, epochs_of(3, 5), LONG, 4),
    ),
    "succeed": (True, 9, lambda at: succeed(at, SMALL)),
    "succeed with long weights": (True, 20, lambda at: succeed(at, LONG)),
    "fail": (
        True,
        6,
        lambda at: ledger.fail(at.app.database, at.claim, "INTERNAL", "a defect", epochs=epochs_of(3, 4)),
    ),
    "stop": (True, 4, lambda at: ledger.settle_stopped(at.app.database, at.claim)),
}


def succeed(at, weights):
    return ledger.succeed(
        at.app.database, at.claim, dataclasses.replace(MODEL, weights=weights), metrics={"mae": 1.0}, best_epoch=2
    )


_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\b1[78]\d{8}(\.\d+)?\b")


def seen(database):
    """Every row, but for random ids and times, and for what was staged and not published, which is collected."""
    artifacts.collect(database, -1.0)
    return {
        name: sorted(_TIME.sub("TIME", _ID.sub("ID", row)) for row in rows) for name, rows in contents(database).items()
    }


def asked(verb, at):
    """Whether it was done; else it must have said that the call can be made again."""
    try:
        verb(at)
    except DatabaseUnavailable as error:
        status = from_error(error)
        assert status.code == code_pb2.UNAVAILABLE
        assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)
        return False
    return True


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("stays", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("name", VERBS)
def test_nothing_is_lost_or_doubled(database, tmp_path, name, stays):
    running, calls, verb = VERBS[name]
    at = scene(database, tmp_path, running=running)
    before = seen(database)
    assert asked(verb, at)
    after = seen(database)
    number, fired = 0, set()
    while True:
        number += 1
        at = scene(database, tmp_path, running=running)
        database.arm(number, stays=stays)
        done = asked(verb, at)
        met = database.fired
        database.calm()
        if not met:
            break
        fired.add(met.partition(" ")[0])
        assert seen(database) in ([after] if done else [before, after])
        if not done:
            assert asked(verb, at)
            assert seen(database) == after
    assert done
    assert number > calls
    assert {"BEGIN", "COMMIT"} <= fired
