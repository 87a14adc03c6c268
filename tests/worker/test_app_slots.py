"""Places: as many holders as slots, whichever process they are in, and a dead one's place is free."""

import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

from worker.slots import Slots

ROOT = pathlib.Path(__file__).parents[2]
HOLDER = """
import sys
from worker.slots import Slots
with Slots(int(sys.argv[1]), 2).one() as number:
    print(number, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def places():
    with tempfile.TemporaryFile() as file:
        yield file


def hold(places):
    """Another process that asks for a place; what it got."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(places.fileno())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        pass_fds=[places.fileno()],
    )
    return holder, holder.stdout.readline().strip()


def end(holder):
    holder.kill()
    holder.communicate()


def test_there_are_as_many_places_as_slots(places):
    slots = Slots(places.fileno(), 2)
    first, got_first = hold(places)
    second, got_second = hold(places)
    third, got_third = hold(places)
    assert [got_first, got_second, got_third] == ["0", "1", "None"]
    assert slots.free() == 0
    with slots.one() as number:
        assert number is None
    end(first)
    assert slots.free() == 1
    with slots.one() as number:
        assert number == 0
        fourth, got_fourth = hold(places)
        assert got_fourth == "None"
    for holder in (second, third, fourth):
        end(holder)
    assert slots.free() == 2


def test_counting_places_takes_none(places):
    slots = Slots(places.fileno(), 3)
    assert slots.free() == 3
    holder, got = hold(places)
    assert got == "0"
    end(holder)


def test_a_fork_has_not_its_parents_place(places):
    slots = Slots(places.fileno(), 1)
    with slots.one() as number:
        assert number == 0
        child = os.fork()
        if child == 0:
            with slots.one() as taken:
                os._exit(7 if taken is None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
