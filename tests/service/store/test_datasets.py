"""Data sets: immutable versions, counted one by one, deleted only while no job needs them."""

import threading

import pytest

from service.errors import NotFound
from service.store import datasets
from service.store.paging import newest_first
from service.store.tables import dataset as dataset_table
from tests.contenders import contend
from tests.service.store.rows import add_job, make_dataset, make_job, make_user


def test_other_bytes_are_the_next_version_and_the_same_bytes_the_same(database):
    kim = make_user(database)
    first = make_dataset(database, kim, sha256="a")
    second = make_dataset(database, kim, sha256="b")
    assert (first.version, second.version) == (1, 2)
    assert make_dataset(database, kim, sha256="a") == first
    # Read in another way the same file is another table.
    assert make_dataset(database, kim, sha256="a", options_sha256="as text").version == 3
    assert make_dataset(database, kim, "other", sha256="a").version == 1
    assert first.name == "datasets/kim.penguins/versions/1"


def test_a_data_set_is_found_by_version_or_as_the_newest(database):
    kim, lee = make_user(database, "kim"), make_user(database, "lee")
    first, second = make_dataset(database, kim), make_dataset(database, kim)
    with database.read() as connection:
        assert datasets.find(connection, kim.id, "penguins", 1) == first
        assert datasets.find(connection, kim.id, "penguins", None) == second
        assert datasets.find(connection, kim.id, "penguins", 3) is None
        assert datasets.find(connection, lee.id, "penguins", None) is None
        assert datasets.find_by_id(connection, first.id) == first
        assert datasets.find_by_id(connection, "nothing") is None


def test_versions_are_counted_one_by_one_by_processes_at_once(database, database_url):
    kim = make_user(database)
    numbers = contend("add_versions", database_url, kim.id)
    assert sorted(number for each in numbers for number in each) == list(range(1, 41))


def test_pages_are_newest_first_without_gap_or_overlap(database):
    kim, lee = make_user(database, "kim"), make_user(database, "lee")
    made = [make_dataset(database, kim) for _ in range(7)]
    make_dataset(database, lee)
    seen, before = [], None
    with database.read() as connection:
        while page := datasets.list_page(connection, kim.id, 3, before):
            assert len(page) <= 3
            seen += page
            before = (page[-1].created_at, page[-1].id)
    assert sorted(row.id for row in seen) == sorted(row.id for row in made)
    assert [(row.created_at, row.id) for row in seen] == sorted(((r.created_at, r.id) for r in made), reverse=True)


def test_a_page_is_read_from_its_index(database):
    import sqlalchemy

    kim = make_user(database)
    query = newest_first(
        sqlalchemy.select(dataset_table).where(dataset_table.c.owner_id == kim.id), dataset_table, 50, (1.0, "x")
    )
    text = str(query.compile(dialect=database._engine.dialect, compile_kwargs={"literal_binds": True}))
    with database.read() as connection:
        if database.kind == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
            plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN {text}").scalars())
        else:
            plan = "\n".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}"))
    assert "ix_dataset_page" in plan
    assert "sort" not in plan.lower()
    assert "TEMP B-TREE" not in plan


def test_a_deletion_answers_what_it_deleted(database):
    kim, lee = make_user(database, "kim"), make_user(database, "lee")
    first, second, third = (make_dataset(database, kim) for _ in range(3))
    kept = make_dataset(database, lee)
    with database.write() as connection:
        assert datasets.delete(connection, lee.id, "penguins", 2) == []
        assert datasets.delete(connection, kim.id, "penguins", 2) == [second]
        assert sorted(datasets.delete(connection, kim.id, "penguins", None), key=lambda r: r.version) == [first, third]
        assert datasets.delete(connection, kim.id, "penguins", None) == []
        assert datasets.find_by_id(connection, kept.id) == kept


def test_an_object_is_in_use_as_file_and_as_table(database):
    kim = make_user(database)
    made = make_dataset(database, kim, sha256="file", table_sha256="table")
    with database.write() as connection:
        assert datasets.object_in_use(connection, "file")
        assert datasets.object_in_use(connection, "table")
        assert not datasets.object_in_use(connection, "other")
        datasets.delete(connection, kim.id, made.slug, made.version)
        assert not datasets.object_in_use(connection, "file")


def test_only_jobs_that_have_not_ended_use_a_data_set(database):
    from service import ledger

    kim = make_user(database)
    used, idle = make_dataset(database, kim), make_dataset(database, kim)
    waiting, ended = make_job(database, kim, used), make_job(database, kim, used)
    ledger.cancel(database, kim.id, ended.id)
    with database.write() as connection:
        assert datasets.in_use(connection, [used.id, idle.id]) == [waiting.id]
        assert datasets.in_use(connection, [idle.id]) == []
        assert datasets.in_use(connection, []) == []


def test_a_job_cannot_slip_in_between_the_question_and_the_deletion(database):
    """On either database the submission waits for the deletion, and then finds no data set."""
    kim = make_user(database)
    made = make_dataset(database, kim)
    outcome = []

    def submit():
        try:
            with database.write() as connection:
                outcome.append(add_job(connection, kim, made))
        except NotFound as error:
            outcome.append(error)

    with database.write() as connection:
        assert datasets.in_use(connection, [made.id]) == []
        thread = threading.Thread(target=submit)
        thread.start()
        thread.join(0.2)
        assert outcome == []
        datasets.delete(connection, kim.id, made.slug, made.version)
    thread.join(10)
    assert isinstance(outcome[0], NotFound)


def test_a_job_of_no_data_set_is_refused(database):
    kim = make_user(database)
    made = make_dataset(database, kim)
    with database.write() as connection:
        datasets.delete(connection, kim.id, made.slug, None)
    with pytest.raises(NotFound, match=r"datasets/kim\.penguins"):
        make_job(database, kim, made)
