"""Processes that are killed at the n-th change that they make."""

import os
import signal


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
    """Do `act` with the n-th death in a fork; answers whether that was killed. Nobody connects over a fork."""
    child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in {0, -signal.SIGKILL}
        return status != 0
    try:
        act(Death(number))
        os._exit(0)
    finally:
        os._exit(1)
