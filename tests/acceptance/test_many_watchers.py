"""30 clients watch 3 jobs each by the command, and the server is killed twice: nobody misses an epoch or the end."""

import collections
import json
import os
import re
import signal
import subprocess
import sys

import pytest
from google.protobuf import json_format

from tests import servers
from tests.acceptance import wire as wires
from tests.acceptance.stack import ROOT, Stack
from tests.waiting import gone, wait_until
from traind.v1 import jobs_pb2, learning_pb2

Job = jobs_pb2.Job
CLIENTS, EACH = 30, 3
JOBS = CLIENTS * EACH
# As many as the command shows one by one where its output is a file.
EPOCHS = 20
DOOMED = "to be cancelled"
EXITS = {Job.SUCCEEDED: 0, Job.FAILED: 3, Job.CANCELLED: 9}


def learns():
    """Long enough that the server can be killed twice before the last one."""
    job = wires.train(EPOCHS, batch_size=4)
    job.train.learn.gradient.path = learning_pb2.Gradient.GENERAL
    return job


def diverges():
    job = wires.train(EPOCHS)
    job.train.learn.gradient.optimizer.sgd.lr = 1000
    return job


def lasts():
    """Longer than a server takes to start again, so that it can be cancelled in the middle."""
    job = wires.train(EPOCHS, batch_size=1)
    job.display_name = DOOMED
    job.train.network.mlp.hidden[:] = [700, 700]
    job.train.learn.gradient.path = learning_pb2.Gradient.GENERAL
    return job


KINDS = {"learns": learns, "diverges": diverges, "lasts": lasts}
# The jobs of a client: two thirds of the clients have one that does not end well.
MIXES = (("learns", "diverges", "learns"), ("learns", "learns", "lasts"), ("learns", "learns", "learns"))
# Every tenth client starts an interpreter for each of its commands.
HOWS = [("anew", "anew", "anew"), *[("run", "watch", "run")] * 9]
WANTED = {"learns": Job.SUCCEEDED, "diverges": Job.FAILED, "lasts": Job.CANCELLED}


@pytest.fixture
def stack():
    """`api` alone, with PostgreSQL and Redis; its worker starts when all have submitted."""
    try:
        redis_url = servers.redis_url()
        servers.postgres_url()
    except servers.NoServer as error:
        servers.missing(error)
    with servers.fresh_database("postgresql") as url, Stack(url, redis_url) as stack:
        stack.token = stack.run("user", "add", "kim", "--scopes", "read,submit,predict").stdout.strip()
        stack.start("api", "service", "api")
        stack.wait_ready()
        # A server that is started again must be where it was.
        stack.env["TRAIND_GRPC_PORT"] = stack.address["grpc"].rpartition(":")[2]
        yield stack


def plans(folder):
    for name, make in KINDS.items():
        (folder / f"{name}.json").write_text(json_format.MessageToJson(make()), encoding="utf-8")
    return [
        [[str(folder / f"{kind}.json"), how] for kind, how in zip(mix, HOWS[number % 10], strict=True)]
        for number in range(CLIENTS)
        for mix in [MIXES[number % 3]]
    ]


def start_clients(stack, folder, asked):
    env = stack.env | {"TRAIND_URL": stack.address["grpc"], "TRAIND_TOKEN": stack.token}
    clients = subprocess.Popen(
        [sys.executable, "-m", "tests.acceptance.watchers"],
        cwd=ROOT,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    clients.stdin.write(json.dumps({"plans": asked, "folder": str(folder)}))
    clients.stdin.close()
    return clients


def listed(wire):
    page = wire.call(wire.jobs.ListJobs, jobs_pb2.ListJobsRequest(page_size=JOBS + 1))
    return list(page.jobs)


def ended(wire, *, calm=False):
    """How many have, 0 if a job that is to be cancelled runs and it shall be `calm`; it is cancelled in the middle."""
    jobs = listed(wire)
    running = [job for job in jobs if job.display_name == DOOMED and job.state not in {Job.QUEUED, *wires.ENDED}]
    for job in running:
        if job.epoch >= 2:
            wire.cancel(job.name)
    return 0 if calm and running else sum(job.state in wires.ENDED for job in jobs)


def kill_server(stack):
    pid = stack.roots["api"].pid
    os.kill(pid, signal.SIGKILL)
    stack.roots.pop("api").wait()
    wait_until(lambda: gone(pid), "the server is gone")
    stack.start("api", "service", "api")


@pytest.mark.alone
@pytest.mark.timeout(240)
def test_every_watch_ends_with_the_right_code_and_saw_every_epoch_once(stack, tmp_path):
    wire = stack.wire()
    wire.upload("waves", wires.table())
    asked = plans(tmp_path)
    clients = start_clients(stack, tmp_path, asked)
    try:
        wait_until(lambda: len(listed(wire)) == JOBS, "all have submitted", 60, every=0.2)
        stack.start("worker", "service", "worker")
        for share in (JOBS // 9, JOBS // 3):
            wait_until(lambda most=share: ended(wire, calm=True) >= most, f"{share} have ended", 60, every=0.1)
            assert ended(wire) < JOBS - 5, "the kill would meet nobody"
            kill_server(stack)
        wait_until(lambda: ended(wire) == JOBS, "all have ended", 90, every=0.1)
        told = json.loads(clients.stdout.read())
    finally:
        if clients.poll() is None:
            os.killpg(clients.pid, signal.SIGKILL)
        clients.wait(30)
        clients.stdout.close()
    jobs = {job.name.removeprefix("jobs/"): job for job in listed(wire)}
    check_outcomes(asked, told, jobs)


def check_outcomes(asked, told, jobs):
    watched, breaks = collections.Counter(), collections.Counter()
    for commands, outcomes in zip(asked, told, strict=True):
        for (spec, _), (code, out, err) in zip(commands, outcomes, strict=True):
            [job_id] = re.findall(r"^job   (\S+)$", err, re.MULTILINE)
            job = jobs[job_id]
            assert job.state == WANTED[spec.rpartition("/")[2].removesuffix(".json")], err
            assert code == EXITS[job.state], err
            epochs = [int(number) for number in re.findall(rf"^epoch (\d+)/{EPOCHS} ", err, re.MULTILINE)]
            assert epochs == list(range(1, job.epoch + 1)), err
            assert (job.model_version in out.split()) == (job.state == Job.SUCCEEDED), out
            watched[job.state] += 1
            breaks[err.count("the connection broke")] += 1
    assert len(jobs) == JOBS
    assert watched == {Job.SUCCEEDED: JOBS - 20, Job.FAILED: 10, Job.CANCELLED: 10}
    # A watch that was broken off twice without an event between tells it once.
    assert breaks[0] < JOBS // 2, breaks
