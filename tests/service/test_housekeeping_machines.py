"""Housekeeping of two machines with one PostgreSQL and one bucket: their only common locks are the database's."""

import dataclasses
import hashlib
import threading

import pytest

from service import datasets, housekeeping
from service.data.remote_objects import RemoteObjects
from service.housekeeping import House
from service.housekeeping_thread import Housekeeper
from service.store import datasets as dataset_store
from service.store.database import Database
from tests.s3 import BUCKET, OwnS3
from tests.service.apps import make_app, make_caller, push
from tests.service.store.rows import only

RAW = b"a,b\n5,6\n"
# As if everything in the bucket had lain there for ever: a bucket's times cannot be set back.
NO_GRACE = -10.0

pytestmark = only("postgresql")


@pytest.fixture(scope="module")
def s3():
    with OwnS3() as server:
        yield server


@pytest.fixture
def machine(s3, database_url, tmp_path, monkeypatch):
    """Makes the app of a machine by its name, with a database pool, a data folder and a cache of its own."""
    for name, value in s3.environ.items():
        monkeypatch.setenv(name, value)
    made = []

    def make(name):
        app = make_app(Database(database_url), tmp_path / name, TRAIND_HOUSEKEEPING_S="0")
        made.append(app)
        url = f"s3://{BUCKET}/{tmp_path.name}"
        objects = RemoteObjects(url, app.settings.cache_dir, app.settings.tmp_dir, 1 << 30)
        return dataclasses.replace(app, objects=objects)

    yield make
    for app in made:
        app.database.dispose()


def orphan(app):
    path = app.objects.new_tmp(".file")
    path.write_bytes(b"nobody names it")
    return app.objects.put(path)


def without_grace(app):
    return dataclasses.replace(app.settings, keep_orphans_s=NO_GRACE)


def objects_kind(app, settings):
    return [kind for kind in House(settings, app.database, app.objects).kinds() if kind.name == "objects"]


def test_one_machine_at_a_time_collects_what_all_share(machine):
    here, there = machine("here"), machine("there")
    lost = orphan(here)
    keeper = Housekeeper(without_grace(there), there.database, there.objects)
    with here.database.keeping_house() as alone:
        assert alone
        assert not keeper._round()
        assert there.objects.look(lost) is not None
    assert keeper._round()
    assert there.objects.look(lost) is None


@pytest.mark.parametrize("grace", [True, False])
def test_what_another_machine_has_just_stored_stays(machine, monkeypatch, grace):
    """Between the arrival of its files in the bucket and its row, where no lock of the other machine is seen.

    Without the grace it goes, which shows that the test looks at the right moment.
    """
    here, there = machine("here"), machine("there")
    kim = make_caller(here, "kim")
    arrived, go_on = threading.Event(), threading.Event()
    add_version = dataset_store.add_version

    def slow(*arguments, **values):
        arrived.set()
        assert go_on.wait(60)
        return add_version(*arguments, **values)

    monkeypatch.setattr(dataset_store, "add_version", slow)
    making = threading.Thread(target=push, args=(here, kim, RAW))
    making.start()
    try:
        assert arrived.wait(60)
        settings = there.settings if grace else without_grace(there)
        [tally] = housekeeping.clean(objects_kind(there, settings))
        assert (tally.failed, tally.count) == ("", 0 if grace else 2)
    finally:
        go_on.set()
        making.join(60)
    row = datasets.find_dataset(here, kim, "table", "name")
    assert row.sha256 == hashlib.sha256(RAW).hexdigest()
    assert (there.objects.look(row.table_sha256) is not None) == grace


def test_bytes_that_come_again_from_another_machine_are_young(machine):
    """An orphan was found; before it is collected the other machine stores the same bytes for a row to come."""
    here, there = machine("here"), machine("there")
    lost = orphan(here)
    [found] = objects_kind(there, without_grace(there))[0].find()
    orphan(here)
    [kind] = objects_kind(there, there.settings)
    assert not kind.collect(found)
    assert there.objects.look(lost) is not None
