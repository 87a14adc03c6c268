"""Memory that runs out for good: the kernel kills a trainer in a real control group; its job fails, others go on."""

import pytest

from tests.acceptance import stack as stacks
from tests.acceptance import wire as wires
from tests.control_groups import bound, control_group, entering, used_bytes
from traind.v1 import jobs_pb2

MIB, GIB = 1 << 20, 1 << 30
Job, Reason = jobs_pb2.Job, jobs_pb2.Failure
# More than the worker has when it is warm: enough for a small job, and for the start of a large one.
ROOM = 96 * MIB


@pytest.fixture
def cramped():
    """A worker in a control group of its own, which has less memory than its settings say."""
    with control_group("memory") as group, stacks.Stack(TRAIND_SLOTS="1", TRAIND_MAX_JOB_BYTES=str(8 * GIB)) as stack:
        stack.token = stack.run("user", "add", "kim", "--scopes", "read,submit").stdout.strip()
        stack.start("api", "service", "api")
        stack.start("worker", "service", "worker", within=entering(group))
        stack.wait_ready()
        yield stack, group


@pytest.mark.timeout(400)
def test_a_job_that_the_kernel_kills_for_its_memory_fails_and_others_go_on(cramped):
    stack, group = cramped
    wire = stack.wire()
    wire.upload("waves", wires.table())
    assert wire.wait(wire.submit(wires.quick()).name, 90).state == Job.SUCCEEDED
    whole = used_bytes(group) + ROOM
    bound(group, "memory", str(whole), str(whole))
    lived = {process.pid for process in stack.processes("worker")}
    assert len(lived) >= 3, "the worker, its slot, the zygote"
    large = wires.train(2)
    large.train.network.mlp.hidden[:] = [6000, 6000]
    name = wire.submit(large).name
    beside = wire.submit(wires.quick()).name
    ended = wire.wait(name, 180)
    assert (ended.state, ended.failure.reason) == (Job.FAILED, Reason.OUT_OF_MEMORY)
    assert ended.attempt == 3
    for words in ("3 times", "SIGKILL, probably by the system because memory ran out", "smaller"):
        assert words in ended.failure.message
    assert wire.wait(beside, 90).state == Job.SUCCEEDED
    assert wire.wait(wire.submit(wires.quick()).name, 90).state == Job.SUCCEEDED
    assert lived <= {process.pid for process in stack.processes("worker")}, "nobody else was killed"
