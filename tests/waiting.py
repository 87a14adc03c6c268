"""Waiting for a state with a deadline, never for a time."""

import time

import psutil
import pytest


def wait_until(holds, what, seconds=10.0, every=0.005):
    """Ask `holds` until it answers something true and return that; fail the test at the deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = holds()
        if value:
            return value
        time.sleep(every)
    pytest.fail(f"waited {seconds} s in vain until {what}")


def gone(pid):
    """Whether no process of that number runs; one that only waits to be reaped does not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
