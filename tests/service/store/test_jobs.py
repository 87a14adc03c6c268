"""Jobs: taken once for each request id, seen by their owner alone, listed and queued in order."""

import json

from service import ledger
from service.store import jobs
from service.store.tables import STATES
from tests.contenders import contend
from tests.service.store.rows import add_job, job_of, make_dataset, make_job, make_queue, make_user


def test_a_new_job_waits_with_its_first_event(database):
    _, (made,) = make_queue(database)
    assert made.state == "QUEUED"
    assert (made.attempt, made.losses, made.epoch, made.last_seq) == (0, 0, 0, 1)
    assert (made.owner_name, made.model_name, made.metrics) == ("kim", "", {})
    assert (made.started_at, made.ended_at, made.failure_reason, made.checkpoint_id) == (None, None, None, None)
    assert json.loads(made.resolved_json) == {"seed": 7, "dtype": "FLOAT64"}
    with database.read() as connection:
        (event,) = connection.exec_driver_sql("SELECT seq, attempt, kind, body_json FROM event")
    assert event[:3] == (1, 0, "state")
    assert json.loads(event[3]) == {"state": "QUEUED"}
    assert job_of(database, made.id) == made


def test_a_job_is_its_owners_alone(database):
    owner, (made,) = make_queue(database)
    lee = make_user(database, "lee")
    with database.read() as connection:
        assert jobs.find(connection, owner.id, made.id) == made
        assert jobs.find(connection, lee.id, made.id) is None
        assert jobs.list_page(connection, lee.id, 10) == []
        assert jobs.find_by_request(connection, lee.id, "r") is None
    assert ledger.cancel(database, lee.id, made.id) is None
    assert ledger.pause(database, lee.id, made.id) is None
    assert ledger.resume(database, lee.id, made.id) is None
    assert job_of(database, made.id) == made


def test_a_request_id_makes_one_job_of_an_owner(database):
    kim, lee = make_user(database, "kim"), make_user(database, "lee")
    dataset = make_dataset(database, kim)
    with database.write() as connection:
        made = add_job(connection, kim, dataset, "request")
        assert add_job(connection, kim, dataset, "request", display_name="other") is None
        other = add_job(connection, lee, dataset, "request")
        assert add_job(connection, kim, dataset) is not None
        assert add_job(connection, kim, dataset) is not None
        assert jobs.find_by_request(connection, kim.id, "request") == made
        assert jobs.find_by_request(connection, lee.id, "request") == other
    with database.read() as connection:
        # The refused one left no event either.
        assert connection.exec_driver_sql("SELECT count(*) FROM event").scalar() == 4


def test_the_same_requests_by_processes_at_once_make_one_job_each(database, database_url):
    kim = make_user(database)
    dataset = make_dataset(database, kim)
    answers = contend("submit", database_url, f"{kim.id},{dataset.id}")
    assert all(answer == answers[0] for answer in answers)
    assert len(set(answers[0])) == 40
    with database.read() as connection:
        assert len(jobs.list_page(connection, kim.id, 1000)) == 40


def test_one_of_two_that_add_the_same_request_at_once_wins(database, database_url):
    kim = make_user(database)
    dataset = make_dataset(database, kim)
    answers = contend("submit_blindly", database_url, f"{kim.id},{dataset.id}")
    for of_one_request in zip(*answers, strict=True):
        assert sum(answer is not None for answer in of_one_request) == 1


def test_pages_are_newest_first_and_may_be_of_some_states(database):
    owner, made = make_queue(database, 7)
    ledger.cancel(database, owner.id, made[2].id)
    ledger.cancel(database, owner.id, made[5].id)
    seen, before = [], None
    with database.read() as connection:
        while page := jobs.list_page(connection, owner.id, 3, before):
            seen += page
            before = (page[-1].created_at, page[-1].id)
        cancelled = jobs.list_page(connection, owner.id, 10, None, ["CANCELLED"])
        assert jobs.list_page(connection, owner.id, 10, None, ["FAILED", "RUNNING"]) == []
        assert len(jobs.list_page(connection, owner.id, 10, None, STATES)) == 7
    assert [row.id for row in seen] == [row.id for row in sorted(seen, key=lambda r: (r.created_at, r.id))][::-1]
    assert {row.id for row in seen} == {row.id for row in made}
    assert {row.id for row in cancelled} == {made[2].id, made[5].id}


def test_the_position_in_the_queue_is_the_order_of_claims(database):
    owner, made = make_queue(database, 5)
    in_order = sorted(made, key=lambda row: (row.created_at, row.id))
    with database.read() as connection:
        assert [jobs.queue_position(connection, row) for row in in_order] == [0, 1, 2, 3, 4]
    claimed = ledger.claim(database, "w", 60)
    assert claimed.job.id == in_order[0].id
    ledger.cancel(database, owner.id, in_order[1].id)
    with database.read() as connection:
        assert jobs.queue_position(connection, claimed.job) == 0
        assert jobs.queue_position(connection, in_order[2]) == 0
        assert jobs.queue_position(connection, in_order[4]) == 2


def test_the_last_events_of_many_jobs_are_told_at_once(database):
    owner, made = make_queue(database, 3)
    ledger.cancel(database, owner.id, made[1].id)
    with database.read() as connection:
        assert jobs.last_seqs(connection, [row.id for row in made] + ["nothing"]) == {
            made[0].id: 1,
            made[1].id: 2,
            made[2].id: 1,
        }
        assert jobs.last_seqs(connection, []) == {}


def test_text_of_any_language_is_kept(database):
    kim = make_user(database)
    made = make_job(database, kim, make_dataset(database, kim), display_name="집값 예측 🏠 'x'; --")
    assert job_of(database, made.id).display_name == "집값 예측 🏠 'x'; --"
