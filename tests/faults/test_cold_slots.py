"""A slot of Celery that was started anew, and whose zygote warms up for long: jobs go to the slot that is warm."""

import contextlib
import os
import signal

import psutil
import pytest

from tests.faults.record import Job, tiny
from tests.waiting import wait_until

# The first of them makes the stack.
pytestmark = pytest.mark.timeout(300)
ENDLESS = 1_000_000


def holder(stack, name):
    """The process of the supervisor that holds the job."""
    database = stack.database()
    with database.read() as connection:
        query = f"SELECT worker FROM job WHERE id = '{name.removeprefix('jobs/')}'"
        held_by = connection.exec_driver_sql(query).scalar_one()
    database.dispose()
    return int(held_by.rpartition(":")[2])


def zygote_of(supervisor):
    with contextlib.suppress(psutil.Error):
        return supervisor.children()


def test_a_cold_slot_leaves_jobs_to_a_warm_one(stack, client):
    busy = client.submit(tiny(ENDLESS))
    client.wait(busy.name, lambda job: job.epoch >= 1)
    warm = holder(stack, busy.name)
    cold = stack.faults / "cold"
    cold.touch()
    try:
        killed = [one for one in stack.supervisors() if one.pid != warm]
        for one in killed:
            os.kill(one.pid, signal.SIGKILL)

        def anew():
            others = [one for one in stack.supervisors() if one.pid not in {warm, *(old.pid for old in killed)}]
            return others and all(zygote_of(one) for one in others)

        wait_until(anew, "another child warms up in the place of the killed one", 60)
        client.cancel(busy.name)
        for name in [client.submit(tiny()).name for _ in range(4)]:
            ended = client.wait(name, seconds=60)
            assert (ended.state, ended.attempt) == (Job.SUCCEEDED, 1)
    finally:
        cold.unlink()
