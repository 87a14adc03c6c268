"""Twelve defects planted into real processes: the check that is named for each turns red, and is green without it."""

import concurrent.futures
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from service.store.database import Database
from tests.acceptance.stack import ROOT
from tests.faults import defects, invariants
from tests.faults import record as records
from tests.faults import stack as stacks
from tests.faults.record import Client, Job, Record
from tests.waiting import wait_until

# A job that has lost its worker is begun again within lease, sweep and back-off, and a start of a process.
RESCUED_S = 12.0
# A ticket that came after the commit is taken at once where a worker is warm.
TAKEN_S = 6.0
# In a stack that must live by its tickets alone.
NO_SWEEP = {"TRAIND_SWEEP_S": "120"}


@dataclass(frozen=True)
class Seeded:
    """A defect, how it is brought to light, and by what."""

    defect: str
    # The database that its stack has.
    kind: str
    # The invariant whose lines must appear, alone.
    check: str
    # Answers the lines of that check after what it did with the stack.
    look: Callable[[stacks.FaultStack], list[str]]
    env: dict[str, str] = field(default_factory=dict)


def a_zombie_writes(stack):
    client = Client(stack, Record())
    with stack.acting("C11", "freeze"):
        job = client.submit(records.tiny())
        stack.wait_fired()
    client.wait(job.name)
    stack.wait_quiet()
    return rows_of(stack, "I3 ")


def a_ticket_is_read_before_the_commit(stack):
    client = Client(stack, Record())
    client.wait(client.submit(records.tiny()).name, seconds=TAKEN_S * 5)
    with stack.acting("C1", "wait"):
        # Once: the same submission again would wake the worker too.
        job = client.submit(records.tiny(), again=False)
    deadline = time.monotonic() + TAKEN_S
    while client.get(job.name).state == Job.QUEUED:
        if time.monotonic() > deadline:
            return [f"P6 {job.name} was not begun within {TAKEN_S:g} s"]
        time.sleep(0.05)
    client.wait(job.name)
    return []


def a_job_runs_through(stack):
    client = Client(stack, Record())
    client.wait(client.submit(records.tiny()).name)
    return rows_of(stack, "I9 an attempt")


def a_trainer_dies_after_a_checkpoint(stack):
    resumed(stack)
    return rows_of(stack, "I7 a series")


def a_worker_dies_with_a_job(stack):
    client = Client(stack, Record())
    with stack.acting("C5", "kill"):
        job = client.submit(records.tiny())
    deadline = time.monotonic() + RESCUED_S
    while client.get(job.name).state not in records.ENDED and time.monotonic() < deadline:
        time.sleep(0.05)
    return rows_of(stack, "I2 ")


def a_job_outlasts_its_lease(stack):
    client = Client(stack, Record())
    job = client.submit(records.long())
    client.wait(job.name, lambda job: job.epoch >= 1 or job.state in records.ENDED)
    began = time.monotonic()
    client.wait(job.name, lambda job: job.state in records.ENDED or time.monotonic() - began > 2 * stacks.LEASE_S)
    attempts = client.get(job.name).attempt
    with contextlib.suppress(records.grpc.RpcError):
        client.cancel(job.name)
    client.wait(job.name)
    return [f"I9 {job.name} was taken from a worker that lives"] if attempts > 1 else []


def a_job_goes_on_from_a_checkpoint(stack):
    client = Client(stack, Record())
    calm = client.wait(client.submit(records.tiny(seed=3)).name).name.removeprefix("jobs/")
    resumed(stack, seed=3)
    database = stack.database()
    [(task, calm)] = [(task, came) for job_id, task, *came in invariants.digests(database) if job_id == calm]
    found = invariants.of_results(database, {task: calm})
    database.dispose()
    return found


def a_stranger_asks(stack):
    client = Client(stack, Record())
    job = client.submit(records.tiny())
    client.wait(job.name)
    return invariants.of_strangers(stack.wire_of(stack.other_token), [job.name])


def a_cancel_comes_too_late(stack):
    client = Client(stack, Record())
    job = client.submit(records.tiny())
    client.wait(job.name)
    with contextlib.suppress(records.grpc.RpcError):
        client.cancel(job.name)
    return rows_of(stack, "I4 ")


SUBMIT = """
import sys, traind
client = traind.Client(sys.argv[1], token=sys.argv[2], timeout=60, connect_timeout=60, max_retries=100)
train = {"target": ["y"], "network": {"linear": {}}, "learn": {"gradient": {"epochs": 2}}}
client.jobs.create(dataset="waves", model="m", display_name=sys.argv[3], train=train).wait()
"""


def a_server_dies_before_it_answers(stack):
    """The client is a process of its own, in which the defect is planted."""
    name = f"submission {os.urandom(8).hex()}"
    with stack.acting("C2", "kill"):
        argv = [sys.executable, "-c", SUBMIT, stack.address["grpc"], stack.token, name]
        done = subprocess.run(argv, cwd=ROOT, env=stack.env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return rows_of(stack, "I12 one submission")


def a_trainer_dies_after_the_result(stack):
    client = Client(stack, Record())
    with stack.acting("C13", "kill"):
        job = client.submit(records.tiny())
        stack.wait_fired()
    client.wait(job.name)
    database = stack.database()
    with database.read() as connection:
        found = invariants.of_artifacts(connection)
    database.dispose()
    return found


def an_error_meets_nobody(stack):
    client = Client(stack, Record())
    with stack.acting("C1", "error"):
        client.submit(records.tiny())
    return invariants.of_refusals(client.record)


SEEDED = [
    Seeded("no fencing", "postgresql", "I3", a_zombie_writes),
    Seeded("publish before commit", "postgresql", "P6", a_ticket_is_read_before_the_commit, NO_SWEEP),
    Seeded("claim without attempt + 1", "sqlite", "I9", a_job_runs_through),
    Seeded("metrics outside the transaction", "sqlite", "I7", a_trainer_dies_after_a_checkpoint),
    Seeded("no sweeper", "postgresql", "I2", a_worker_dies_with_a_job),
    Seeded("sweeper by age", "sqlite", "I9", a_job_outlasts_its_lease),
    Seeded("missing random state", "postgresql", "I15", a_job_goes_on_from_a_checkpoint),
    Seeded("owner filter dropped", "sqlite", "I19", a_stranger_asks),
    Seeded("terminal overwritten by cancel", "postgresql", "I4", a_cancel_comes_too_late),
    Seeded("retry without key", "sqlite", "I12", a_server_dies_before_it_answers),
    Seeded("blob written after row", "postgresql", "I14", a_trainer_dies_after_the_result),
    Seeded("catch-all removed", "sqlite", "I19", an_error_meets_nobody),
]


def test_every_defect_is_tried():
    assert [seeded.defect for seeded in SEEDED] == list(defects.DEFECTS)


@pytest.fixture(scope="module")
def looks(request):
    """What each check finds beside its defect: looked for by two at a time, for most of a stack's life is its start."""
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        chosen = [item.callspec.params["seeded"] for item in request.session.items if "looks" in item.fixturenames]
        yield {seeded.defect: executor.submit(look_beside, seeded) for seeded in chosen}


def look_beside(seeded):
    with stacks.opened(seeded.kind, defect=seeded.defect, **seeded.env) as stack:
        found = seeded.look(stack)
        wait_until((stack.faults / "planted").exists, "the defect was planted")
        return found


@pytest.mark.parametrize("seeded", SEEDED, ids=lambda seeded: seeded.defect)
def test_a_defect_is_seen(looks, seeded):
    found = looks[seeded.defect].result()
    assert found
    assert all(line.startswith(seeded.check) for line in found), found


@pytest.mark.parametrize("seeded", SEEDED, ids=lambda seeded: seeded.defect)
def test_without_it_the_check_is_green(request, seeded):
    if seeded.env:
        with stacks.opened(seeded.kind, **seeded.env) as stack:
            assert seeded.look(stack) == []
    else:
        assert seeded.look(request.getfixturevalue(f"{seeded.kind}_faults")) == []


def rows_of(stack, rule):
    """The lines of one rule."""
    database = Database(stack.database_url)
    try:
        return [line for line in invariants.of_rows(database) if line.startswith(rule)]
    finally:
        database.dispose()


def resumed(stack, **more):
    """A job whose trainer was killed just after its second checkpoint."""
    client = Client(stack, Record())
    with stack.acting("C10", "kill", 2):
        job = client.submit(records.tiny(**more))
        stack.wait_fired()
    client.wait(job.name)
