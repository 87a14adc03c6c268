"""An installation with some of everything that housekeeping collects, and beside each what must stay."""

import hashlib
import os
import random
import subprocess
import sys
from types import SimpleNamespace

import sqlalchemy

from service import uploads
from service.data import tmp_files
from service.fencing import STAGED_S
from service.store import artifacts, workers
from service.store.clock import clock
from service.store.tables import artifact, artifact_ref, job, upload, webhook
from tests.service.apps import open_upload, push
from tests.service.store.rows import make_job

# As long as tests make chunks, so that many fit into a moment.
CHUNK = 1 << 10
LONG_AGO = 10**7
KINDS = ("staged", "orphans", "checkpoints", "uploads", "scratch", "objects", "webhooks", "workers")


class Litter:
    """What `collected` names goes, `kept` stays."""

    def __init__(self, app, kim):
        self.app, self.kim = app, kim
        self.database = app.database
        # {kind: {id: bytes}}
        self.garbage = {kind: {} for kind in KINDS}
        self.kept_artifacts = []
        self._seed = random.Random(1)
        dataset = push(app, kim, b"a,b\n1,2\n", "kept")
        self.dataset = dataset.name
        self.young_staged, self.live = [], []
        for kind in KINDS:
            self.fill(kind)

    def fill(self, kind):
        """Some of a kind, once more."""
        getattr(self, f"_{kind}")()

    def tallies(self):
        """What each kind's tally must say: how many, and their bytes."""
        return {kind: (len(found), sum(found.values())) for kind, found in self.garbage.items()}

    def _artifact(self, size, *, holder=None, age=LONG_AGO):
        """A checkpoint of so many bytes; without a holder only staged."""
        made = artifacts.stage(self.database, self._seed.randbytes(size), "checkpoint")
        with self.database.write() as connection:
            if holder:
                artifacts.publish(connection, made, holder)
            old = sqlalchemy.update(artifact).where(artifact.c.id == made)
            connection.execute(old.values(created_at=artifact.c.created_at - age))
        return made

    def _staged(self):
        for size in (10, 9 * CHUNK + 5):
            self.garbage["staged"][self._artifact(size)] = size
        # One at which somebody was killed: it is given up, and some of its chunks are gone.
        half = self._artifact(6 * CHUNK)
        with self.database.write() as connection:
            assert artifacts.drop_abandoned(connection, half, STAGED_S)
            connection.exec_driver_sql(f"DELETE FROM artifact_chunk WHERE artifact_id = '{half}' AND number > 2")
        self.garbage["staged"][half] = 6 * CHUNK
        self.young_staged.append(self._artifact(3 * CHUNK, age=STAGED_S / 2))

    def _orphans(self):
        gone = self._artifact(5 * CHUNK + 1, holder="model:gone")
        young = self._artifact(20, holder="model:gone-too", age=60)
        with self.database.write() as connection:
            connection.execute(sqlalchemy.delete(artifact_ref).where(artifact_ref.c.artifact_id.in_([gone, young])))
        self.garbage["orphans"][gone] = 5 * CHUNK + 1
        self.kept_artifacts += [young, self._artifact(CHUNK, holder="model:kept")]

    def _checkpoints(self):
        """Of jobs that ended long ago, a moment ago, and not at all."""
        with self.database.read() as connection:
            found = connection.exec_driver_sql("SELECT id, owner_id FROM dataset").first()
        owner, dataset = SimpleNamespace(id=found.owner_id), SimpleNamespace(id=found.id)
        self.jobs = {}
        for name, state, age in [("old", "SUCCEEDED", LONG_AGO), ("new", "CANCELLED", 60), ("live", "PAUSED", None)]:
            row = make_job(self.database, owner, dataset)
            newest, older = (self._artifact(size, holder=f"job:{row.id}") for size in (4 * CHUNK + 7, 30))
            values = {"state": state, "checkpoint_id": newest, "older_checkpoint_id": older}
            with self.database.write() as connection:
                ended = {} if age is None else {"ended_at": job.c.created_at - age}
                connection.execute(sqlalchemy.update(job).where(job.c.id == row.id).values(**values, **ended))
            self.jobs[name] = row.id
            if name == "old":
                self.garbage["checkpoints"] = {newest: 4 * CHUNK + 7, older: 30}
            else:
                self.kept_artifacts += [newest, older]

    def _uploads(self):
        self.held, old, self.upload = (open_upload(self.app, self.kim) for _ in range(3))
        for name in (self.held, old, self.upload):
            uploads.write_chunk(self.app, self.kim, name, 0, b"a,b\n1,2\n3,4\n")
        with self.database.write() as connection:
            over = upload.c.id.in_([bare(old)])
            connection.execute(sqlalchemy.update(upload).where(over).values(expires_at=1.0))
        self.garbage["uploads"][bare(old)] = 12
        # A file whose row was deleted by somebody who was killed then.
        lost = tmp_files.upload_path(self.tmp, "0" * 8 + "-0000-4000-8000-" + "0" * 12)
        lost.write_bytes(b"12345")
        os.utime(lost, (1, 1))
        self.garbage["scratch"][lost.name] = 5

    def _scratch(self):
        for path in dead_scratch(self.tmp):
            self.garbage["scratch"][path.name] = 7
        nameless = self.tmp / "scratch-of-an-older-version"
        nameless.write_bytes(b"123")
        os.utime(nameless, (1, 1))
        self.garbage["scratch"][nameless.name] = 3
        # Old, and of a process that lives.
        self.live += [tmp_files.scratch_path(self.tmp, ".arrow"), tmp_files.scratch_folder(self.tmp, "ingest")]
        self.live[-2].write_bytes(b"1")
        for path in self.live:
            os.utime(path, (1, 1))
        self.foreign = self.tmp / "notes.txt"
        self.foreign.write_bytes(b"not ours")
        os.utime(self.foreign, (1, 1))

    def _objects(self):
        for path in self.app.objects.root.glob("??/*"):
            os.utime(path, (1, 1))
        for content, old in [(b"nobody names it", True), (b"nor this, yet", False)]:
            path = self.app.objects.new_tmp(".file")
            path.write_bytes(content)
            sha256 = self.app.objects.put(path)
            if old:
                os.utime(self.app.objects.path(sha256), (1, 1))
                self.garbage["objects"][sha256] = len(content)
        self.young_object = sha256

    def _webhooks(self):
        """Of the job that ended long ago: told, given up and not yet told; told a moment ago."""
        stages = {"told": ("delivered", LONG_AGO), "away": ("given_up", LONG_AGO), "slow": ("waiting", LONG_AGO)}
        with self.database.write() as connection:
            connection.execute(sqlalchemy.delete(webhook))
            for target, (state, age) in {**stages, "new": ("delivered", 60)}.items():
                row = {"job_id": self.jobs["old"], "target": target, "state": state, "tries": 1, "last_answer": ""}
                connection.execute(sqlalchemy.insert(webhook).values(next_at=clock() - age, **row))
        self.garbage["webhooks"] = {"told": 0, "away": 0}
        self.kept_webhooks = {"slow", "new"}

    def _workers(self):
        with self.database.write() as connection:
            workers.announce(connection, "gone:1", ("cpu",), 1, -workers.FORGOTTEN_S - 1)
            workers.announce(connection, "lives:1", ("cpu",), 1, 60)
        self.garbage["workers"]["gone:1"] = 0

    @property
    def tmp(self):
        return self.app.settings.tmp_dir


def bare(name):
    return name.partition("/")[2]


def dead_scratch(folder):
    """A file and a folder of a process that was killed, of 7 bytes each."""
    code = (
        "import os, signal, sys, pathlib\n"
        "from service.data import tmp_files\n"
        "tmp = pathlib.Path(sys.argv[1])\n"
        "file, folder = tmp_files.scratch_path(tmp, '.arrow'), tmp_files.scratch_folder(tmp, 'ingest')\n"
        "file.write_bytes(b'1234567'); (folder / 'table.arrow').write_bytes(b'1234567')\n"
        "print(file); print(folder, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    return [tmp_files.Path(line) for line in done.stdout.splitlines()]


def assert_nothing_lost(litter):
    """No row without its bytes, whoever was killed where; what must stay is there."""
    app, database = litter.app, litter.database
    with database.read() as connection:
        ready = connection.exec_driver_sql("SELECT id FROM artifact WHERE state = 'ready'").scalars().all()
        named = connection.exec_driver_sql("SELECT checkpoint_id, older_checkpoint_id FROM job").all()
        hashes = connection.exec_driver_sql("SELECT sha256, table_sha256 FROM dataset").all()
        open_uploads = connection.exec_driver_sql("SELECT id FROM upload").scalars().all()
        targets = set(connection.exec_driver_sql("SELECT target FROM webhook").scalars())
        held = connection.exec_driver_sql("SELECT artifact_id FROM artifact_ref").scalars().all()
    assert litter.kept_webhooks <= targets
    for one in ready:
        artifacts.load(database, one)
    assert set(litter.kept_artifacts) <= set(ready)
    assert {one for pair in named for one in pair if one} <= set(held) <= set(ready)
    for sha256 in (one for pair in hashes for one in pair):
        assert hashlib.sha256(app.objects.path(sha256).read_bytes()).hexdigest() == sha256
    for one in open_uploads:
        assert tmp_files.upload_path(litter.tmp, one).exists()
    assert {bare(litter.held), bare(litter.upload)} <= set(open_uploads)
    assert all(path.exists() for path in [*litter.live, litter.foreign])
    assert app.objects.path(litter.young_object).exists()
