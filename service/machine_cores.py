"""How many cores of this machine are this process's to use."""

import math
import os
from collections.abc import Iterator

from service import cgroups


def usable_cores() -> int:
    """Cores that this process may run on, or fewer where its control group gives it less time than theirs; at least 1.

    A part of a core counts as one: a quota of 1.5 gives 2.
    """
    return max(1, min([_allowed(), *(math.ceil(quota) for quota in _quotas())]))


def _allowed() -> int:
    """Cores that the scheduler may put this process on; all, on systems that do not tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas() -> Iterator[float]:
    """Cores' worth of time that each group around this process allows it."""
    for folder in cgroups.above("cpu"):
        given = cgroups.read(folder / "cpu.max").split() or [
            cgroups.read(folder / name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        ]
        # `max` and -1 are no bound.
        if len(given) == 2 and all(part.isdigit() and int(part) for part in given):
            yield int(given[0]) / int(given[1])
