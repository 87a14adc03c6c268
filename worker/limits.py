"""What one job can take from the machine: set in its own process, before any data of a user is read.

    RLIMIT_DATA     what the process has as a fork, and what the job may take: `allowed_bytes`
    RLIMIT_AS       the same, and the files that it maps, which cost no memory
    RLIMIT_CPU      while the loop runs, where the spec limits time: it looks at the clock between batches only
    RLIMIT_FSIZE    one file: half of what is free on the disk
    RLIMIT_NOFILE   256 open files
    RLIMIT_CORE     0: memory of a user does not go to the disk

A job that meets a bound gets an error in its own process, and fails with it; others go on. The kernel, if it must kill,
takes a trainer before a supervisor or a server.
"""

import contextlib
import ctypes
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from service.machine_memory import LEAST_SHARE
from service.settings import Settings
from service.store.records import DatasetRow, JobRow

# How many times its estimate (service/modelling/memory.py) a job may take, and how many bytes in any case. Measured,
# jobs of every kind take 0.78 to 1.04 of it; but categories of a target are counted only when rows are read.
HEADROOM = 2
SLACK = LEAST_SHARE
# Mapped files count as address space, though they cost no memory. A byte of a CSV file, such as `1,`, may become a
# column of text in Arrow, a float64 and a copy of it.
MAPPED_PER_FILE_BYTE = 16
# Features of encoded or compressed columns are larger by any factor, and lie in a mapped file too; what a job takes of
# memory is bound by RLIMIT_DATA.
MAPPED_BYTES = 64 << 30
# Above the bound: room in which a job that has met it tells so.
LAST_WORDS = 64 << 20
# How many times what is left of a job's `max_seconds` its loop may take of the processor, and how many seconds in any
# case: a batch that has begun when time is over, and the figures of its epoch, are to be finished.
CPU_HEADROOM, CPU_SLACK_S = 2, 60
LEAST_FILE = 1 << 30
OPEN_FILES = 256
# Blocks from this size on are given back to the system as soon as they are free. Otherwise the C library raises the
# border to 32 MiB by itself, and arrays of a large table leave holes that nothing fills. It lies above what the loop
# gathers at once (loop.BYTES_AT_ONCE), which is taken and freed so often that fresh pages each time would cost more.
RETURNED_BYTES = 10 << 20
# Free bytes at the end of the heap that are kept for the next block.
KEPT_BYTES = 64 << 20
_PR_SET_NO_NEW_PRIVS = 38
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_STATM_SIZE, _STATM_DATA = 0, 5
# What a trainer has before its job, where the system does not tell: torch, and what it reserves.
_DATA_UNTOLD, _SPACE_UNTOLD = 2 << 30, 4 << 30
_T = TypeVar("_T")


def limit_process(settings: Settings, job: JobRow, dataset: DatasetRow | None) -> None:
    """Bound this process, and have the system kill it before others when memory runs out."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _set(resource.RLIMIT_NOFILE, OPEN_FILES)
    _set(resource.RLIMIT_FSIZE, largest_file(settings), resource.RLIM_INFINITY)
    if "cuda" not in settings.devices:  # CUDA reserves far more than it uses
        data, space = _taken()
        data += allowed_bytes(settings, job)
        space += allowed_bytes(settings, job) + mapped_bytes(dataset)
        _set(resource.RLIMIT_DATA, data, data + LAST_WORDS)
        _set(resource.RLIMIT_AS, space, space + LAST_WORDS)
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        _return_large_blocks(library)
        library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        with contextlib.suppress(OSError):
            _of_system("/proc/self/oom_score_adj", os.O_WRONLY, lambda score: os.write(score, b"500"))


def allowed_bytes(settings: Settings, job: JobRow) -> int:
    """Bytes that a job may take: enough for any honest one, and an error instead of a machine out of memory else.

    A worker with less memory than the server believes gives no job more than its own TRAIND_MAX_JOB_BYTES and SLACK.
    """
    return SLACK + min(HEADROOM * job.memory_bytes, settings.max_job_bytes)


def mapped_bytes(dataset: DatasetRow | None) -> int:
    """Bytes of files that a job may map: its table, and the features of large ones."""
    return MAPPED_BYTES + (MAPPED_PER_FILE_BYTE * dataset.size_bytes if dataset else 0)


@contextlib.contextmanager
def processor_bound(seconds: float | None) -> Iterator[None]:
    """Have the system end this process by SIGXCPU where what is done within takes far more of the processor.

    `seconds` are those of the clock that it may take; None = no bound. What the process has taken before does not
    count, and what comes after is not bound.
    """
    if seconds is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    more = math.ceil(time.process_time() + CPU_HEADROOM * max(seconds, 0.0)) + CPU_SLACK_S
    # The hard one stays: nobody without rights can raise it again.
    resource.setrlimit(resource.RLIMIT_CPU, (_lower(more, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def largest_file(settings: Settings) -> int:
    """Bytes of the largest file that a job may write: half of what is free, so that it alone does not fill the disk.

    SQLite's database is written by the trainer itself, so its bytes do not count.
    """
    try:
        disk = os.statvfs(settings.tmp_dir)
        free = disk.f_bavail * disk.f_frsize
    except OSError:
        free = 0
    return max(LEAST_FILE, free // 2) + _database_bytes(settings)


def make_room() -> None:
    """After a bound was met: what it takes to tell so. A bound that is met again ends the process."""
    for limit in (resource.RLIMIT_DATA, resource.RLIMIT_AS, resource.RLIMIT_FSIZE):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (hard, hard))


def _database_bytes(settings: Settings) -> int:
    if not settings.database_url.startswith("sqlite:///"):
        return 0
    try:
        return Path(settings.database_url.removeprefix("sqlite:///")).stat().st_size
    except OSError:
        return 0


def _taken() -> tuple[int, int]:
    """What this process has now: bytes of memory that it can write to alone, and of address space."""
    try:
        pages = _of_system("/proc/self/statm", os.O_RDONLY, lambda told: os.read(told, 256)).split()
    except OSError:
        return _DATA_UNTOLD, _SPACE_UNTOLD
    return int(pages[_STATM_DATA]) * resource.getpagesize(), int(pages[_STATM_SIZE]) * resource.getpagesize()


def _of_system(path: str, flags: int, act: Callable[[int], _T]) -> _T:
    """Do something with a file of /proc. Without Python's layers, which would cost more than all the rest here."""
    file = os.open(path, flags)
    try:
        return act(file)
    finally:
        os.close(file)


def _return_large_blocks(library: ctypes.CDLL) -> None:
    """Memory that a job has freed is not its own any more; other C libraries than glibc have no such border."""
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, RETURNED_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def _set(limit: int, soft: int, hard: int | None = None) -> None:
    """Set a limit; where the process already has a lower one, that holds."""
    _, given = resource.getrlimit(limit)
    wanted = (soft, soft if hard is None else hard)
    resource.setrlimit(limit, tuple(_lower(one, given) for one in wanted))  # type: ignore[arg-type]


def _lower(one: int, other: int) -> int:
    if resource.RLIM_INFINITY in (one, other):
        return one if other == resource.RLIM_INFINITY else other
    return min(one, other)
