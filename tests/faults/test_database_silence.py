"""A database server that goes on living and says nothing: no thread waits for it for ever."""

import time

import pytest
import sqlalchemy

from service import ledger
from service.errors import DatabaseUnavailable
from service.store import failures, moves, silence, users
from service.store.database import Database
from tests import servers
from tests.faults.own_servers import Postgres
from tests.faults.proxy import Proxy
from tests.service.store import rows
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def server():
    try:
        with Postgres() as made:
            yield made
    except servers.NoServer as error:
        servers.missing(error)


@pytest.fixture
def database(server, monkeypatch):
    monkeypatch.setattr(silence, "SILENCE_S", 1.0)
    monkeypatch.setattr(silence.Impatient, "silence_s", 1.0)
    with Proxy(server.door) as proxy:
        made = Database(server.at(proxy.address))
        made.migrate()
        yield made, proxy
        proxy.heal()
        made.dispose()


def count(database):
    with database.read() as connection:
        return len(users.list_users(connection))


@pytest.mark.alone
def test_a_frozen_server_is_given_up_and_found_again(server, database):
    database, _ = database
    before = count(database)
    with server.frozen():
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            count(database)
        assert 0.9 < time.monotonic() - began < 8
    assert count(database) == before


def test_a_black_hole_in_the_middle_of_a_transaction_is_given_up(database):
    database, proxy = database
    before = count(database)
    went_dark = []

    def add():
        with database.write() as connection:
            users.add_user(connection, "kim")
            proxy.inflict(black_hole=True)
            went_dark.append(time.monotonic())

    with pytest.raises(DatabaseUnavailable):
        add()
    assert 0.9 < time.monotonic() - went_dark[0] < 3, "one silence, and no more for what follows it"
    proxy.heal()
    assert count(database) in {before, before + 1}, "a commit that went unanswered may have been made"


def test_a_slow_answer_is_waited_for_as_long_as_something_comes(server, database):
    database, proxy = database
    count(database)
    proxy.inflict(bytes_per_s=400)
    began = time.monotonic()
    with database.read() as connection:
        long = connection.exec_driver_sql("SELECT repeat('x', 1000)").scalar()
    assert len(long) == 1000
    assert time.monotonic() - began > 2


def test_a_migration_may_take_as_long_as_it_does(server, database):
    database, _ = database
    with database._reached() as connection:
        with silence.patient(connection):
            connection.exec_driver_sql("SELECT pg_sleep(1.5)")
        assert connection.connection.driver_connection.silence_s == 1.0


def test_a_server_that_was_killed_comes_back_with_its_data(server, database):
    database, _ = database
    before = count(database)
    server.away(0.0).join()
    assert count(database) == before


def test_a_connection_that_was_ended_in_a_transaction_is_told(server, database):
    database, _ = database
    before = count(database)

    def add():
        with database.write() as connection:
            users.add_user(connection, "lee")
            assert server.terminate_backends() >= 1
            users.list_users(connection)

    with pytest.raises(DatabaseUnavailable):
        add()
    assert count(database) == before


@pytest.mark.alone
def test_a_job_locked_by_one_who_was_cut_off_keeps_no_other_from_its_rescue(server, database):
    """The sweep passes it over, and finds it once the server has let go of the silent one's locks."""
    _, proxy = database
    cut_off, sweeping = Database(server.at(proxy.address), idle_s=2.0), Database(server.url)
    owner = rows.make_user(sweeping, "sam")
    dataset = rows.make_dataset(sweeping, owner)
    with sweeping.write() as connection:
        for _ in range(2):
            rows.add_job(connection, owner, dataset)
    first, second = (ledger.claim(sweeping, "there:1", 0.01) for _ in range(2))
    silent = cut_off._writers.connect()
    silent.begin()
    assert moves.touch(silent, first.job.id, first.attempt)
    proxy.inflict(black_hole=True)
    began = time.monotonic()
    wait_until(lambda: ledger.reconcile(sweeping).expired, "the other is found", 2)
    assert time.monotonic() - began < 1.5
    with sweeping.read() as connection:
        assert moves.standing(connection, first.job.id).state == "RUNNING"
        assert moves.standing(connection, second.job.id).state == "QUEUED"
    wait_until(lambda: ledger.reconcile(sweeping).expired, "the server lets go of the first", 6, 0.05)
    proxy.heal()
    with pytest.raises(sqlalchemy.exc.DBAPIError) as ended:
        moves.touch(silent, first.job.id, first.attempt)
    assert isinstance(failures.translated(ended.value), DatabaseUnavailable)
    silent.close()
    for one in (cut_off, sweeping):
        one.dispose()
