"""Events: numbered without a gap, whoever appends."""

import pytest
from sqlalchemy.event import listen

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
        assert events.findings(connection, job.id) == ["c"]
        assert events.last_of_kind(connection, job.id, "log") == "a"
        assert events.last_of_kind(connection, other.id, "finding") is None
        assert abs(found[0].time - now(connection)) < 10
        assert jobs.last_seqs(connection, [job.id]) == {job.id: 4}


def test_findings_are_found_without_a_look_at_the_epochs(database):
    _, (job,) = make_queue(database)
    append(database, job, ("finding", "a"), *[("epoch", str(number)) for number in range(2000)], ("finding", "b"))
    sent = []
    with database.write() as connection:
        # What the planner of PostgreSQL goes by; SQLite has the same words.
        connection.exec_driver_sql("ANALYZE")
    with database.read() as connection:
        listen(connection, "before_cursor_execute", lambda _, __, *statement: sent.append(statement[:2]))
        assert events.findings(connection, job.id) == ["a", "b"]
        [(sql, parameters)] = sent
        how = "EXPLAIN" if connection.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
        plan = str(connection.exec_driver_sql(f"{how} {sql}", parameters).all())
    assert "ix_event_finding" in plan


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
