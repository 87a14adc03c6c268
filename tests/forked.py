"""What a fork of the test's process does and how it ends."""

import os
import traceback


def in_fork(act):
    """What `waitpid` tells of a fork that does `act`: its exit code, or minus the signal."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = act()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
