"""What one job can take from the machine: set in its own process, before any data of a user is read."""

import contextlib
import ctypes
import resource
import sys

from service.settings import Settings
from service.store.records import DatasetRow, JobRow

# Address space of any job: torch itself reserves 1 GiB.
LEAST_ADDRESS_SPACE = 4 << 30
# A weight in float64 with its gradient, two moments of Adam, the best copy, and a checkpoint as tensors and as bytes.
BYTES_PER_PARAMETER = 96
# A byte of a CSV file, such as `1,`, may become a column of text in Arrow, a float64 and a copy of it.
BYTES_PER_FILE_BYTE = 16
OPEN_FILES = 1024
# Blocks from this size on are given back to the system as soon as they are free. Otherwise the C library raises the
# border to 32 MiB by itself, and arrays of a large table leave holes that nothing fills. It lies above what the loop
# gathers at once (loop.BYTES_AT_ONCE), which is taken and freed so often that fresh pages each time would cost more.
RETURNED_BYTES = 10 << 20
# Free bytes at the end of the heap that are kept for the next block.
KEPT_BYTES = 64 << 20
_PR_SET_NO_NEW_PRIVS = 38
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def limit_process(settings: Settings, job: JobRow, dataset: DatasetRow | None) -> None:
    """Bound this process, and have the system kill it before others when memory runs out."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _set(resource.RLIMIT_NOFILE, OPEN_FILES)
    if "cuda" not in settings.devices:  # CUDA reserves far more than it uses
        _set(resource.RLIMIT_AS, address_space(job, dataset))
    if sys.platform == "linux":
        _return_large_blocks()
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123  # no file
            score.write("500")


def address_space(job: JobRow, dataset: DatasetRow | None) -> int:
    """Bytes that a job may map: enough for any honest one, and an error instead of a machine out of memory else."""
    file_bytes = dataset.size_bytes if dataset else 0
    return LEAST_ADDRESS_SPACE + BYTES_PER_PARAMETER * job.parameter_count + BYTES_PER_FILE_BYTE * file_bytes


def _return_large_blocks() -> None:
    """Memory that a job has freed is not its own any more; other C libraries than glibc have no such border."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, RETURNED_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def _set(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))
