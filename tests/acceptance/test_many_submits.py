"""One submit, one job: 30 clients, 600 submissions, 200 request ids, half of them cut off and sent again."""

import json
import random
import subprocess
import time
import uuid

from tests.acceptance.stack import PYTHON, ROOT
from traind.v1 import jobs_pb2

CLIENTS, SUBMISSIONS, IDS = 30, 600, 200


def plan():
    """600 submissions of 200 request ids, each id by three clients; every second one is cut off first."""
    ids = [str(uuid.UUID(int=random.Random(number).getrandbits(128), version=4)) for number in range(IDS)]
    order = [(request_id, seed) for seed, request_id in enumerate(ids)] * (SUBMISSIONS // IDS)
    random.Random(7).shuffle(order)
    cuts = ["", "grpc", "", "http"]
    return [[request_id, seed, cuts[number % 4]] for number, (request_id, seed) in enumerate(order)]


def run_clients(stack, plans):
    told = {"grpc": stack.address["grpc"], "http": stack.address["http"], "token": stack.token, "plans": plans}
    done = subprocess.run(
        [PYTHON, "-m", "tests.acceptance.submitter"],
        cwd=ROOT,
        input=json.dumps(told),
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def listed(wire):
    """Every job called `one of many`."""
    found, token = [], ""
    while True:
        request = jobs_pb2.ListJobsRequest(page_size=100, page_token=token)
        page = wire.call(wire.jobs.ListJobs, request)
        found += [job for job in page.jobs if job.display_name == "one of many"]
        token = page.next_page_token
        if not token:
            return found


def test_six_hundred_submissions_of_two_hundred_request_ids_make_two_hundred_jobs(stack, wire):
    whole = plan()
    answers = run_clients(stack, [whole[n::CLIENTS] for n in range(CLIENTS)])
    assert len(answers) == CLIENTS
    assert [error for answer in answers for error in answer["errors"]] == []
    names = {}
    for answer in answers:
        for request_id, got in answer["names"].items():
            names.setdefault(request_id, set()).update(got)
    assert len(names) == IDS
    assert all(len(got) == 1 for got in names.values()), "one id was answered with two jobs"
    jobs = listed(wire)
    assert {job.name for job in jobs} == {name for got in names.values() for name in got}
    assert len(jobs) == IDS
    deadline = time.monotonic() + 90
    while {job.state for job in jobs} != {jobs_pb2.Job.SUCCEEDED}:
        assert time.monotonic() < deadline, {jobs_pb2.Job.State.Name(job.state) for job in jobs}
        time.sleep(0.25)
        jobs = listed(wire)
    assert {job.attempt for job in jobs} == {1}
    assert "database is locked" not in stack.logs()
