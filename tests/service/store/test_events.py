"""Events: numbered without a gap, whoever appends."""

import pytest

from service.store import events, jobs
from service.store.database import now
from tests.contenders import contend
from tests.service.store.rows import make_queue


def append(database, job, *bodies):
    with database.write() as connection:
        return events.append_all(connection, job.id, 1, bodies)


def test_events_are_read_from_a_number_on(database):
    _, (job, other) = make_queue(database, 2)
    assert append(database, job, ("log", "a"), ("epoch", "b"), ("finding", "c")) == 4
    append(database, other, ("log", "d"))
    with database.read() as connection:
        found = events.list_from(connection, job.id, 2, 2)
        assert [(row.seq, row.kind, row.body_json, row.attempt) for row in found] == [
            (2, "log", "a", 1),
            (3, "epoch", "b", 1),
        ]
        assert [row.seq for row in events.list_from(connection, job.id, 0, 100)] == [1, 2, 3, 4]
        assert events.list_from(connection, job.id, 5, 100) == []
        assert [row.body_json for row in events.of_kind(connection, job.id, "finding")] == ["c"]
        assert abs(found[0].time - now(connection)) < 10
        assert jobs.last_seqs(connection, [job.id]) == {job.id: 4}


def test_one_event_is_appended_and_its_number_told(database):
    _, (job,) = make_queue(database)
    with database.write() as connection:
        assert events.append(connection, job.id, 0, "log", "x") == 2
        assert events.append(connection, job.id, 0, "log", "y") == 3


def test_what_is_rolled_back_leaves_no_gap(database):
    _, (job,) = make_queue(database)

    def append_and_break():
        with database.write() as connection:
            events.append(connection, job.id, 0, "log", "lost")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        append_and_break()
    assert append(database, job, ("log", "kept")) == 2


def test_an_event_of_no_job_is_refused(database):
    with pytest.raises(LookupError), database.write() as connection:
        events.append(connection, "nothing", 0, "log", "x")


def test_processes_that_append_at_once_leave_no_gap(database, database_url):
    _, (job,) = make_queue(database)
    numbers = contend("append_events", database_url, job.id)
    assert sorted(number for each in numbers for number in each) == list(range(2, 202))
    assert all(each == sorted(each) for each in numbers)
    with database.read() as connection:
        assert [row.seq for row in events.list_from(connection, job.id, 1, 1000)] == list(range(1, 202))
