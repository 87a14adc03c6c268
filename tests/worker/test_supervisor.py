"""The supervisor over a real database and real processes; only the learning is a stand-in (standin_trainer.py)."""

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import sys
import tempfile
import threading
import time

import psutil
import pytest

from service import ledger
from service.errors import DatabaseUnavailable
from service.settings import Settings
from service.store import datasets, events, jobs, refusals, users
from service.store.database import Database, now
from tests.waiting import gone, wait_until
from worker.guardian import STOP_S
from worker.slots import Slots
from worker.supervisor import COLD_CAP, GRACE_S, LEAVE_S, Supervisor
from worker.zygote import Zygote

ROOT = pathlib.Path(__file__).parents[2]
STANDIN = ROOT / "tests" / "worker" / "standin_trainer.py"


class Bench:
    """A database with one user, and a supervisor whose trainers behave as their jobs are called."""

    def __init__(self, folder):
        read = Settings.from_env({"TRAIND_DATA_DIR": str(folder)})
        self.settings = dataclasses.replace(read, lease_s=5.0, beat_s=0.05)
        self.database = Database(self.settings.database_url)
        self.database.migrate()
        with self.database.write() as connection:
            self.user = users.add_user(connection, "kim")
            self.dataset = datasets.add_version(
                connection,
                owner_id=self.user.id,
                slug="house",
                display_name="",
                sha256="0" * 64,
                options_sha256="0" * 64,
                size_bytes=1,
                row_count=1,
                columns_json="[]",
                table_sha256="0" * 64,
                encoding="UTF-8",
            )
        self.notes = folder / "notes"
        self.notes.touch()
        self.environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TRAIND_STANDIN_NOTES": str(self.notes),
            "TRAIND_DATABASE_URL": self.settings.database_url,
        }
        self.zygote = Zygote(self.environ, folder / "trainer.log", [sys.executable, str(STANDIN)])
        self.places = tempfile.TemporaryFile()
        self.stop = threading.Event()
        self.supervisor = self.supervises(self.zygote)

    def supervises(self, zygote, slots=1, worker="here:1"):
        places = Slots(self.places.fileno(), slots)
        return Supervisor(self.settings, self.database, zygote, places, worker=worker, stopping=self.stop.is_set)

    def add(self, *behaviours):
        with self.database.write() as connection:
            rows = [
                jobs.add(
                    connection,
                    owner_id=self.user.id,
                    dataset_id=self.dataset.id,
                    dataset_name="datasets/kim.house/versions/1",
                    kind="train",
                    display_name=behaviour,
                    model_slug="house",
                    task_json="{}",
                    resolved_json="{}",
                    parameter_count=1,
                    epochs=1,
                    request_id=None,
                    request_hash=None,
                )
                for behaviour in behaviours
            ]
        return [row.id for row in rows]

    def job(self, job_id):
        with self.database.read() as connection:
            return jobs.find_by_id(connection, job_id)

    def state(self, job_id):
        return self.job(job_id).state

    def trainers(self, behaviour):
        lines = [line.split() for line in self.notes.read_text().splitlines() if line.startswith("began")]
        return [(int(pid), int(parent)) for _, pid, parent, job in lines if job == behaviour]

    def meanwhile(self, act):
        """Do `act` in a thread while the supervisor drains in this one; its error fails the test."""
        failed = []

        def run():
            try:
                act()
            except BaseException as error:
                failed.append(error)
                self.stop.set()

        thread = threading.Thread(target=run)
        thread.start()
        self.supervisor.drain()
        thread.join()
        if failed:
            raise failed[0]

    def wait_for(self, behaviour, note=None):
        wait_until(lambda: self.trainers(behaviour), f"{behaviour} runs")
        if note:
            wait_until(lambda: note in self.notes.read_text(), note)
        return self.trainers(behaviour)[-1]


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.zygote.close()
    made.places.close()
    made.database.dispose()


def test_jobs_run_one_after_the_other_in_the_order_they_came(bench):
    ids = bench.add(*["succeeds"] * 5)
    assert bench.supervisor.drain() == 5
    rows = [bench.job(job_id) for job_id in ids]
    assert [row.state for row in rows] == ["SUCCEEDED"] * 5
    # Jobs of the same millisecond, which is as fine as SQLite's clock is, come in the order of their ids.
    rows.sort(key=lambda row: (row.created_at, row.id))
    assert [row.started_at for row in rows] == sorted(row.started_at for row in rows)
    assert bench.supervisor.drain() == 0


def test_a_trainer_that_ends_its_job_between_two_beats_is_not_taken_for_fenced(bench):
    bench.supervisor._settings = dataclasses.replace(bench.settings, beat_s=0.0001)
    ids = bench.add(*["succeeds"] * 60)
    bench.supervisor.drain()
    assert {bench.state(job_id) for job_id in ids} == {"SUCCEEDED"}


def test_a_full_house_claims_nothing(bench):
    [job_id] = bench.add("succeeds")
    holder, other = bench.supervisor._slots, os.fork()
    if other == 0:
        with holder.one():
            time.sleep(600)
    wait_until(lambda: not holder.free(), "the place is taken")
    assert bench.supervisor.drain() == 0
    assert bench.state(job_id) == "QUEUED"
    os.kill(other, signal.SIGKILL)
    os.waitpid(other, 0)
    assert bench.supervisor.drain() == 1


@pytest.mark.parametrize(("verb", "state"), [(ledger.cancel, "CANCELLED"), (ledger.pause, "PAUSED")])
@pytest.mark.alone
def test_a_cancel_and_a_pause_stop_the_trainer_soon(bench, verb, state):
    [job_id] = bench.add("obedient")
    took = []

    def act():
        bench.wait_for("obedient")
        began = time.monotonic()
        verb(bench.database, bench.user.id, job_id)
        wait_until(lambda: bench.state(job_id) == state, state)
        took.append(time.monotonic() - began)

    bench.meanwhile(act)
    assert took[0] < 0.5
    assert bench.job(job_id).losses == 0


@pytest.mark.alone
def test_a_deaf_trainer_is_killed_after_its_grace(bench):
    [job_id] = bench.add("deaf")
    took = []

    def act():
        pid, _ = bench.wait_for("deaf", note="deaf\n")
        began = time.monotonic()
        ledger.cancel(bench.database, bench.user.id, job_id)
        wait_until(lambda: bench.state(job_id) == "CANCELLED", "it is cancelled")
        took.append(time.monotonic() - began)
        assert gone(pid)

    bench.meanwhile(act)
    assert GRACE_S <= took[0] < 2.5


@pytest.mark.parametrize("asks", ["drain", "pause"])
@pytest.mark.alone
def test_a_trainer_has_time_to_store_a_checkpoint_before_it_leaves(bench, asks):
    [job_id] = bench.add("thorough")

    def act():
        bench.wait_for("thorough")
        bench.stop.set() if asks == "drain" else ledger.pause(bench.database, bench.user.id, job_id)

    began = time.monotonic()
    bench.meanwhile(act)
    assert time.monotonic() - began < 10
    assert "left by itself" in bench.notes.read_text()
    assert bench.state(job_id) == ("QUEUED" if asks == "drain" else "PAUSED")
    assert bench.job(job_id).losses == 0


@pytest.mark.alone
def test_a_deaf_trainer_is_killed_before_its_worker_must_be_gone(bench):
    [job_id] = bench.add("deaf")

    began = []

    def act():
        bench.wait_for("deaf", note="deaf\n")
        began.append(time.monotonic())
        bench.stop.set()

    bench.meanwhile(act)
    assert LEAVE_S <= time.monotonic() - began[0] < STOP_S
    assert bench.state(job_id) == "QUEUED"


@pytest.mark.alone
def test_a_cancel_hurries_a_trainer_that_is_leaving(bench):
    [job_id] = bench.add("deaf")
    took = []

    def act():
        bench.wait_for("deaf", note="deaf\n")
        ledger.pause(bench.database, bench.user.id, job_id)
        time.sleep(0.3)
        began = time.monotonic()
        ledger.cancel(bench.database, bench.user.id, job_id)
        wait_until(lambda: bench.state(job_id) == "CANCELLED", "it is cancelled")
        took.append(time.monotonic() - began)

    bench.meanwhile(act)
    assert GRACE_S <= took[0] < 2.5


@pytest.mark.alone
def test_a_stopped_trainer_is_killed_too(bench):
    [job_id] = bench.add("obedient")

    def act():
        pid, _ = bench.wait_for("obedient")
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        ledger.cancel(bench.database, bench.user.id, job_id)
        wait_until(lambda: bench.state(job_id) == "CANCELLED", "it is cancelled")
        assert time.monotonic() - began < 2.5

    bench.meanwhile(act)


def test_a_stopped_zygote_does_not_hold_a_cancelled_job_for_ever(bench):
    [first, second] = bench.add("obedient", "succeeds")

    def act():
        _, zygote = bench.wait_for("obedient")
        os.kill(zygote, signal.SIGSTOP)
        ledger.cancel(bench.database, bench.user.id, first)
        wait_until(lambda: bench.state(first) == "CANCELLED", "it is cancelled")

    bench.meanwhile(act)
    assert bench.state(second) == "SUCCEEDED", "the next job has a new zygote"


def test_a_drain_hands_the_job_back_and_takes_no_other(bench):
    [first, second] = bench.add("obedient", "succeeds")

    def act():
        bench.wait_for("obedient")
        bench.stop.set()

    bench.meanwhile(act)
    assert [bench.state(first), bench.state(second)] == ["QUEUED", "QUEUED"]
    assert (bench.job(first).losses, bench.job(first).not_before) == (0, 0)
    assert bench.job(second).attempt == 0


def test_a_job_that_is_left_to_a_newer_worker_waits_for_one_and_holds_up_nobody(bench):
    [left, other] = bench.add("left", "succeeds")
    assert bench.supervisor.drain() == 2
    assert (bench.state(left), bench.state(other)) == ("QUEUED", "SUCCEEDED")
    assert bench.supervisor.drain() == 0, "no worker takes it again for a while"
    row = bench.job(left)
    assert (row.attempt, row.losses, row.worker) == (1, 0, "")
    with bench.database.read() as connection:
        assert ledger.LEFT_S - 30 < row.not_before - now(connection) <= ledger.LEFT_S
    with bench.database.read() as connection:
        state = json.loads(events.last_of_kind(connection, left, "state"))
    assert state == {"state": "QUEUED", "message": "it waits for a worker of a newer version"}
    with bench.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE job SET not_before = 0 WHERE id = '{left}'")
    newer = ledger.claim(bench.database, "newer:1", 60.0)
    assert (newer.job.id, newer.attempt) == (left, 2)


@pytest.mark.parametrize(("verb", "state"), [("pause", "PAUSED"), ("cancel", "CANCELLED")])
def test_a_job_that_is_left_can_be_paused_and_cancelled(bench, verb, state):
    [left] = bench.add("left")
    bench.supervisor.drain()
    assert getattr(ledger, verb)(bench.database, bench.user.id, left).state == state


def test_a_killed_trainer_costs_a_loss_with_a_pause_and_three_end_the_job(bench):
    [job_id] = bench.add("obedient")

    def act():
        for losses in (1, 2, 3):
            wait_until(lambda n=losses: len(bench.trainers("obedient")) == n, f"it runs for the {losses}. time", 20)
            os.kill(bench.trainers("obedient")[-1][0], signal.SIGKILL)
            wait_until(lambda n=losses: bench.job(job_id).losses == n, f"{losses} losses are counted")
        bench.stop.set()

    def keep_draining():
        act_thread = threading.Thread(target=act)
        act_thread.start()
        while not bench.stop.is_set():
            bench.supervisor.drain()
            time.sleep(0.02)
        act_thread.join()

    keep_draining()
    row = bench.job(job_id)
    assert (row.state, row.failure_reason) == ("FAILED", "WORKER_LOST")
    assert "SIGKILL" in row.failure_message
    assert row.attempt == 3


def test_a_crash_is_a_loss_that_names_the_signal(bench):
    [job_id] = bench.add("dies")
    bench.supervisor.drain()
    row = bench.job(job_id)
    assert (row.state, row.losses) == ("QUEUED", 1)
    assert row.not_before > row.created_at


def test_a_killed_zygote_is_a_loss_and_the_next_job_runs(bench):
    [first, second] = bench.add("deaf", "succeeds")

    def act():
        trainer, zygote = bench.wait_for("deaf", note="deaf\n")
        os.kill(zygote, signal.SIGKILL)
        wait_until(lambda: gone(trainer), "the trainer is gone")
        wait_until(lambda: bench.state(first) == "QUEUED", "the loss is written down")
        # Its back-off is over in a second; on a busy machine it would be claimed again before the second job ends,
        # and this job never ends by itself.
        with bench.database.write() as connection:
            connection.exec_driver_sql("UPDATE job SET not_before = 1e12 WHERE id = ?", (first,))

    bench.meanwhile(act)
    assert (bench.state(first), bench.job(first).losses) == ("QUEUED", 1)
    assert bench.state(second) == "SUCCEEDED"


@pytest.fixture
def cold(bench, tmp_path):
    """A zygote that is not warm before the file `gate` is there."""
    environ = bench.environ | {"TRAIND_STANDIN_GATE": str(tmp_path / "gate")}
    zygote = Zygote(environ, tmp_path / "cold.log", [sys.executable, str(STANDIN)])
    # It would end with a thread that starts it.
    zygote.start()
    yield zygote
    zygote.close()


def test_a_cold_slot_leaves_a_job_to_a_warm_one(bench, cold, tmp_path):
    ran = []
    [job_id] = bench.add("succeeds")
    supervisor = bench.supervises(cold, slots=2, worker="cold:1")
    thread = threading.Thread(target=lambda: ran.append(supervisor.drain()))
    thread.start()
    try:
        wait_until(lambda: "warms up" in bench.notes.read_text(), "the cold slot is at it")
        assert bench.supervisor.drain() == 1
        assert bench.state(job_id) == "SUCCEEDED"
    finally:
        (tmp_path / "gate").touch()
        thread.join()
    assert ran == [0]
    [last] = bench.add("succeeds")
    assert supervisor.drain() == 1
    assert bench.state(last) == "SUCCEEDED"


def test_a_cold_slot_leaves_when_its_worker_stops(bench, cold):
    [job_id] = bench.add("succeeds")
    bench.supervisor = bench.supervises(cold)

    def act():
        wait_until(lambda: "warms up" in bench.notes.read_text(), "it warms up")
        bench.stop.set()

    bench.meanwhile(act)
    assert (bench.state(job_id), bench.job(job_id).attempt) == ("QUEUED", 0)


@contextlib.contextmanager
def other_slot(bench, folder, act):
    """Another slot of the worker in a process of its own, for places are told apart by process, which does `act`.

    Its zygote is not warm before the file `gate` is in `folder`.
    """
    pid = os.fork()
    if pid == 0:
        try:
            gated = bench.environ | {"TRAIND_STANDIN_GATE": str(folder / "gate")}
            bench.database = Database(bench.settings.database_url)
            act(bench.supervises(Zygote(gated, folder / "other.log", [sys.executable, str(STANDIN)]), worker="there:1"))
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_slot_that_comes_up_holds_up_nobody_and_its_place_is_not_called_free(bench, tmp_path):
    [job_id] = bench.add("succeeds")
    with other_slot(bench, tmp_path, Supervisor.warm_up):
        wait_until(lambda: "warms up" in bench.notes.read_text(), "the other slot comes up")
        assert bench.supervisor._slots.free() == 0, "else the guardian would take the job for starving"
        assert bench.supervisor.drain() == 1
        assert bench.state(job_id) == "SUCCEEDED"
    assert bench.supervisor._slots.free() == 1


def test_a_slot_that_lost_its_zygote_holds_up_nobody_while_it_warms_up_again(bench, tmp_path):
    gate = tmp_path / "gate"
    gate.touch()
    [lost] = bench.add("obedient")
    with other_slot(bench, tmp_path, Supervisor.drain):
        _, zygote = bench.wait_for("obedient")
        gate.unlink()
        [job_id] = bench.add("succeeds")
        os.kill(zygote, signal.SIGKILL)
        wait_until(lambda: bench.job(lost).losses == 1, "the loss is written down")
        ledger.cancel(bench.database, bench.user.id, lost)
        wait_until(lambda: bench.notes.read_text().count("warms up") == 2, "it warms up again")
        assert bench.supervisor.drain() == 1
        assert bench.state(job_id) == "SUCCEEDED"


def test_a_zygote_that_hangs_is_given_up_and_nothing_of_it_stays(bench, cold, monkeypatch, caplog):
    [job_id] = bench.add("succeeds")
    supervisor = bench.supervises(cold)
    wait_until(lambda: "warms up" in bench.notes.read_text(), "it warms up")
    open_before, children = len(list(pathlib.Path("/proc/self/fd").iterdir())), set(psutil.Process().children())
    with monkeypatch.context() as patch:
        patch.setattr("worker.supervisor.START_S", 0.2)
        assert supervisor.drain() == 0
        assert "no job is taken now: the trainer's zygote hangs" in caplog.text
        assert len(list(pathlib.Path("/proc/self/fd").iterdir())) == open_before - 2, "its commands and its replies"
        assert set(psutil.Process().children()) < children, "nor a dead process"
        cold.close()
        assert supervisor.drain() == 0
        assert supervisor._cold == 2
    bench.notes.with_name("gate").touch()
    assert supervisor.drain() == 1
    assert bench.state(job_id) == "SUCCEEDED"


@pytest.fixture
def broken(bench):
    """A zygote that ends before it is warm."""
    zygote = Zygote(bench.environ, bench.notes.with_name("broken.log"), [sys.executable, "-c", "raise SystemExit(3)"])
    yield zygote
    zygote.close()


def test_a_zygote_that_does_not_get_warm_leaves_a_job_to_others(bench, broken, caplog):
    [job_id] = bench.add("succeeds")
    assert bench.supervises(broken).drain() == 0
    row = bench.job(job_id)
    assert (row.state, row.attempt, row.losses) == ("QUEUED", 0, 0)
    assert "no job is taken now: the trainer's zygote ended with exit code 3" in caplog.text


def test_a_job_that_nobody_else_takes_is_lost_by_a_zygote_that_never_gets_warm(bench, broken):
    """Its owner must hear of it: it waited for ever otherwise."""
    supervisor = bench.supervises(broken)
    [job_id] = bench.add("succeeds")
    assert [supervisor.drain() for _ in range(COLD_CAP - 1)] == [0] * (COLD_CAP - 1)
    assert bench.job(job_id).attempt == 0
    assert supervisor.drain() == 1
    row = bench.job(job_id)
    assert (row.state, row.attempt, row.losses) == ("QUEUED", 1, 1)


def test_where_no_job_waits_no_zygote_is_started(bench, broken, caplog):
    assert bench.supervises(broken).drain() == 0
    assert "no job is taken now" not in caplog.text


def take_over(bench, job_id):
    """Another worker finds the lease expired and claims the job."""

    def expired():
        # A beat may come between the two.
        with bench.database.write() as connection:
            connection.exec_driver_sql("UPDATE job SET lease_until = 0 WHERE id = ?", (job_id,))
        return ledger.reconcile(bench.database).expired == 1

    wait_until(expired, "its lease is found expired")
    with bench.database.write() as connection:
        connection.exec_driver_sql("UPDATE job SET not_before = 0 WHERE id = ?", (job_id,))
    return ledger.claim(bench.database, "there:1", 60.0)


def test_a_job_that_another_worker_took_over_is_let_go_of_at_once(bench):
    [job_id] = bench.add("deaf")

    def act():
        trainer, _ = bench.wait_for("deaf", note="deaf\n")
        claim = take_over(bench, job_id)
        assert claim.attempt == 2
        wait_until(lambda: gone(trainer), "the old trainer is gone", 1.0)

    bench.meanwhile(act)
    row = bench.job(job_id)
    assert (row.state, row.attempt, row.worker) == ("RUNNING", 2, "there:1")
    with bench.database.read() as connection:
        refused = refusals.total(connection)
    assert refused.count >= 1, "its renewal was refused"
    assert (refused.worker, refused.job_id) == ("here:1", job_id)


def test_a_trainer_whose_write_is_refused_is_counted_once(bench):
    [job_id, other] = bench.add("fenced", "succeeds")
    bench.supervisor.drain()
    with bench.database.read() as connection:
        refused = refusals.total(connection)
    assert (refused.count, refused.job_id, refused.worker) == (1, job_id, "here:1")
    assert bench.state(other) == "SUCCEEDED"


def test_refused_writes_are_counted_when_the_database_answers_again(bench, monkeypatch):
    [job_id] = bench.add("fenced")
    count = ledger.note_refused

    def silent(*_):
        raise DatabaseUnavailable("silent", retry_after_s=1.0)

    monkeypatch.setattr(ledger, "note_refused", silent)
    bench.supervisor.drain()
    with bench.database.read() as connection:
        assert refusals.total(connection).count == 0
    monkeypatch.setattr(ledger, "note_refused", count)
    bench.supervisor.drain()
    bench.supervisor.drain()
    with bench.database.read() as connection:
        assert refusals.total(connection) == refusals.RefusedWrites(
            1, job_id, "here:1", refusals.total(connection).last_at
        )


def test_without_an_answer_of_the_database_the_trainer_is_killed_before_the_lease_ends(bench):
    bench.supervisor._settings = dataclasses.replace(bench.settings, lease_s=2.0, beat_s=0.2)
    [job_id] = bench.add("deaf")

    def act():
        trainer, _ = bench.wait_for("deaf", note="deaf\n")
        with bench.database.write():  # nobody else can write, so no lease is renewed
            wait_until(lambda: gone(trainer), "the trainer is gone", 10)
        assert bench.state(job_id) == "RUNNING", "the sweep settles it, when it finds the lease expired"

    bench.meanwhile(act)


def test_a_trainer_that_outlives_its_job_is_killed(bench):
    [first, second] = bench.add("lingers", "succeeds")
    bench.supervisor.drain()
    assert [bench.state(first), bench.state(second)] == ["SUCCEEDED", "SUCCEEDED"]
    assert gone(bench.trainers("lingers")[0][0])


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, RuntimeError])
def test_whatever_flies_out_of_the_supervisor_takes_the_trainer_along(bench, error):
    bench.add("deaf")
    asked = []

    def stopping():
        asked.append(1)
        if bench.trainers("deaf"):
            raise error
        return False

    bench.supervisor._stopping = stopping
    with pytest.raises(error):
        bench.supervisor.drain()
    assert gone(bench.trainers("deaf")[0][0])
