"""What the bounds of a job's process (worker/limits.py) cost: a fork that sets them beside one that does not.

A warm process forks in interleaved pairs, as a zygote does. Each child sets the bounds or not, and then either leaves
at once or runs a small job from its row to its model. Figures are CPU seconds of the child, as the kernel counts them.
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from types import SimpleNamespace

import torch

from service.settings import Settings
from worker.limits import limit_process
from worker.rehearsal import rehearse

STARTS, JOBS = 101, 31
STATED_S = 0.002
MISSED = 1.05  # more than 5 % above = exit 1


def child_seconds(act: Callable[[], object]) -> float:
    """CPU seconds of a fork that does `act` and leaves."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    _, status, usage = os.wait4(pid, 0)
    assert status == 0, f"a child ended with {status}"
    return usage.ru_utime + usage.ru_stime


def pairs(count: int, bounds: Callable[[], object], work: Callable[[], object]) -> tuple[float, float, float]:
    """Medians: without bounds, with them, and of the differences of pairs."""

    def bounded() -> None:
        bounds()
        work()

    without, within = [], []
    for number in range(count):
        for took, act in ((without, work), (within, bounded))[:: 1 if number % 2 else -1]:
            took.append(child_seconds(act))
    differences = [one - other for one, other in zip(within, without, strict=True)]
    return statistics.median(without), statistics.median(within), statistics.median(differences)


def main() -> int:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="traind-bench-") as folder:
        settings = Settings.from_env({"TRAIND_DATA_DIR": folder})
        settings.tmp_dir.mkdir(parents=True)
        rehearse(settings)
        job = SimpleNamespace(memory_bytes=64 << 20)

        def bounds() -> None:
            limit_process(settings, job, None)

        start = pairs(STARTS, bounds, lambda: None)
        whole = pairs(JOBS, bounds, lambda: rehearse(settings))
    print("| CPU ms of a fork | without bounds | with them | more, median of pairs | stated |")
    print("|---|---|---|---|---|")
    for name, figures, stated in (
        (f"that only begins, {STARTS} pairs", start, f"under {STATED_S * 1e3:g} more"),
        (f"that runs a small job, {JOBS} pairs", whole, ""),
    ):
        print(f"| {name} | {' | '.join(f'{1e3 * figure:.2f}' for figure in figures)} | {stated} |")
    return 0 if start[2] < STATED_S * MISSED else 1


if __name__ == "__main__":
    sys.exit(main())
