"""Control groups of the kernel for processes that a test starts, where this machine lets one be made."""

import contextlib
import os
import secrets
from pathlib import Path

import pytest

from service import cgroups
from tests.waiting import wait_until

# By controller: the file of version 2, and of version 1.
_BOUNDS = {"memory": ("memory.max", "memory.limit_in_bytes"), "cpu": ("cpu.max", "cpu.cfs_quota_us")}


@contextlib.contextmanager
def control_group(controller):
    """The folder of a group of the test's own. Skips the test where none can be made: that takes root's rights.

    What such a test shows of a machine without them is shown by RLIMITs too, or by folders that look like groups.
    """
    made = _make(controller)
    if made is None:
        pytest.skip(f"no control group of {controller} can be made here")
    try:
        yield made
    finally:
        wait_until(lambda: not (made / "cgroup.procs").read_text(), f"nobody is in {made}")
        made.rmdir()


def bound(group, controller, *texts):
    """Write the group's bound: the text of version 2, then that of version 1."""
    for name, text in zip(_BOUNDS[controller], texts, strict=True):
        if (group / name).exists():
            (group / name).write_text(text)
            return
    raise AssertionError(f"{group} has no bound of {controller}")


def entering(group):
    """Words before those of a program that is to run there."""
    return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs")]


def enter(group):
    """Move this process there: meant for a fork."""
    (group / "cgroup.procs").write_text(str(os.getpid()))


def _make(controller):
    """Below this process's own group, else as near to it as groups have the controller."""
    for parent in cgroups.above(controller):
        folder = parent / f"traind-test-{secrets.token_hex(4)}"
        with contextlib.suppress(OSError):
            folder.mkdir()
            if any((folder / name).exists() for name in _BOUNDS[controller]):
                return folder
            folder.rmdir()
    return None


def used_bytes(group):
    """Memory that the group's processes have now, with files that they have read."""
    for name in ("memory.current", "memory.usage_in_bytes"):
        if (group / name).exists():
            return int(Path(group / name).read_text())
    raise AssertionError(f"{group} counts no memory")
