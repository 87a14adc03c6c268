"""What clients wrote down while the server was killed twice holds together; and the checker of it sees what does not.

6 clients of 40 operations; with TRAIND_TEST_SOAK=1 30 of 200, with a new seed, which TRAIND_TEST_SEED sets again.
"""

import copy
import json
import os
import signal
import subprocess

import pytest

from tests.acceptance import stack as stacks
from tests.acceptance.conftest import furnished
from tests.faults import history_check, profiles
from tests.faults.history_clients import seen, seen_event
from tests.waiting import gone, wait_until
from traind.v1 import jobs_pb2

CLIENTS, OPERATIONS = (30, 200) if profiles.SOAKING else (6, 40)
KILLS = 2
SECONDS = 3600 if profiles.SOAKING else 100


@pytest.fixture(scope="module")
def up():
    with stacks.up() as stack:
        yield furnished(stack)


@pytest.mark.timeout(profiles.LONGEST_S)
def test_histories_of_clients_hold_together(up):
    seed = profiles.SEED if profiles.SOAKING else 20261127
    print(f"TRAIND_TEST_SEED={seed}")
    before = count_jobs(up)
    told = {"grpc": up.address["grpc"], "token": up.token, "clients": CLIENTS, "operations": OPERATIONS, "seed": seed}
    clients = subprocess.Popen(
        [stacks.PYTHON, "-m", "tests.faults.history_clients"],
        cwd=stacks.ROOT,
        env=up.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        clients.stdin.write(json.dumps(told))
        clients.stdin.close()
        for kill in range(1, KILLS + 1):
            # After a third of what they will submit, and after two thirds.
            some = before + CLIENTS * OPERATIONS * kill // (5 * (KILLS + 1))
            wait_until(lambda some=some: count_jobs(up) >= some, "they have submitted", SECONDS, 0.02)
            assert clients.poll() is None, "the clients were done before the server was killed"
            kill_server(up)
        notes = json.loads(clients.stdout.read())
        assert clients.wait(SECONDS) == 0
    finally:
        clients.kill()
        clients.wait()
        clients.stdout.close()
    final = settled(up)
    assert len(notes) >= CLIENTS * OPERATIONS * 0.9
    assert history_check.violations(notes, final) == []
    assert spanning_a_kill(notes), "no call met a server that was away"
    counts = {what: sum(note["what"] == what for note in notes) for what in sorted({note["what"] for note in notes})}
    print(f"{len(notes)} notes on {len(final)} jobs: {counts}")


def count_jobs(stack):
    database = stack.database()
    try:
        with database.read() as connection:
            return connection.exec_driver_sql("SELECT COUNT(*) FROM job").scalar_one()
    finally:
        database.dispose()


def kill_server(stack):
    """SIGKILL of the server alone; `up` starts it again on the same ports."""
    (server,) = stack.processes("-m service api")
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: gone(server.pid), "it is gone")
    wait_until(lambda: (stack.address or {}).get("pid") not in {None, server.pid}, "it is back", stacks.READY_S)


def settled(stack):
    """Every job after its end, with all its events; those that are paused go on first."""
    wire = stack.wire()
    final = {}
    for name in names_of_all(wire):
        job = wire.get(name)
        while job.state in {jobs_pb2.Job.PAUSING, jobs_pb2.Job.PAUSED}:
            job = wire.wait(name, SECONDS, lambda job: job.state != jobs_pb2.Job.PAUSING)
            if job.state == jobs_pb2.Job.PAUSED:
                job = wire.call(wire.jobs.ResumeJob, jobs_pb2.ResumeJobRequest(name=name))
    for name in names_of_all(wire):
        job = wire.wait(name, SECONDS)
        final[name] = seen(job) | {"events": [seen_event(event) for event in wire.watch(name)]}
    return final


def names_of_all(wire):
    found, token = [], ""
    while True:
        page = wire.call(wire.jobs.ListJobs, jobs_pb2.ListJobsRequest(page_token=token))
        found += [job.name for job in page.jobs]
        token = page.next_page_token
        if not token:
            return found


def spanning_a_kill(notes):
    """Calls that took as long as a server takes to come back."""
    return [note for note in notes if note["what"] != "watch" and note["end"] - note["begin"] > 0.3]


# Histories made by hand: the checker must see what is wrong with each, and nothing in the right one.


def note(what, begin, end, told, client=0, **asked):
    return {"client": client, "what": what, "begin": begin, "end": end, "asked": asked, "told": told}


def job(name="jobs/a", state="RUNNING", attempt=1, epoch=0):
    return {"name": name, "state": state, "attempt": attempt, "epoch": epoch}


def state(seq, name, attempt=1):
    return {"seq": seq, "kind": "state", "attempt": attempt, "state": name}


def epoch(seq, number):
    return {"seq": seq, "kind": "epoch", "attempt": 1, "epoch": number}


EVENTS = [state(1, "QUEUED", 0), state(2, "RUNNING"), epoch(3, 1), epoch(4, 2), state(5, "SUCCEEDED")]
CANCELLED = [state(1, "QUEUED", 0), state(2, "RUNNING"), state(3, "CANCELLING"), state(4, "CANCELLED")]
FINAL = {
    "jobs/a": job(state="SUCCEEDED", epoch=2) | {"events": EVENTS},
    "jobs/b": job("jobs/b", "CANCELLED") | {"events": CANCELLED},
}
SUBMITTED_A = note("submit", 0, 1, {"job": job(state="QUEUED", attempt=0)}, key="k1", body=[3, 7])
SUBMITTED_B = note("submit", 1, 2, {"job": job("jobs/b", "QUEUED", 0)}, client=1, key="k2", body=[3, 8])
RIGHT = [
    SUBMITTED_A,
    SUBMITTED_B,
    note("submit", 3, 4, {"job": job(epoch=1)}, key="k1", body=[3, 7]),
    note("submit", 3, 4, {"error": "ALREADY_EXISTS"}, key="k1", body=[3, 9]),
    note("get", 4, 5, {"job": job(epoch=1)}, name="jobs/a"),
    # They overlap: either may have been first.
    note("get", 6, 9, {"job": job(epoch=1)}, name="jobs/a"),
    note("get", 7, 8, {"job": job(epoch=2)}, client=1, name="jobs/a"),
    note("watch", 2, 10, {"events": EVENTS}, name="jobs/a"),
    note("watch", 2, 3, {"events": EVENTS[:3]}, name="jobs/a"),
    note("list", 10, 11, {"jobs": [job("jobs/b"), job(state="SUCCEEDED", epoch=2)]}),
    note("cancel", 12, 13, {"job": job("jobs/b", "CANCELLING")}, client=1, name="jobs/b"),
    note("cancel", 12, 13, {"error": "FAILED_PRECONDITION"}, name="jobs/a"),
]


def test_a_right_history_is_right():
    assert history_check.violations(RIGHT, FINAL) == []


def test_a_job_that_ended_before_its_cancel_reached_it_says_so():
    final = copy.deepcopy(FINAL)
    final["jobs/b"] = job("jobs/b", "SUCCEEDED") | {"events": [*CANCELLED[:3], state(4, "SUCCEEDED")]}
    assert history_check.violations(RIGHT, final) == []


def changed_events(*events):
    return note("watch", 2, 10, {"events": list(events)}, name="jobs/a")


@pytest.mark.parametrize(
    ("added", "told"),
    [
        (note("submit", 0, 1, {"job": job("jobs/c")}, key="k3", body=[1, 1]), "jobs/c was acknowledged and is missing"),
        (note("get", 5, 6, {"error": "NOT_FOUND"}, name="jobs/a"), "get did not find it"),
        (note("get", 9.5, 9.6, {"job": job(epoch=1)}, name="jobs/a"), "went back from epoch 2 to 1"),
        (note("get", 9.5, 9.6, {"job": job(epoch=2, attempt=0)}, name="jobs/a"), "went back from attempt 1 to 0"),
        (note("get", 3.5, 3.6, {"job": job(epoch=0)}, name="jobs/a"), "went back from epoch 1 to 0"),
        (note("get", 12, 13, {"job": job(epoch=2)}, client=2, name="jobs/a"), "went back from SUCCEEDED to RUNNING"),
        (note("get", 14, 15, {"job": job("jobs/b", "PAUSED")}, name="jobs/b"), "went back from CANCELLING to PAUSED"),
        (note("list", 9.5, 9.6, {"jobs": [job("jobs/b"), job(epoch=1)]}), "went back from epoch 2 to 1"),
        (changed_events(*EVENTS[:3], *EVENTS[2:]), "saw the events [1, 2, 3, 3, 4, 5]"),
        (changed_events(*EVENTS[:2], *EVENTS[3:]), "saw the events [1, 2, 4, 5]"),
        (changed_events(*EVENTS[:3], epoch(4, 1), EVENTS[4]), "saw epoch 1 after 1"),
        (changed_events(*EVENTS[:3], epoch(4, 3), EVENTS[4]), "saw epoch 3 after 1"),
        (changed_events(*EVENTS[:4], state(5, "FAILED")), "saw what did not happen"),
        (changed_events(*EVENTS, state(6, "RUNNING")), "saw what did not happen"),
        (note("submit", 5, 6, {"job": job("jobs/b")}, key="k1", body=[3, 7]), "answered with jobs/a and with jobs/b"),
        (note("submit", 5, 6, {"job": job(epoch=1)}, key="k4", body=[3, 7]), "jobs/a was answered to two keys"),
        (note("submit", 5, 6, {"job": job(epoch=1)}, key="k1", body=[9, 9]), "the key k1 was taken with two bodies"),
        (note("submit", 5, 6, {"error": "ALREADY_EXISTS"}, key="k1", body=[3, 7]), "refused with the body it has"),
        (
            note("cancel", 5, 6, {"job": job(state="CANCELLED")}, name="jobs/a"),
            "was CANCELLED for the caller and ended",
        ),
        (
            note("cancel", 5, 6, {"job": job(state="CANCELLING", epoch=1)}, name="jobs/a"),
            "was CANCELLING for the caller",
        ),
        (note("cancel", 5, 6, {"job": job(epoch=1)}, name="jobs/a"), "was answered with RUNNING"),
        (note("cancel", 5, 6, {"error": "FAILED_PRECONDITION"}, name="jobs/b"), "refused, and it ended CANCELLED"),
        (note("list", 3, 4, {"jobs": [job("jobs/b")]}), "jobs/a was acknowledged, and client 0 was not listed it"),
        (note("list", 3, 4, {"jobs": [job("jobs/b"), job(), job()]}), "was listed a job twice"),
        (note("get", 3, 4, {"error": "UNAVAILABLE"}, name="jobs/a"), "was answered UNAVAILABLE"),
        (note("get", 3, 4, {"error": "INTERNAL"}, name="jobs/a"), "was answered INTERNAL"),
    ],
)
def test_a_wrong_history_is_seen(added, told):
    found = history_check.violations([*RIGHT, added], FINAL)
    assert any(told in line for line in found), found
