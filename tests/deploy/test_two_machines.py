"""A server and two workers with a data folder each, one PostgreSQL and one bucket between them."""

import contextlib
import hashlib
import shutil

import pytest

from service import accounts
from service.store import datasets, users
from service.store.database import Database
from tests.acceptance import wire as wires
from tests.acceptance.wire import Wire
from tests.deploy.processes import Program
from tests.s3 import BUCKET, OwnS3
from traind.v1 import datasets_pb2, jobs_pb2

LEASE = {"TRAIND_LEASE_S": "4", "TRAIND_BEAT_S": "0.5", "TRAIND_SWEEP_S": "1"}


@pytest.fixture
def lab(postgresql_url):
    """The environment that all machines of the lab share, and the token of a user."""
    url = postgresql_url
    with OwnS3() as s3:
        database = Database(url)
        accounts.create_user(database, "kim")
        with database.read() as connection:
            kim = users.find_user(connection, "kim")
        token = accounts.create_token(database, "kim", ["read", "submit", "predict"])
        shared = {"TRAIND_DATABASE_URL": url, "TRAIND_OBJECT_STORE": f"s3://{BUCKET}/traind", "TRAIND_SLOTS": "1"}
        yield shared | LEASE | s3.environ, token, (database, kim)
        database.dispose()


def copies(folder):
    return {path.name for path in (folder / "cache").glob("??/*")}


def preview(wire, name):
    request = datasets_pb2.PreviewDatasetRequest(name=name, row_count=2)
    return wire.call(wire.datasets.PreviewDataset, request)


@pytest.mark.timeout(400)
def test_workers_of_other_machines_train_on_the_same_data_set(lab, tmp_path):
    shared, token, (database, kim) = lab
    folders = {name: tmp_path / name for name in ("api", "one", "two", "elsewhere")}
    with contextlib.ExitStack() as running:
        api = running.enter_context(Program(folders["api"], "service", "api", **shared))
        for name in ("one", "two"):
            running.enter_context(Program(folders[name], "service", "worker", **shared))
        wire = Wire(api.wait_address()["grpc"], token)
        running.callback(wire.close)
        dataset = wire.upload("waves", wires.table())
        with database.read() as connection:
            row = datasets.find(connection, kim.id, "waves", None)
        assert copies(folders["api"]) == {hashlib.sha256(wires.table()).hexdigest(), row.table_sha256}
        assert not list((folders["api"] / "objects").glob("??/*"))
        # Each worker has one slot, so that neither of two endless jobs leaves room for the other.
        endless = [wire.submit(wires.endless(seed=seed)) for seed in (1, 2)]
        for job in endless:
            wire.wait_epoch(job.name, seconds=120)
        assert copies(folders["one"]) == copies(folders["two"]) == {row.table_sha256}
        for job in endless:
            wire.cancel(job.name)
            wire.wait(job.name)
        jobs = [wire.wait(wire.submit(wires.quick(model=f"m{seed}", seed=seed)).name, 120) for seed in (3, 4)]
        assert [job.state for job in jobs] == [jobs_pb2.Job.SUCCEEDED] * 2
        columns = {f"x{column}": [0.5] for column in range(wires.WIDTH)}
        answers = [wire.predict(job.model_version, columns).predictions[0].numbers for job in jobs]
        assert all(len(answer) == 1 for answer in answers)
        # Copies may go at any time.
        shown = preview(wire, dataset.name)
        shutil.rmtree(folders["api"] / "cache")
        assert preview(wire, dataset.name) == shown
        # A server that starts on another machine has everything at once.
        other = running.enter_context(Program(folders["elsewhere"], "service", "api", **shared))
        moved = Wire(other.wait_address()["grpc"], token)
        running.callback(moved.close)
        assert preview(moved, dataset.name) == shown
        assert [moved.predict(job.model_version, columns).predictions[0].numbers for job in jobs] == answers
