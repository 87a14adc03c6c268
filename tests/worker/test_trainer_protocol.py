"""The zygote and its trainers, by the real protocol in real processes; only the learning is a stand-in."""

import os
import pathlib
import signal
import subprocess
import sys

import psutil
import pytest

from tests.waiting import gone, wait_until
from worker.zygote import DONE, FENCED, STOPPED, Exit, Zygote, trainer_env

ROOT = pathlib.Path(__file__).parents[2]
STANDIN = ROOT / "tests" / "worker" / "standin_trainer.py"


@pytest.fixture
def notes(tmp_path):
    path = tmp_path / "notes"
    path.touch()
    return path


@pytest.fixture
def zygote(tmp_path, notes):
    made = make_zygote(tmp_path, notes)
    yield made
    made.close()


def make_zygote(tmp_path, notes, **more):
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TRAIND_STANDIN_NOTES": str(notes), **more}
    return Zygote(environ, tmp_path / "trainer.log", [sys.executable, str(STANDIN)])


def run(zygote, job):
    zygote.begin(job, 1, "test")
    ended = zygote.wait(20)
    assert ended is not None
    return ended


def began(notes):
    """[(trainer's pid, zygote's pid, job)]"""
    lines = [line.split() for line in notes.read_text().splitlines() if line.startswith("began")]
    return [(int(pid), int(parent), job) for _, pid, parent, job in lines]


def test_each_job_gets_a_process_of_its_own_from_one_zygote(zygote, notes):
    assert [run(zygote, "done") for _ in range(5)] == [Exit(DONE)] * 5
    pids = {pid for pid, _, _ in began(notes)}
    parents = {parent for _, parent, _ in began(notes)}
    assert len(pids) == 5
    assert len(parents) == 1


@pytest.mark.parametrize(
    ("job", "returncode"), [("done", DONE), ("fenced", FENCED), ("raises", 1), ("dies", -signal.SIGSEGV)]
)
def test_the_exit_tells_how_it_went(zygote, tmp_path, job, returncode):
    assert run(zygote, job) == Exit(returncode)
    assert ("RuntimeError: as asked" in (tmp_path / "trainer.log").read_text()) == (job == "raises")


def test_a_crash_is_told_in_words(zygote):
    assert run(zygote, "dies").told() == "the trainer was killed by SIGSEGV"
    assert run(zygote, "raises").told() == "the trainer ended with exit code 1"


def test_a_job_that_comes_before_the_zygote_is_warm_is_run(tmp_path, notes):
    zygote = make_zygote(tmp_path, notes, TRAIND_STANDIN_WARM_S="0.5")
    zygote.begin("done", 1, "test")
    assert not zygote.terminate(), "there is nobody to tell yet"
    assert zygote.wait(0.1) is None
    assert zygote.wait(20) == Exit(DONE)
    zygote.close()


def test_terminate_asks_and_the_trainer_stops(zygote):
    zygote.begin("obedient", 1, "test")
    wait_until(lambda: zygote.wait(0.01) or zygote.begun, "the trainer runs")
    assert zygote.terminate()
    assert zygote.wait(5) == Exit(STOPPED)


def test_kill_ends_a_deaf_trainer_and_the_zygote_lives_on(zygote, notes):
    zygote.begin("deaf", 1, "test")
    wait_until(lambda: zygote.wait(0.01) or "deaf" in notes.read_text(), "the trainer is deaf")
    zygote.terminate()
    assert zygote.wait(0.2) is None
    zygote.kill()
    assert zygote.wait(5) == Exit(-signal.SIGKILL)
    assert run(zygote, "done") == Exit(DONE)
    assert len({parent for _, parent, _ in began(notes)}) == 1


def test_the_number_of_an_ended_trainer_stays_reserved_until_the_next_job(zygote, notes):
    run(zygote, "done")
    pid = began(notes)[0][0]
    assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    run(zygote, "done")
    assert not psutil.pid_exists(pid)


def test_what_a_trainer_started_ends_with_it(zygote, notes):
    run(zygote, "stray")
    stray = int(notes.read_text().split("stray ")[-1])
    wait_until(lambda: gone(stray), "the stray process is gone")


def test_a_killed_zygote_takes_its_trainer_along_and_is_replaced(zygote, notes):
    zygote.begin("deaf", 1, "test")
    wait_until(lambda: zygote.wait(0.01) or "deaf" in notes.read_text(), "the trainer runs")
    trainer_pid, zygote_pid, _ = began(notes)[0]
    os.kill(zygote_pid, signal.SIGKILL)
    assert zygote.wait(5) == Exit(-signal.SIGKILL, zygote=True)
    wait_until(lambda: gone(trainer_pid), "the trainer is gone")
    assert run(zygote, "done") == Exit(DONE)


def test_a_zygote_that_died_between_jobs_costs_no_job(zygote, notes):
    run(zygote, "done")
    zygote_pid = began(notes)[0][1]
    os.kill(zygote_pid, signal.SIGKILL)
    wait_until(lambda: gone(zygote_pid), "the zygote is gone")
    assert run(zygote, "done") == Exit(DONE)


def test_end_leaves_nothing_of_a_job(zygote, notes):
    zygote.begin("deaf", 1, "test")
    wait_until(lambda: zygote.wait(0.01) or "deaf" in notes.read_text(), "the trainer runs")
    zygote.end()
    assert gone(began(notes)[0][0])


def test_a_trainer_sees_neither_broker_nor_commands(tmp_path, notes):
    zygote = make_zygote(tmp_path, notes, TRAIND_BROKER_URL="redis://:secret@nowhere", CELERY_LOG_LEVEL="20")
    run(zygote, "environment")
    zygote.close()
    assert "secret" not in notes.read_text()
    assert "CELERY" not in notes.read_text()
    assert "stdin b''" in notes.read_text()
    for setting in ("OMP_NUM_THREADS=1", "OMP_WAIT_POLICY=passive", "MALLOC_ARENA_MAX=2", "glibc.malloc.hugetlb=1"):
        assert setting in notes.read_text()
    assert trainer_env({"TRAIND_DATA_DIR": "/x"})["TRAIND_DATA_DIR"] == "/x"


SUPERVISOR = """
import os, pathlib, sys, time
sys.path.insert(0, {root!r})
from worker.zygote import Zygote
zygote = Zygote(os.environ, pathlib.Path({log!r}), [sys.executable, {standin!r}])
zygote.begin("deaf", 1, "test")
time.sleep(600)
"""


def test_zygote_and_trainer_die_with_a_killed_supervisor(tmp_path, notes):
    program = SUPERVISOR.format(root=str(ROOT), log=str(tmp_path / "log"), standin=str(STANDIN))
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TRAIND_STANDIN_NOTES": str(notes)}
    supervisor = subprocess.Popen([sys.executable, "-c", program], env=environ)
    wait_until(lambda: "deaf" in notes.read_text(), "the trainer runs")
    trainer_pid, zygote_pid, _ = began(notes)[0]
    assert not gone(trainer_pid)
    supervisor.kill()
    supervisor.wait()
    wait_until(lambda: gone(zygote_pid) and gone(trainer_pid), "zygote and trainer are gone", 2.0)
