"""The queue in SQL: in the order in which it is served, counted in the index, quick where thousands wait."""

import time

import pytest

from service import ledger
from service.store import queue, workers
from service.store.queue import Place
from tests.service.store.rows import double_jobs, make_dataset, make_job, make_user

MANY = 10 << 9


def place_of(row):
    return Place(row.state == "QUEUED", row.created_at, row.id)


def pages(database, size):
    """All rows, page by page."""
    rows, after = [], None
    with database.read() as connection:
        while page := queue.page(connection, size, after):
            assert len(page) <= size
            rows += page
            after = place_of(page[-1])
    return rows


@pytest.fixture
def crowd(database):
    """kim's and lee's jobs in turn: two run, one is paused, one was cancelled, five wait."""
    kim, lee = make_user(database, "kim"), make_user(database, "lee")
    dataset = make_dataset(database, kim)
    made = [make_job(database, owner, dataset) for owner in (kim, lee) * 5]
    # Those of one millisecond, which is as fine as SQLite's clock goes, are served in the order of their ids.
    made.sort(key=lambda job: (job.created_at, job.id))
    claims = [ledger.claim(database, f"host:{n}", 60) for n in range(3)]
    ledger.pause(database, claims[1].job.owner_id, claims[1].job.id)
    ledger.cancel(database, claims[2].job.owner_id, claims[2].job.id)
    ledger.settle_stopped(database, claims[2])
    ledger.pause(database, made[5].owner_id, made[5].id)
    return kim, lee, made


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages_lead_through_it_once_as_it_is_served(database, crowd, size):
    _, _, made = crowd
    rows = pages(database, size)
    assert [row.id for row in rows] == [job.id for n, job in enumerate(made) if n not in (2, 5)]
    assert [row.state for row in rows] == ["RUNNING", "PAUSING", *["QUEUED"] * 6]
    assert [row.worker for row in rows[:3]] == ["host:0", "host:1", ""]
    claimed = [ledger.claim(database, "w", 60).job.id for _ in range(6)]
    assert claimed == [row.id for row in rows[2:]], "the claim serves in another order than the queue tells"


def test_counts_are_those_of_the_rows(database, crowd):
    kim, lee, _ = crowd
    waiting = [row for row in pages(database, 100) if row.state == "QUEUED"]
    with database.read() as connection:
        assert queue.count_holding(connection) == 2
        assert queue.count_waiting(connection) == len(waiting) == 6
        assert queue.count_before(connection, None) == {}
        counted = queue.count_before(connection, place_of(waiting[3]))
    owners = [row.owner_id for row in waiting[:4]]
    assert counted == {owner.id: owners.count(owner.id) for owner in (kim, lee)}


def test_a_job_that_lost_its_worker_tells_how_long_it_is_held_back(database):
    kim = make_user(database)
    make_job(database, kim, make_dataset(database, kim))
    claim = ledger.claim(database, "w", 60)
    ledger.lost(database, claim, "killed")
    (row,) = pages(database, 10)
    assert (row.state, row.worker) == ("QUEUED", "")
    assert 0 < row.back_off_s <= 1


def test_workers_count_while_they_say_that_they_live(database):
    with database.write() as connection:
        workers.announce(connection, "lab1:1", ("cpu",), 4, 60)
        workers.announce(connection, "lab1:2", ("cuda", "cpu"), 1, 60)
        workers.announce(connection, "lab2:1", ("cpu",), 8, -1)
    with database.write() as connection:
        workers.announce(connection, "lab1:1", ("cpu",), 2, 60)
        found = workers.alive(connection)
    assert [(w.name, w.host, w.devices, w.slots) for w in found] == [
        ("lab1:1", "lab1", ("cpu",), 2),
        ("lab1:2", "lab1", ("cuda", "cpu"), 1),
    ]
    with database.write() as connection:
        workers.leave(connection, "lab1:1")
        assert [w.name for w in workers.alive(connection)] == ["lab1:2"]


def test_a_worker_that_was_long_silent_is_forgotten(database):
    with database.write() as connection:
        workers.announce(connection, "old:1", ("cpu",), 1, -workers.FORGOTTEN_S - 1)
        workers.announce(connection, "silent:1", ("cpu",), 1, -workers.FORGOTTEN_S + 60)
        workers.announce(connection, "new:1", ("cpu",), 1, 60)
        assert workers.gone(connection) == ["old:1"]
        assert [workers.forget(connection, name) for name in ("old:1", "silent:1", "new:1")] == [True, False, False]
        names = connection.exec_driver_sql("SELECT name FROM worker ORDER BY name").scalars().all()
        assert names == ["new:1", "silent:1"]


@pytest.fixture
def thousands(database):
    """So many waiting jobs of two users, in turn."""
    kim, lee = make_user(database, "kim"), make_user(database, "lee")
    dataset = make_dataset(database, kim)
    for number in range(10):
        make_job(database, (kim, lee)[number % 2], dataset)
    double_jobs(database, 9)
    if database.kind == "postgresql":
        # An index alone answers only where pages are known to be seen by all: what autovacuum does in its time.
        with database._reached() as connection:
            driver = connection.connection.driver_connection
            connection.rollback()
            driver.autocommit = True
            driver.execute("VACUUM ANALYZE job")
            driver.autocommit = False
    return kim, lee


def plan_of(connection, statement, **given):
    """How the database would run a statement that was run before."""
    compiled = statement._by_dialect[connection.dialect.name]
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled.sql}", compiled.arranged(given))
        return "\n".join(row[3] for row in rows)
    return "\n".join(connection.exec_driver_sql(f"EXPLAIN {compiled.sql}", compiled.arranged(given)).scalars())


@pytest.mark.parametrize("analyzed", [False, True])
def test_counting_looks_at_the_index_alone(database, thousands, analyzed):
    if database.kind == "sqlite" and analyzed:
        with database.write() as connection:
            connection.exec_driver_sql("ANALYZE")
    with database.read() as connection:
        queue.count_waiting(connection), queue.count_holding(connection)
        queue.count_before(connection, Place(waiting=True, created_at=2e9, job_id="x"))
        if database.kind == "postgresql":
            # Where every row of a small table waits, reading all of it would be as good.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
        place = {"created_at": 2e9, "job_id": "x"}
        plans = [plan_of(connection, queue._COUNT_WAITING), plan_of(connection, queue._COUNT_HELD)]
        plans.append(plan_of(connection, queue._COUNT_UP_TO, **place))
    alone = "USING COVERING INDEX ix_job_queue" if database.kind == "sqlite" else "Index Only Scan using ix_job_queue"
    for plan in plans:
        assert alone in plan, plan


def test_a_page_reads_its_own_rows_only(database, thousands):
    """Behind the place where it begins, without a sort of those that wait."""
    with database.read() as connection:
        rows = queue.page(connection, 50, None)
        queue.page(connection, 50, place_of(rows[-1]))
        given = {"created_at": rows[-1].created_at, "job_id": rows[-1].id, "rows": 50}
        plan = plan_of(connection, queue._WAITING_AFTER, **given)
    if database.kind == "sqlite":
        assert "USING INDEX ix_job_queue (state=? AND (created_at,id)>(?,?))" in plan, plan
        assert "TEMP B-TREE" not in plan, plan
    else:
        assert "Index Scan using ix_job_queue" in plan, plan
        assert "Sort" not in plan, plan


@pytest.mark.alone
def test_five_thousand_cost_little(database, thousands):
    """First page, last page: all that one call reads, in less than 50 ms."""
    rows = pages(database, 1000)
    assert len(rows) == MANY
    for after in (None, place_of(rows[-51])):
        took = []
        for _ in range(5):
            began = time.perf_counter()
            with database.read() as connection:
                page = queue.page(connection, 50, after)
                queue.count_before(connection, after)
                queue.count_holding(connection)
                queue.count_waiting(connection)
                workers.alive(connection)
            took.append(time.perf_counter() - began)
            assert len(page) == 50
        print(database.kind, "last page" if after else "first page", f"{sorted(took)[2] * 1000:.1f} ms")
        assert sorted(took)[2] < 0.05
