"""Models: immutable versions that are never counted twice."""

import threading

import pytest
import sqlalchemy

from service import ledger
from service.store import artifacts, models
from service.store.records import ModelRows
from tests.service.store.rows import make_queue, make_user


def add(database, owner, job, slug="churn", **changes):
    artifact_id, version_id = artifacts.new_id(), artifacts.new_id()
    values = {
        "version_id": version_id,
        "owner_id": owner.id,
        "slug": slug,
        "job_id": job.id,
        "dataset_name": job.dataset_name,
        "display_name": "이탈",
        "artifact_id": artifact_id,
        "weights_sha256": "w",
        "spec_json": "{}",
        "inputs_json": "[]",
        "outputs_json": "[]",
        "preprocessing_json": "{}",
        "metrics_json": '{"val_loss": "NaN", "r2": 0.5}',
        "findings_json": "[]",
        "parameter_count": 4,
        "size_bytes": 3,
        "best_epoch": 2,
        "engine": "1.0",
    }
    with database.write() as connection:
        artifacts.store_small(connection, b"abc", "weights", f"model:{version_id}", artifact_id)
        return models.add_version(connection, **values | changes)


def test_versions_are_counted_for_each_slug_of_an_owner(database):
    owner, made = make_queue(database, 3)
    first, second, other = add(database, owner, made[0]), add(database, owner, made[1]), None
    other = add(database, owner, made[2], slug="house")
    assert [(row.slug, row.version) for row in (first, second, other)] == [("churn", 1), ("churn", 2), ("house", 1)]
    assert second.name == "models/kim.churn/versions/2"
    assert second.metrics["r2"] == 0.5
    assert artifacts.load(database, second.artifact_id) == b"abc"


def test_a_model_is_found_by_version_or_as_the_newest_by_its_owner(database):
    owner, made = make_queue(database, 2)
    lee = make_user(database, "lee")
    first, second = (add(database, owner, job) for job in made)
    with database.read() as connection:
        assert models.find(connection, owner.id, "churn", None) == second
        assert models.find(connection, owner.id, "churn", 1) == first
        assert models.find(connection, owner.id, "churn", 3) is None
        assert models.find(connection, owner.id, "house", None) is None
        assert models.find(connection, lee.id, "churn", None) is None
        assert models.list_page(connection, lee.id, 10) == []


def test_pages_are_newest_first(database):
    owner, made = make_queue(database, 5)
    rows = [add(database, owner, job) for job in made]
    seen, before = [], None
    with database.read() as connection:
        while page := models.list_page(connection, owner.id, 2, before):
            seen += page
            before = (page[-1].created_at, page[-1].id)
    assert sorted(seen, key=lambda row: (row.created_at, row.id), reverse=True) == seen
    assert {row.id for row in seen} == {row.id for row in rows}


def test_versions_made_at_once_are_counted_one_by_one(database):
    owner, made = make_queue(database, 8)
    threads = [threading.Thread(target=add, args=(database, owner, job)) for job in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    with database.read() as connection:
        assert sorted(row.version for row in models.list_page(connection, owner.id, 10)) == list(range(1, 9))


def test_a_job_makes_one_model(database):
    owner, (job,) = make_queue(database)
    add(database, owner, job)
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        add(database, owner, job)
    with database.read() as connection:
        assert len(models.list_page(connection, owner.id, 10)) == 1


def test_weights_of_a_model_cannot_be_deleted(database):
    owner, (job,) = make_queue(database)
    made = add(database, owner, job)
    with pytest.raises(sqlalchemy.exc.IntegrityError), database.write() as connection:
        artifacts.release(connection, f"model:{made.id}")
    assert artifacts.load(database, made.artifact_id) == b"abc"


def test_the_rows_that_a_model_saw_come_back_as_they_were_stored(database):
    owner, (job,) = make_queue(database, 1)
    version = add(database, owner, job)
    # Every byte, for one of the databases could take them for text.
    rows = ModelRows(2048, bytes(range(256)), bytes(range(255, -1, -1)))
    with database.write() as connection:
        assert models.find_rows(connection, version.id) is None
        models.add_rows(connection, version.id, rows)
        assert models.find_rows(connection, version.id) == rows


def test_confusion_matrices_are_kept_and_none_where_none_came(database):
    owner, made = make_queue(database, 2)
    assert add(database, owner, made[0]).confusion_json == "[]"
    assert add(database, owner, made[1], confusion_json='[{"split": "val"}]').confusion_json == '[{"split": "val"}]'


def test_the_job_that_is_to_make_a_version_is_found_by_what_it_will_make(database):
    owner, (first, second) = make_queue(database, 2)
    lee = make_user(database, "lee")

    def maker(version, slug="churn", of=owner):
        with database.read() as connection:
            return models.find_maker(connection, of.id, slug, version)

    assert maker(None) == maker(1) == models.Maker(first.id, "QUEUED")
    assert maker(2) == models.Maker(second.id, "QUEUED")
    assert not maker(1).ended
    assert maker(3) is None
    assert maker(1, slug="house") is None
    assert maker(1, of=lee) is None
    ledger.cancel(database, owner.id, first.id)
    assert maker(1) == models.Maker(second.id, "QUEUED")
    ledger.cancel(database, owner.id, second.id)
    assert maker(None) == models.Maker(second.id, "CANCELLED")
    assert maker(None).ended
    assert maker(2) is None


def test_no_job_is_to_make_a_version_that_was_made(database):
    owner, (job,) = make_queue(database)
    add(database, owner, job)
    claim = ledger.claim(database, "test:1", 60)
    with database.read() as connection:
        assert models.find_maker(connection, owner.id, "churn", 1) is None
        assert models.find_maker(connection, owner.id, "churn", 2) == models.Maker(job.id, "RUNNING")
    ledger.succeed(database, claim, None, metrics={}, best_epoch=1)
    with database.read() as connection:
        assert models.find_maker(connection, owner.id, "churn", 2) is None
