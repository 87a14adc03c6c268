"""Processes that are killed at the n-th change that they make."""

import contextlib
import faulthandler
import os
import signal

import pytest

from tests.waiting import gone, wait_until

# Far more than any of these runs takes.
HANGS_S = 60.0


class Death:
    """Kills this process the n-th time that it is passed."""

    def __init__(self, number):
        self._left = number

    def __call__(self):
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner, name):
        """Passed before and after each call of a function of a module or a class."""
        function = getattr(owner, name)

        def passing(*arguments, **more):
            self()
            answer = function(*arguments, **more)
            self()
            return answer

        setattr(owner, name, passing)


def killed_at(number, act):
    """Do `act` with the n-th death in a fork; answers whether that was killed. Nobody connects over a fork.

    A fork of a process with threads may wait for ever for what one of them held at that moment. It tells where, and is
    killed there, which is one more place to die at; what waits each time meets the test's own timeout.
    """
    child = os.fork()
    if child:
        with contextlib.suppress(pytest.fail.Exception):
            wait_until(lambda: gone(child), "the fork has ended", HANGS_S + 10)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in {0, -signal.SIGKILL}
        return status != 0
    try:
        faulthandler.dump_traceback_later(HANGS_S, file=2)
        act(Death(number))
        os._exit(0)
    finally:
        os._exit(1)
