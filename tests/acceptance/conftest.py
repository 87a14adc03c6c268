"""One installation of each kind for the whole session, with one data set in it."""

import contextlib

import pytest

from tests import servers
from tests.acceptance import stack as stacks
from tests.acceptance import wire as wires


@pytest.fixture(scope="package")
def sqlite_stack():
    """`up` with SQLite and the embedded broker."""
    with stacks.up() as stack:
        yield furnished(stack)


@pytest.fixture(scope="package")
def postgresql_stack():
    """`api` and `worker` with PostgreSQL and Redis."""
    try:
        redis_url = servers.redis_url()
        servers.postgres_url()
    except servers.NoServer as error:
        servers.missing(error)
    with contextlib.ExitStack() as exits:
        url = exits.enter_context(servers.fresh_database("postgresql"))
        yield furnished(exits.enter_context(stacks.split(url, redis_url)))


@pytest.fixture(params=["sqlite", "postgresql"], scope="package")
def stack(request):
    """One after the other."""
    return request.getfixturevalue(f"{request.param}_stack")


@pytest.fixture
def wire(stack):
    """A client of the stack."""
    return stack.wire()


def furnished(stack):
    """A stack with the data set `waves`, and warm: its trainers have run a job each."""
    wire = stack.wire()
    wire.upload("waves", wires.table())
    for job in [wire.submit(wires.quick()) for _ in range(4)]:
        assert wire.wait(job.name, 90).state == wires.jobs_pb2.Job.SUCCEEDED
    return stack
