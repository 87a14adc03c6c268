"""How much memory this machine has, and whether the kernel killed for lack of it."""

import os
import re
from pathlib import Path

from service import cgroups

# What stays for the server, the zygotes and everybody else: so much, or that part of a small machine.
RESERVE = 1 << 30
RESERVED_PART = 4
# Of a job, on the smallest machine: what each may take beside its estimate in any case.
LEAST_SHARE = 512 << 20
_LIMITS = ("memory.max", "memory.limit_in_bytes")
# Of a group alone; of it and those below; of version 1.
_EVENTS = ("memory.events.local", "memory.events", "memory.oom_control")
_WHOLE_MACHINE = Path("/proc/vmstat")
_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def total_bytes() -> int:
    """Memory that this process can have: the machine's, or less where its control group says so."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([total, *_cgroup_limits()])


def share_bytes(slots: int) -> int:
    """What each of so many jobs at once can take, if the rest of the machine keeps its reserve."""
    total = total_bytes()
    return max(LEAST_SHARE, (total - min(RESERVE, total // RESERVED_PART)) // slots)


def oom_kills() -> int:
    """How often the kernel has killed a process of this one's control group for lack of memory; it only grows.

    Whoever ran out, the machine or the group, the kernel counts at the group of the process that it killed. Only where
    no group counts are those of the whole machine told.
    """
    files = [folder / name for folder in cgroups.own("memory") for name in _EVENTS]
    told = (_KILLS.findall(cgroups.read(path)) for path in [*files, _WHOLE_MACHINE])
    return next((int(counts[0]) for counts in told if counts), 0)


def _cgroup_limits() -> list[int]:
    texts = [cgroups.read(folder / name) for folder in cgroups.above("memory") for name in _LIMITS]
    return [int(text) for text in texts if text.isdigit() and int(text)]
