"""Everything frozen one by one and let go in another order; and a worker that comes back as a zombie."""

import random

import pytest

from tests.acceptance.stack import Stack
from tests.faults.lab import LEASE_S, Held, sleep
from tests.faults.record import tiny
from tests.waiting import wait_until

# The first of them makes the lab.
pytestmark = pytest.mark.timeout(300)

PARTS = ("api", "worker", "broker", "database")


@pytest.mark.parametrize("seed", [1, 2])
def test_swizzle(lab, seed):
    """Each stays frozen for more than a lease; then all goes on where it was."""
    rng = random.Random(seed)
    first, last = rng.sample(PARTS, 4), rng.sample(PARTS, 4)
    jobs = [lab.steady(), *(lab.submit(tiny()) for _ in range(4))]
    with lab.frozen_parts() as freezer:
        for part in first:
            freezer.freeze(part)
            sleep(LEASE_S / 2)
        for part in last:
            freezer.thaw(part)
            sleep(LEASE_S / 2)
    more = lab.submit(tiny())
    lab.assert_done(*jobs, more)
    lab.assert_predicts()


def freeze_between_writes(lab, worker):
    """None of them within a transaction: the database would end that meanwhile, and there be no write to refuse."""
    query = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = 'lab' AND clock_timestamp() - xact_start > '0.3 s'"

    def frozen():
        worker.freeze()
        sleep(0.5)
        with lab.postgres.session(lab.database_url) as session:
            under_way = session.execute(query).fetchone()[0]
        if under_way:
            worker.thaw()
        return not under_way

    wait_until(frozen, "the worker is frozen while it writes nothing", 30, 0.05)


def test_a_worker_frozen_for_three_leases_comes_back_and_its_write_is_counted(lab):
    """What it writes then is refused; an administrator reads that by `doctor`."""
    job, before = lab.steady("worker"), lab.refused()
    zombies = lab.trainers_of("worker")
    with lab.held("worker") as worker:
        freeze_between_writes(lab, worker)
        lab.client.wait(job.name, lambda job: job.attempt == 2)
        sleep(2 * LEASE_S)
        # Who learns writes before its guardian, back as well, would end it.
        Held(zombies).thaw()
        lab.assert_gone(zombies, within=20)
    lab.assert_done(job, attempts=2)
    wait_until(lambda: lab.refused() > before, "the refused write is counted", 10, 0.05)
    print(f"refused writes: {lab.refused() - before}")
    told = Stack.run(lab.stack, "doctor", check=False).stdout
    line = next(line for line in told.splitlines() if "fencing" in line)
    assert line.startswith(f"ok   fencing: {lab.refused()} writes of workers that had lost their job were refused")
    assert job.name in line
