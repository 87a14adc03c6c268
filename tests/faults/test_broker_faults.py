"""Whatever happens to the broker: nobody waits for it, what runs goes on, what is queued starts."""

import contextlib
import time

import pytest

from tests.faults.lab import LEASE_S, SWEEP_S, sleep, timed
from tests.faults.record import tiny
from tests.waiting import wait_until

# The first of them makes the lab.
pytestmark = pytest.mark.timeout(300)

# From the submission to its answer, on a machine whose cores are taken by training.
ANSWER_S = 1.5
# A consumer asks the broker anew so often.
ASKED_S = 1.0


def away(seconds):
    @contextlib.contextmanager
    def fault(broker):
        back = broker.away(seconds)
        yield
        back.join()

    return fault


@contextlib.contextmanager
def flushed(broker):
    broker.flush()
    yield
    broker.flush()


@contextlib.contextmanager
def frozen(broker):
    with broker.frozen():
        yield


@contextlib.contextmanager
def full(broker):
    broker.fill()
    yield
    broker.empty()


FAULTS = {
    "killed": away(0.0),
    "away for 2 s": away(2.0),
    "away for 5 s": away(5.0),
    "flushed": flushed,
    "frozen": frozen,
    "full": full,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.alone
def test_a_broker_that_fails(lab, fault):
    running = lab.steady()
    with fault(lab.broker):
        waiting = []
        for _ in range(3):
            job, took = timed(lambda: lab.submit(tiny()))
            assert took < ANSWER_S, "nobody waits for a broker"
            waiting.append(job)
        lab.assert_predicts()
    lab.assert_done(running, attempts=1)
    lab.assert_done(*waiting, attempts=1)


def test_jobs_run_without_a_broker_that_stays_full(lab):
    """Slots look for jobs themselves once jobs starve beside free ones."""
    with full(lab.broker):
        jobs = [lab.submit(tiny()) for _ in range(3)]
        lab.assert_done(*jobs, attempts=1)


@pytest.mark.alone
def test_jobs_whose_tickets_were_destroyed_start_within_a_lease_and_a_sweep(lab):
    """20 of 20, five at a time: all that was sent for them is gone before any worker could read it."""
    took = []
    for _ in range(4):
        with lab.consumers_held() as consumers:
            consumers.freeze()
            # What they had asked for when they were frozen, the broker would still give to them.
            sleep(1.5 * ASKED_S)
            jobs = [lab.submit(tiny()) for _ in range(5)]
            wait_until(lab.tickets, "tickets wait", 5)
            lab.broker.flush()
            began = time.monotonic()
        for job in jobs:
            lab.client.wait(job.name, lambda job: job.attempt > 0)
            took.append(time.monotonic() - began)
        lab.assert_done(*jobs, attempts=1)
    print("seconds to the start:", [round(seconds, 2) for seconds in took])
    assert len(took) == 20
    assert max(took) <= LEASE_S + SWEEP_S
