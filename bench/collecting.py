"""Submissions while housekeeping collects 600 MB of the same database: the checkpoints of jobs that have ended.

A process of its own collects them, as a server's housekeeping does; meanwhile this process submits a job every 10 ms
by the verb that both doors call. The baseline is the same submissions just before, with nobody collecting. Figures are
milliseconds of wall time of one submission. The database is SQLite, where there is one writer at a time; that of
TRAIND_BENCH_POSTGRES_URL, an empty PostgreSQL, is measured too where it is set.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import multiprocessing
import pathlib
import statistics
import sys
import tempfile
import time
from multiprocessing.synchronize import Event

from google.protobuf import json_format

from bench.heartbeat import p99
from service import accounts, housekeeping, jobs, ledger
from service.app import App
from service.callers import Caller
from service.data.objects import ObjectFolder
from service.settings import Settings
from service.store import datasets
from service.store.database import Database
from traind.v1 import jobs_pb2, specs_pb2

MEGABYTES, CHECKPOINTS = 200, 3
EVERY_S, ALONE = 0.01, 300
P99_MS = 30.0  # missed by more than 5 % = exit 1
SPEC = {"target": ["y"], "network": {"linear": {}}, "learn": {"gradient": {"epochs": 5}}, "seed": 1}
COLUMNS = '[{"name":"x","type":"NUMBER"},{"name":"y","type":"NUMBER"}]'


def make_app(folder: pathlib.Path, url: str | None) -> App:
    """An installation without anything."""
    environ = {"TRAIND_DATA_DIR": str(folder), "TRAIND_KEEP_CHECKPOINTS_S": "0", "TRAIND_MAX_QUEUED_JOBS": "1000000"}
    settings = Settings.from_env(environ | ({"TRAIND_DATABASE_URL": url} if url else {}))
    database = Database(settings.database_url)
    database.migrate()
    return App(settings, database, ObjectFolder(settings.objects_dir, settings.tmp_dir))


def make_caller(app: App) -> Caller:
    """Somebody with a data set."""
    user = accounts.create_user(app.database, "kim")
    with app.database.write() as connection:
        datasets.add_version(
            connection,
            owner_id=user.id,
            slug="d",
            display_name="d",
            sha256="0" * 64,
            options_sha256="0" * 64,
            size_bytes=0,
            row_count=1000,
            columns_json=COLUMNS,
            table_sha256="0" * 64,
            encoding="UTF-8",
        )
    return Caller(user.id, "kim", "token", frozenset({"read", "submit"}))


def submit(app: App, kim: Caller) -> float:
    """One job, in milliseconds."""
    spec = json_format.ParseDict(SPEC, specs_pb2.TrainSpec())
    request = jobs_pb2.CreateJobRequest(job=jobs_pb2.Job(dataset="d", model="m", train=spec))
    began = time.perf_counter()
    jobs.create_job(app, kim, request)
    took = (time.perf_counter() - began) * 1000
    time.sleep(EVERY_S)
    return took


def leave_checkpoints(app: App, kim: Caller) -> None:
    """Jobs that have ended, each with its checkpoint."""
    for _ in range(CHECKPOINTS):
        submit(app, kim)
        claim = ledger.claim(app.database, "bench", 3600)
        assert claim is not None
        figures = ledger.EpochFigures(1, {("train_loss", "train"): 1.0})
        ledger.publish_epochs(app.database, claim, [figures], os.urandom(1 << 20) * MEGABYTES, 1)
        ledger.cancel(app.database, kim.user_id, claim.job.id)
        ledger.settle_stopped(app.database, claim)


def collect(folder: pathlib.Path, url: str | None, begun: Event, done: Event) -> None:
    """The housekeeping of a server."""
    app = make_app(folder, url)
    kinds = housekeeping.House(app.settings, app.database, app.objects).kinds()
    begun.set()
    found = {tally.kind: tally.size_bytes for tally in housekeeping.clean(kinds)}
    assert found["checkpoints"] == CHECKPOINTS * MEGABYTES << 20, found
    done.set()


def measure(name: str, folder: pathlib.Path, url: str | None) -> float:
    """Print a line for either; the p99 beside the collection."""
    app = make_app(folder, url)
    kim = make_caller(app)
    leave_checkpoints(app, kim)
    alone = [submit(app, kim) for _ in range(ALONE)]
    context = multiprocessing.get_context("spawn")
    begun, done = context.Event(), context.Event()
    collector = context.Process(target=collect, args=(folder, url, begun, done))
    collector.start()
    begun.wait()
    began, beside = time.perf_counter(), []
    while not done.is_set():
        assert collector.is_alive() or done.is_set(), "the collector died"
        beside.append(submit(app, kim))
    seconds = time.perf_counter() - began
    collector.join()
    app.database.dispose()
    what = f"{CHECKPOINTS * MEGABYTES} MB are collected in {seconds:.1f} s"
    for title, times in (("nobody collects", alone), (what, beside)):
        print(
            f"| {name}: {title} | {len(times)} | {statistics.median(times):.2f} | {p99(times):.1f} | {max(times):.1f} |"
        )
    return p99(beside)


def main() -> int:
    print("| a submission, ms | n | p50 | p99 | longest |\n|---|---|---|---|---|")
    urls = {"SQLite": None, "PostgreSQL": os.environ.get("TRAIND_BENCH_POSTGRES_URL")}
    found = []
    for name, url in urls.items():
        if url or name == "SQLite":
            with tempfile.TemporaryDirectory() as folder:
                found.append(measure(name, pathlib.Path(folder), url))
    print(f"p99 beside it {max(found):.1f} ms; stated: below {P99_MS:g} ms")
    return 0 if max(found) < P99_MS * 1.05 else 1


if __name__ == "__main__":
    sys.exit(main())
