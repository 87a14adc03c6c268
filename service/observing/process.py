"""What the kernel says of this process, under the names that every Prometheus exporter has for it."""

import contextlib
import math
import os
import pathlib
import resource
import time

from service.observing.exposition import Family, counter, gauge

_PROC = pathlib.Path("/proc")


def families() -> list[Family]:
    """CPU everywhere; memory, files and the start only where there is /proc."""
    usage, most = resource.getrusage(resource.RUSAGE_SELF), resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    found = [
        counter("process_cpu_seconds_total", "Seconds of CPU of this process.", usage.ru_utime + usage.ru_stime),
        gauge("process_max_fds", "Most open files.", math.inf if most == resource.RLIM_INFINITY else most),
    ]
    with contextlib.suppress(OSError, ValueError, IndexError):
        found += _from_proc()
    return found


def _from_proc() -> list[Family]:
    # Behind the last bracket: the name of the program may hold anything.
    stat = (_PROC / "self" / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    booted_s = float((_PROC / "uptime").read_text(encoding="ascii").split()[0])
    ticks = os.sysconf("SC_CLK_TCK")
    return [
        gauge("process_virtual_memory_bytes", "Address space of this process.", int(stat[20])),
        gauge(
            "process_resident_memory_bytes",
            "Memory of this process, mapped files too.",
            int(stat[21]) * os.sysconf("SC_PAGE_SIZE"),
        ),
        gauge("process_threads", "Threads of this process.", int(stat[17])),
        gauge("process_open_fds", "Open files of this process.", len(list((_PROC / "self" / "fd").iterdir()))),
        gauge(
            "process_start_time_seconds",
            "When this process began, seconds since 1970.",
            round(time.time() - booted_s + int(stat[19]) / ticks, 2),
        ),
    ]
