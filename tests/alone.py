"""A test marked `alone` has the machine for itself: beside another one, its bounds in seconds would tell nothing.

Where two tests run at a time (pytest-xdist), each in a process of its own, every test holds the room while it runs, one
marked `alone` with nobody beside it; who comes waits at the door, so that those who come later cannot go first.
"""

import contextlib
import fcntl
import pathlib
import tempfile

import pytest


class Rooms:
    """In the process that hands out tests: the folder of the locks."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="traind-alone-")

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node):
        node.workerinput["rooms"] = self._folder.name

    def pytest_unconfigure(self):
        self._folder.cleanup()


class Room:
    """In a process that runs tests beside another one."""

    def __init__(self, folder):
        self._folder = pathlib.Path(folder)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item):
        """Around fixtures, test and timeout: waiting is not the test's time."""
        with contextlib.ExitStack() as held:
            with self._held("door", fcntl.LOCK_EX):
                held.enter_context(
                    self._held("room", fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
                )
            return (yield)

    @contextlib.contextmanager
    def _held(self, name, kind):
        with (self._folder / name).open("w") as file:
            fcntl.flock(file, kind)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)  # a process that the test forked has the file as well


def begin(config):
    """Put whatever this process needs of it into the run."""
    own = getattr(config, "workerinput", None)
    if own is not None:
        config.pluginmanager.register(Room(own["rooms"]), "room")
    elif config.getoption("dist", "no") != "no":
        config.pluginmanager.register(Rooms(), "rooms")
