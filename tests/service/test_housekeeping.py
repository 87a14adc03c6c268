"""Housekeeping on both databases: a dry run changes nothing and tells the truth, nothing that is needed goes, a crash
anywhere leaves a state that the next run completes.
"""

import contextlib
import dataclasses
import os
import signal
import threading
from types import SimpleNamespace

import pytest

from service import datasets, housekeeping, uploads
from service.data import tmp_files
from service.data.objects import ObjectFolder
from service.errors import ObjectsUnavailable
from service.housekeeping import House
from service.settings import SettingError, Settings
from service.store import artifacts, jobs
from service.store import datasets as dataset_store
from service.store.database import Database
from service.store.tables import artifact, metadata
from tests.service.apps import create, files_in, make_app, make_caller, open_upload, push
from tests.service.dying import killed_at
from tests.service.litter import CHUNK, KINDS, Litter, assert_nothing_lost, bare
from tests.service.store.rows import add_job
from tests.service.store.test_artifacts import count, publish
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(artifacts, "CHUNK_BYTES", CHUNK)


@pytest.fixture
def app(database, tmp_path):
    return make_app(database, tmp_path)


@pytest.fixture
def kim(app):
    return make_caller(app, "kim")


@pytest.fixture
def litter(app, kim):
    return Litter(app, kim)


def kinds_of(app, **changes):
    settings = dataclasses.replace(app.settings, **changes)
    return House(settings, app.database, app.objects).kinds()


def only(name, app, **changes):
    return [kind for kind in kinds_of(app, **changes) if kind.name == name]


def told(tallies):
    assert [tally.failed for tally in tallies] == [""] * len(tallies)
    return {tally.kind: (tally.count, tally.size_bytes) for tally in tallies}


def contents(app):
    """Every row of every table, and every file with its bytes."""
    with app.database.read() as connection:
        rows = {
            name: sorted(map(repr, connection.exec_driver_sql(f"SELECT * FROM {name}"))) for name in metadata.tables
        }
    files = {str(path): path.read_bytes() for path in app.settings.data_dir.rglob("*") if path.is_file()}
    return rows, {path: data for path, data in files.items() if "/traind.db" not in path}


def test_a_dry_run_changes_nothing_and_says_what_the_real_one_then_collects(app, litter):
    before = contents(app)
    foretold = housekeeping.look(kinds_of(app))
    assert contents(app) == before
    assert told(foretold) == litter.tallies()
    assert [tally.kind for tally in foretold] == list(KINDS)
    assert housekeeping.clean(kinds_of(app)) == foretold
    assert_nothing_lost(litter)
    assert told(housekeeping.look(kinds_of(app))) == dict.fromkeys(KINDS, (0, 0))


def test_examples_are_ids_that_can_be_looked_up(app, litter):
    examples = {tally.kind: tally.examples for tally in housekeeping.look(kinds_of(app))}
    assert examples["checkpoints"] == (f"jobs/{litter.jobs['old']}",)
    assert examples["webhooks"] == (f"jobs/{litter.jobs['old']}",)
    assert examples["workers"] == ("gone:1",)
    for kind in set(KINDS) - {"checkpoints", "webhooks"}:
        assert set(examples[kind]) <= set(litter.garbage[kind])
        assert len(examples[kind]) == min(len(litter.garbage[kind]), housekeeping.EXAMPLES)


def test_a_job_without_its_checkpoints_names_none(app, litter):
    housekeeping.clean(only("checkpoints", app))
    with app.database.read() as connection:
        named = dict(connection.exec_driver_sql("SELECT id, checkpoint_id FROM job").all())
    assert named[litter.jobs["old"]] is None
    assert None not in {named[litter.jobs["new"]], named[litter.jobs["live"]]}


@pytest.mark.parametrize(("keep_s", "kept"), [(0, {"live"}), (30, {"live"}), (120, {"live", "new"})])
def test_checkpoints_stay_as_long_as_the_setting_says(app, litter, keep_s, kept):
    housekeeping.clean(only("checkpoints", app, keep_checkpoints_s=keep_s))
    with app.database.read() as connection:
        holders = set(connection.exec_driver_sql("SELECT holder FROM artifact_ref").scalars())
    assert holders - {"model:kept"} == {f"job:{litter.jobs[name]}" for name in kept}


@pytest.mark.parametrize(("keep_s", "kept"), [(0, {"slow"}), (30, {"slow"}), (120, {"slow", "new"})])
def test_webhooks_are_known_as_long_as_the_setting_says(app, litter, keep_s, kept):
    """One that waits is never forgotten, however old."""
    housekeeping.clean(only("webhooks", app, keep_webhooks_s=keep_s))
    with app.database.read() as connection:
        assert set(connection.exec_driver_sql("SELECT target FROM webhook").scalars()) == kept


def test_a_checkpoint_that_another_job_holds_too_stays(app, litter):
    shared = next(iter(litter.garbage["checkpoints"]))
    with app.database.write() as connection:
        connection.exec_driver_sql(f"INSERT INTO artifact_ref VALUES ('{shared}', 'job:{litter.jobs['live']}')")
    foretold = told(housekeeping.look(only("checkpoints", app)))["checkpoints"]
    assert foretold == told(housekeeping.clean(only("checkpoints", app)))["checkpoints"]
    assert foretold == (2, litter.tallies()["checkpoints"][1] - litter.garbage["checkpoints"][shared])
    assert len(artifacts.load(app.database, shared)) == litter.garbage["checkpoints"][shared]


def test_a_job_that_is_being_forked_keeps_its_checkpoint_for_the_fork(app, litter):
    """Collected between the hold of the parent's checkpoint and the fork's commit: that waits, and all is there."""
    with app.database.read() as connection:
        old = jobs.find_by_id(connection, litter.jobs["old"])
    cleaning = threading.Thread(target=housekeeping.clean, args=[only("checkpoints", app)])
    with app.database.write() as connection:
        held = jobs.hold_checkpoint(connection, old.id)
        cleaning.start()
        cleaning.join(0.5)
        assert cleaning.is_alive()
        owner, dataset = SimpleNamespace(id=old.owner_id), SimpleNamespace(id=old.dataset_id)
        child = add_job(connection, owner, dataset, parent_id=old.id, checkpoint_id=held)
    cleaning.join(20)
    with app.database.write() as connection:
        assert jobs.hold_checkpoint(connection, old.id) is None
        holders = connection.exec_driver_sql(f"SELECT holder FROM artifact_ref WHERE artifact_id = '{held}'")
        assert holders.scalars().all() == [f"job:{child.id}"]
    assert len(artifacts.load(app.database, held)) == litter.garbage["checkpoints"][held]


# Points at which one run is killed, at the least: three of each transaction, two of each file that goes.
LEAST_CHANGES = {"staged": 21, "orphans": 9, "checkpoints": 15, "uploads": 5}
LEAST_CHANGES |= {"scratch": 6, "objects": 2, "webhooks": 6, "workers": 3}


def clean_dying(url, app):
    """Clean with a death before or after each change."""

    def act(death):
        class Dying(Database):
            @contextlib.contextmanager
            def write(self):
                death()
                with super().write() as connection:
                    yield connection
                    death()
                death()

        death.around(tmp_files, "remove")
        death.around(ObjectFolder, "delete")
        objects = ObjectFolder(app.objects.root, app.objects.tmp)
        housekeeping.clean(House(app.settings, Dying(url), objects).kinds())

    return act


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_anywhere_leaves_a_state_that_the_next_run_completes(database_url, app, litter, kind):
    """Killed at the first change, from the same state at the second, and so on, until one run comes to its end."""
    housekeeping.clean(kinds_of(app))
    number, killed = 0, True
    while killed:
        number += 1
        litter.fill(kind)
        # A connection of before a fork must not be open in it.
        app.database.dispose()
        killed = killed_at(number, clean_dying(database_url, app))
        assert_nothing_lost(litter)
        left = told(housekeeping.look(kinds_of(app)))
        assert told(housekeeping.clean(kinds_of(app))) == left
        assert told(housekeeping.look(kinds_of(app))) == dict.fromkeys(KINDS, (0, 0))
        assert_nothing_lost(litter)
    assert number > LEAST_CHANGES[kind]
    with app.database.read() as connection:
        artifacts_left = set(connection.exec_driver_sql("SELECT id FROM artifact").scalars())
        chunks_left = set(connection.exec_driver_sql("SELECT artifact_id FROM artifact_chunk").scalars())
    assert artifacts_left == chunks_left == {*litter.kept_artifacts, *litter.young_staged}


def expire(app, name):
    with app.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE upload SET expires_at = 1 WHERE id = '{bare(name)}'")


def test_an_upload_that_a_call_holds_stays_until_it_lets_go(app, kim):
    """A data set is made of it for longer than its hour: the file must be there to the end."""
    name = open_upload(app, kim)
    uploads.write_chunk(app, kim, name, 0, b"a\n1\n")
    with uploads.hold_upload(app, kim, name, "name") as (_, path):
        expire(app, name)
        assert told(housekeeping.look(only("uploads", app))) == {"uploads": (0, 0)}
        found = housekeeping.Item(bare(name), 4)
        # As if it had been held only after it was found.
        assert [kind.collect(found) for kind in only("uploads", app)] == [False]
        assert told(housekeeping.clean(kinds_of(app)))["uploads"] == (0, 0)
        assert path.read_bytes() == b"a\n1\n"
    assert told(housekeeping.clean(only("uploads", app))) == {"uploads": (1, 4)}
    assert files_in(app.settings.tmp_dir) == []


def test_uploads_that_are_written_and_read_lose_nothing(app, kim):
    """Uploads are opened, written and made data sets, while another thread cleans without a pause."""
    stop = threading.Event()
    failures = []

    def clean():
        # Whatever has no row, or a row that has expired, at whatever age; but for a file that is made before its row.
        kinds = kinds_of(app, keep_orphans_s=1.0)
        while not stop.is_set():
            failures.extend(tally.failed for tally in housekeeping.clean(kinds) if tally.failed)

    cleaner = threading.Thread(target=clean)
    cleaner.start()
    try:
        names = [push(app, kim, f"a,b\n{number},2\n".encode(), f"table{number}").name for number in range(8)]
    finally:
        stop.set()
        cleaner.join()
    assert failures == []
    for name in names:
        row = datasets.find_dataset(app, kim, name, "name")
        assert ObjectFolder(app.objects.root, app.objects.tmp).fetch(row.sha256).read_bytes().startswith(b"a,b\n")
        assert datasets.open_table(app, row)


@pytest.mark.parametrize("locks", [True, False])
def test_the_objects_of_a_data_set_under_way_stay(app, kim, monkeypatch, locks):
    """Cleaned between the arrival of its files and its row, with no grace at all: only the lock keeps them.

    Without the lock they go, which shows that the test looks at the right moment.
    """
    arrived, go_on = threading.Event(), threading.Event()
    add_version = dataset_store.add_version

    def slow(*arguments, **values):
        arrived.set()
        assert go_on.wait(20)
        return add_version(*arguments, **values)

    monkeypatch.setattr(dataset_store, "add_version", slow)
    if not locks:
        monkeypatch.setattr(ObjectFolder, "locked", lambda _: contextlib.nullcontext())
    making = threading.Thread(target=push, args=(app, kim, b"a,b\n5,6\n"))
    making.start()
    assert arrived.wait(20)
    kinds = only("objects", app, keep_orphans_s=-10.0)
    assert told(housekeeping.look(kinds))["objects"][0] == 2
    tallies = []
    cleaning = threading.Thread(target=lambda: tallies.extend(housekeeping.clean(kinds)))
    cleaning.start()
    if not locks:
        cleaning.join(20)
    go_on.set()
    making.join(20)
    cleaning.join(20)
    assert told(tallies)["objects"][0] == (0 if locks else 2)
    row = datasets.find_dataset(app, kim, "table", "name")
    assert app.objects.path(row.table_sha256).exists() == locks


def test_the_same_bytes_that_come_again_are_not_taken_for_old(app, kim, litter):
    """An object that was found as an orphan becomes a data set's before it is collected."""
    [kind] = only("objects", app)
    found = kind.find()
    assert len(found) == 1
    raw = app.objects.path(found[0].id).read_bytes()
    path = app.objects.new_tmp(".file")
    path.write_bytes(raw)
    app.objects.put(path)
    # It lies there anew, perhaps for a row that comes in a moment.
    assert kind.collect(found[0]) is False
    assert app.objects.path(found[0].id).read_bytes() == raw


def test_jobs_that_end_and_checkpoints_that_come_lose_nothing(database, app):
    """Long values are staged, published and released while another thread cleans without a pause."""
    stop = threading.Event()

    def clean():
        kinds = kinds_of(app, keep_orphans_s=-10.0, keep_checkpoints_s=0)
        while not stop.is_set():
            for tally in housekeeping.clean(
                [kind for kind in kinds if kind.name in {"staged", "orphans", "checkpoints"}]
            ):
                assert not tally.failed

    cleaner = threading.Thread(target=clean)
    cleaner.start()
    try:
        for number in range(12):
            data = bytes([number]) * (2 * CHUNK)
            made = artifacts.stage(database, data, "checkpoint")
            publish(database, made, f"model:{number}")
            assert artifacts.load(database, made) == data
    finally:
        stop.set()
        cleaner.join()
    assert count(database, artifact) == 12


def test_one_process_at_a_time(database_url):
    """A second one is told so; one that is killed lets go."""
    ready, wait = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        with Database(database_url).keeping_house() as alone:
            os.write(ready[1], b"1" if alone else b"0")
            os.read(wait[0], 1)
        os._exit(0)
    assert os.read(ready[0], 1) == b"1"
    database = Database(database_url)
    with database.keeping_house() as alone:
        assert not alone
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

    def free():
        with database.keeping_house() as alone:
            return alone

    wait_until(free, "the lock of a killed process is free")
    with database.keeping_house() as first, database.keeping_house() as second:
        assert (first, second) == (True, False)
    assert free()
    database.dispose()
    for one in (*ready, *wait):
        os.close(one)


def test_trouble_with_one_kind_keeps_no_other_from_being_collected(app, litter, monkeypatch):
    def silent(_):
        raise ObjectsUnavailable("the object store did not answer")

    monkeypatch.setattr(ObjectFolder, "stored", silent)
    tallies = {tally.kind: tally for tally in housekeeping.clean(kinds_of(app))}
    assert tallies["objects"].failed == "the object store did not answer"
    assert tallies["workers"].count == 1


def test_it_stops_when_it_is_told_to(app, litter):
    assert {tally.count for tally in housekeeping.clean(kinds_of(app), lambda: True)} == {0}
    assert told(housekeeping.look(kinds_of(app))) == litter.tallies()


def test_beside_a_worker_only_scratch_is_looked_after(app, litter):
    kinds = House(app.settings, app.database, None).kinds()
    assert told(housekeeping.clean(kinds)) == {"scratch": litter.tallies()["scratch"]}
    assert_nothing_lost(litter)


def test_a_data_set_of_what_must_stay_can_still_be_made(app, kim, litter):
    housekeeping.clean(kinds_of(app))
    assert create(app, kim, litter.upload, "late").row_count == 2
    assert_nothing_lost_but_the_upload(litter)


def assert_nothing_lost_but_the_upload(litter):
    litter.upload = litter.held
    assert_nothing_lost(litter)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("TRAIND_HOUSEKEEPING_S", "0.5", "from 1 to 604800, or 0 (off)"),
        ("TRAIND_HOUSEKEEPING_S", "604801", "from 1 to 604800"),
        ("TRAIND_HOUSEKEEPING_S", "soon", "'soon'"),
        ("TRAIND_KEEP_CHECKPOINTS_S", "-1", "or 0 (keep none)"),
        ("TRAIND_KEEP_CHECKPOINTS_S", "nan", "seconds from 0"),
        ("TRAIND_KEEP_WEBHOOKS_S", "-1", "or 0 (keep none)"),
        ("TRAIND_KEEP_WEBHOOKS_S", "315360001", "seconds from 0 to 315360000"),
        ("TRAIND_KEEP_ORPHANS_S", "0", "from 60 to 315360000"),
        ("TRAIND_KEEP_ORPHANS_S", "59", "from 60"),
        ("TRAIND_KEEP_ORPHANS_S", "inf", "from 60"),
    ],
)
def test_settings_out_of_range_are_refused(name, value, words):
    with pytest.raises(SettingError) as caught:
        Settings.from_env({name: value})
    assert name in str(caught.value)
    assert words in str(caught.value)


def test_settings_at_their_limits_are_taken():
    taken = Settings.from_env(
        {"TRAIND_HOUSEKEEPING_S": "0", "TRAIND_KEEP_CHECKPOINTS_S": "0", "TRAIND_KEEP_ORPHANS_S": "60"}
        | {"TRAIND_KEEP_WEBHOOKS_S": "0"}
    )
    assert (taken.housekeeping_s, taken.keep_checkpoints_s, taken.keep_orphans_s) == (0, 0, 60)
    assert taken.keep_webhooks_s == 0
    default = Settings.from_env({})
    assert (default.housekeeping_s, default.keep_checkpoints_s, default.keep_orphans_s) == (3600, 604800, 86400)
    assert default.keep_webhooks_s == 604800
