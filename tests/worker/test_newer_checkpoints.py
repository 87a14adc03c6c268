"""During an upgrade an older worker meets checkpoints that a newer one stored: it leaves their jobs as they are."""

import contextlib
import dataclasses

import pytest
import sqlalchemy

from service import ledger
from service.store import jobs
from tests.worker.learning import Desk
from tests.worker.test_resume import AN_EPOCH, At, iris, result, spec_of_job
from worker import checkpoints, publishing

SPEC = spec_of_job("mlp", "adam")


@pytest.fixture
def desk(database, database_url, tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "PUBLISH_EVERY_S", 0.0)
    return Desk(database, database_url, tmp_path)


@contextlib.contextmanager
def newer_version():
    """A worker of the version to come, whose checkpoints have the next format."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "FORMAT", checkpoints.FORMAT + 1)
        patch.setitem(checkpoints._NEWER, checkpoints.FORMAT, {})
        yield


def stopped(desk, claim, question):
    assert desk.run(claim, At(question)) == "stopped"
    ledger.settle_stopped(desk.database, claim)
    return desk.claim()


def spoil(desk, artifact_id):
    with desk.database.write() as connection:
        statement = "UPDATE artifact_chunk SET data = :data WHERE artifact_id = :id AND number = 0"
        connection.execute(sqlalchemy.text(statement), {"data": b"spoiled", "id": artifact_id})


def left(desk, claim):
    """An older worker's try, which changes nothing but the log; answers the claim of the next."""
    before, resumed = desk.job(claim), desk.events(claim.job, "resumed")
    assert desk.run(claim) == "left"
    assert dataclasses.replace(desk.job(claim), last_seq=before.last_seq) == before
    line = desk.events(before, "log")[-1]["message"]
    newer = checkpoints.FORMAT + 1
    assert line == (
        f"the checkpoint has format {newer}, of a newer version of traind; this one reads formats up to {newer - 1}: "
        "the job waits for a worker of that version"
    )
    assert desk.events(before, "resumed") == resumed
    assert ledger.settle_left(desk.database, claim) == "QUEUED"
    with desk.database.write() as connection:
        # As if the while were over for which nobody claims it.
        connection.exec_driver_sql(f"UPDATE job SET not_before = 0 WHERE id = '{claim.job.id}'")
    return desk.claim()


def test_a_checkpoint_of_a_newer_version_is_left_to_a_newer_worker(desk):
    dataset = desk.upload(iris())
    expected = result(desk, desk.train(dataset, SPEC))
    with newer_version():
        claim = stopped(desk, desk.submit(dataset, SPEC), 3 * AN_EPOCH + 4)
    claim = left(desk, left(desk, claim))
    with newer_version():
        assert desk.run(claim) == "done"
    assert result(desk, desk.job(claim)) == expected
    assert [event["epoch"] for event in desk.events(desk.job(claim), "resumed")] == ["3"]


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_an_older_checkpoint_beside_it_does_not_stand_in_for_it(desk):
    dataset = desk.upload(iris())
    claim = stopped(desk, desk.submit(dataset, SPEC), 2 * AN_EPOCH + 4)
    with newer_version():
        claim = stopped(desk, claim, 4)
    assert claim.job.older_checkpoint_id
    left(desk, claim)


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_newer_one_behind_a_damaged_one_is_left_too(desk):
    dataset = desk.upload(iris())
    with newer_version():
        claim = stopped(desk, desk.submit(dataset, SPEC), 3 * AN_EPOCH + 4)
    spoil(desk, claim.job.checkpoint_id)
    left(desk, claim)


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_an_older_worker_that_lost_the_job_meanwhile_tells_nothing(desk):
    dataset = desk.upload(iris())
    with newer_version():
        claim = stopped(desk, desk.submit(dataset, SPEC), 3 * AN_EPOCH + 4)
    ledger.settle_stopped(desk.database, claim)
    assert desk.claim().attempt == claim.attempt + 1
    with desk.database.read() as connection:
        before = jobs.find_by_id(connection, claim.job.id)
    assert desk.run(claim) == "fenced"
    assert desk.job(claim) == before
