"""Housekeeping beside real servers and workers: what is under way loses nothing while it never rests."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import threading

import pytest
import sqlalchemy

from service.data.objects import ObjectFolder
from service.settings import Settings
from service.store import artifacts, orphans
from service.store.tables import artifact
from tests import servers
from tests.acceptance import stack as stacks
from tests.acceptance import wire as wires
from tests.acceptance.checks import assert_whole
from tests.deploy.processes import ROOT, environment
from tests.waiting import wait_until
from traind.v1 import datasets_pb2, jobs_pb2, uploads_pb2, uploads_pb2_grpc

Job = jobs_pb2.Job
# What has no owner goes as soon as it may, and so do checkpoints.
RESTLESS = {"TRAIND_HOUSEKEEPING_S": "1", "TRAIND_KEEP_ORPHANS_S": "60", "TRAIND_KEEP_CHECKPOINTS_S": "0"}


@pytest.fixture(params=["sqlite", "postgresql"])
def restless(request):
    """An installation that keeps house every second."""
    if request.param == "sqlite":
        with stacks.up(**RESTLESS) as stack:
            yield stack
        return
    try:
        redis_url = servers.redis_url()
        servers.postgres_url()
    except servers.NoServer as error:
        servers.missing(error)
    with servers.fresh_database("postgresql") as url, stacks.split(url, redis_url, **RESTLESS) as stack:
        yield stack


@pytest.fixture
def still():
    """A server's data folder while nothing runs on it."""
    with stacks.Stack() as stack:
        stack.run("migrate")
        yield stack


def litter(stack, database):
    """A staged artifact of a dead worker, an object that no data set names, bytes of an upload that nobody knows."""
    staged = artifacts.stage(database, b"x" * (9 << 20), "checkpoint")
    with database.write() as connection:
        connection.execute(sqlalchemy.update(artifact).where(artifact.c.id == staged).values(created_at=1.0))
    settings = Settings.from_env({"TRAIND_DATA_DIR": str(stack.data)})
    objects = ObjectFolder(settings.objects_dir, settings.tmp_dir)
    path = objects.new_tmp(".file")
    path.write_bytes(b"nobody's")
    orphan = objects.path(objects.put(path))
    lost = settings.tmp_dir / "upload-00000000-0000-4000-8000-000000000000"
    lost.write_bytes(b"lost")
    for file in (orphan, lost):
        os.utime(file, (1, 1))
    return staged, orphan, lost


def counted(stack, *words):
    told = json.loads(stack.run("housekeeping", "--json", *words).stdout)
    assert not any(kind["failed"] for kind in told["kinds"])
    return told["dry_run"], {kind["kind"]: (kind["count"], kind["bytes"]) for kind in told["kinds"] if kind["count"]}


def test_a_dry_run_makes_no_table_and_no_folder(tmp_path):
    env = environment(tmp_path / "data")
    words = [sys.executable, "-m", "service", "housekeeping", "--dry-run"]

    def told():
        done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        return done.stderr

    assert "there is no database" in told()
    assert not (tmp_path / "data").exists()
    (tmp_path / "data").mkdir(mode=0o700)
    file = tmp_path / "data" / "traind.db"
    with contextlib.closing(sqlite3.connect(file)) as older:
        older.execute("PRAGMA journal_mode = wal")
        older.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        older.execute("INSERT INTO alembic_version VALUES ('0001')")
        older.commit()
    before = file.read_bytes()
    assert "start this version's server once, which migrates it" in told()
    assert file.read_bytes() == before


def test_the_command_tells_and_then_collects_the_same(still):
    database = still.database()
    staged, orphan, lost = litter(still, database)
    what = {"staged": (1, 9 << 20), "scratch": (1, 4), "objects": (1, 8)}
    assert counted(still, "--dry-run") == (True, what)
    assert orphan.exists()
    assert lost.exists()
    shown = still.run("housekeeping", "--dry-run").stdout
    assert "would be collected" in shown
    assert staged in shown
    assert counted(still) == (False, what)
    assert not orphan.exists()
    assert not lost.exists()
    assert counted(still) == (False, {})
    with database.keeping_house() as alone:
        assert alone
        done = still.run("housekeeping", check=False)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "another process keeps house just now" in done.stderr
        # To look takes no turn.
        assert counted(still, "--dry-run") == (True, {})
    database.dispose()


class Uploader(threading.Thread):
    """Sends uploads in small parts and makes data sets of them, one after the other, until it is told to stop."""

    def __init__(self, stack):
        super().__init__()
        self.wire = stack.wire()
        self.stub = uploads_pb2_grpc.UploadServiceStub(self.wire.channel)
        self.stop = threading.Event()
        self.made = {}
        self.failure = None

    def run(self):
        try:
            while not self.stop.is_set():
                self._one(len(self.made))
        except Exception as error:
            self.failure = error

    def _one(self, number):
        raw = b"a,b\n" + b"".join(b"%d,%d\n" % (row, number) for row in range(200))
        metadata = self.wire.metadata
        upload = self.stub.CreateUpload(uploads_pb2.CreateUploadRequest(), metadata=metadata, timeout=30)
        for start in range(0, len(raw), 400):
            part = uploads_pb2.WriteUploadRequest(name=upload.name, offset=start, data=raw[start : start + 400])
            self.stub.WriteUpload(iter([part]), metadata=metadata, timeout=30)
        request = datasets_pb2.CreateDatasetRequest(
            dataset_id=f"t{number}", source=datasets_pb2.DatasetSource(upload=upload.name)
        )
        self.made[self.wire.datasets.CreateDataset(request, metadata=metadata, timeout=60).name] = number


@pytest.mark.timeout(400)
def test_what_is_under_way_loses_nothing_while_it_never_rests(restless):
    database = restless.database()
    wire = restless.wire()
    wire.upload("waves", wires.table())
    litters = [litter(restless, database)]
    uploader = Uploader(restless)
    uploader.start()
    try:
        jobs = [wire.submit(wires.steady(model=f"m{seed}", seed=seed)).name for seed in range(4)]
        # A kill while it trains: what the job goes on from must be there.
        wire.wait_epoch(jobs[0], 5)
        restless.wait_trainer().kill()
        ends = [wire.wait(name, 120) for name in jobs]
        litters.append(litter(restless, database))
        wait_until(lambda: collected(database, litters), "everything is collected", 60, 0.1)
    finally:
        uploader.stop.set()
        uploader.join()
    assert uploader.failure is None
    assert len(uploader.made) >= 3
    for name in jobs:
        assert_whole(wire, name, epochs=40)
    hashes = [wire.model(job.model_version).weights_sha256 for job in ends]
    assert len(set(hashes)) == 4
    for name, number in uploader.made.items():
        request = datasets_pb2.PreviewDatasetRequest(name=name, row_count=2)
        columns = wire.call(wire.datasets.PreviewDataset, request).columns
        assert list(columns[1].numbers) == [number, number]
    with database.read() as connection:
        for kept in connection.exec_driver_sql("SELECT id FROM artifact WHERE state = 'ready'").scalars().all():
            artifacts.load(database, kept)
        assert orphans.unheld(connection, 60) == orphans.staged(connection, 3600) == []
        assert orphans.old_checkpoints(connection, 60) == []
    assert "housekeeping collected objects: 1, 8 bytes" in restless.logs()
    database.dispose()


def collected(database, litters):
    with database.read() as connection:
        there = set(connection.execute(sqlalchemy.select(artifact.c.id)).scalars())
    return not any(staged in there or orphan.exists() or lost.exists() for staged, orphan, lost in litters)
