"""Kept children: started again when they die, stopped when asked, gone when their parent is killed."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import psutil
import pytest

from service.machine import keeper
from service.machine.keeper import Kept
from tests.waiting import wait_until

ROOT = pathlib.Path(__file__).parents[3]
SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
DEAF = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf'); time.sleep(600)"]


@pytest.fixture
def kept(tmp_path):
    children = []

    def make(*argv):
        child = Kept("child", argv, log=tmp_path / "child.log", env={**os.environ, "PYTHONUNBUFFERED": "1"})
        child.start()
        children.append(child)
        return child

    yield make
    for child in children:
        child.kill()


def test_a_dead_child_is_started_again_after_a_pause_and_said(kept):
    child = kept(*SLEEPER)
    first = child.process.pid
    assert child.tend() is None
    os.kill(first, signal.SIGKILL)
    said = wait_until(child.tend, "the death is noticed")
    assert said == "child was killed by SIGKILL; it starts again in 0.5 s"
    wait_until(lambda: child.tend() or child.process.pid != first, "it runs again")
    assert child.process.poll() is None


def test_pauses_grow_while_it_keeps_dying(kept):
    child = kept(sys.executable, "-c", "raise SystemExit(3)")
    said = [wait_until(child.tend, "it died", 5) for _ in range(3)]
    assert [line.rpartition(" in ")[2] for line in said] == ["0.5 s", "1 s", "2 s"]
    assert said[0].startswith("child ended with exit code 3")


@pytest.mark.alone
def test_stop_asks_first_and_kills_the_deaf(kept):
    child = kept(*SLEEPER)
    assert child.stop(time.monotonic() + 5)
    assert child.process.returncode == -signal.SIGTERM
    deaf = kept(*DEAF)
    wait_until(lambda: "deaf" in deaf.log.read_text(), "it is deaf")
    began = time.monotonic()
    assert not deaf.stop(began + 0.3)
    assert 0.3 <= time.monotonic() - began < 2
    assert deaf.process.returncode == -signal.SIGKILL


def test_logs_are_private_and_put_aside_when_they_have_grown(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "LARGEST_LOG_BYTES", 10)
    path = tmp_path / "a.log"
    with keeper.open_log(path) as log:
        log.write(b"longer than ten bytes\n")
    assert path.stat().st_mode & 0o777 == 0o600
    with keeper.open_log(path) as log:
        log.write(b"new\n")
    assert path.read_bytes() == b"new\n"
    assert (tmp_path / "a.log.1").read_bytes() == b"longer than ten bytes\n"
    with keeper.open_log(path) as log:
        log.write(b"more\n")
    assert path.read_bytes() == b"new\nmore\n"


PARENT = """
import pathlib, sys, time
from service.machine.keeper import Kept
child = Kept("child", [sys.executable, "-c", "import time; time.sleep(600)"])
child.start()
print(child.process.pid, flush=True)
time.sleep(600)
"""


def test_a_child_dies_with_a_killed_parent():
    with subprocess.Popen([sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        wait_until(lambda: "tether.py" not in " ".join(child.cmdline()), "the child has become its program")
        parent.kill()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child is gone", 2)


def test_a_child_whose_parent_died_before_it_was_tied_leaves_at_once():
    ended = subprocess.run(
        [sys.executable, "-I", "-S", str(ROOT / "service" / "machine" / "tether.py"), "1", "/bin/echo", "alive"],
        capture_output=True,
        check=False,
    )
    assert ended.stdout == b""
    assert ended.returncode == 1
