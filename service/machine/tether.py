"""Ties a process's life to its parent's, so that a parent killed with SIGKILL leaves nothing behind.

As a program (`python -I -S tether.py PARENT_PID PROGRAM ARGUMENT...`) it ties itself and then becomes PROGRAM:
the kernel keeps the tie over an exec, and no code has to run between a fork and an exec of a large process.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when the thread that started it ends; leave at once if it has ended already.

    A fork clears the tie, so each fork calls this again. The *thread* counts: whoever starts a tethered process does
    it from its main thread. Systems other than Linux have no such tie; there only the second half holds.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)


def tethered(argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` tied to the process that calls this."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *argv]


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606  # a list of our own, no shell
