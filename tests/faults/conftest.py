"""One installation of each database for all fault tests, and what uninterrupted jobs come to in it."""

import concurrent.futures
import contextlib

import pytest

from tests.faults import invariants
from tests.faults import lab as labs
from tests.faults import record as records
from tests.faults import stack as stacks

KINDS = ("sqlite", "postgresql")


@pytest.fixture(scope="package")
def sqlite_faults():
    """`up` with SQLite and the embedded broker, and `references`: what a job comes to that nothing interrupts."""
    with stacks.opened("sqlite") as stack:
        yield referenced(stack)


@pytest.fixture(scope="package")
def postgresql_faults():
    """`api` and `worker` with PostgreSQL and Redis."""
    with stacks.opened("postgresql") as stack:
        yield referenced(stack)


@pytest.fixture(params=KINDS, scope="package")
def stack(request):
    """One after the other."""
    return request.getfixturevalue(f"{request.param}_faults")


@pytest.fixture
def record():
    """What the clients of this test see."""
    return records.Record()


@pytest.fixture
def client(stack, record):
    """Kim."""
    return records.Client(stack, record)


@pytest.fixture(scope="package")
def _lab():
    with labs.opened() as made:
        made.refer()
        yield made
        print(f"processes of the lab that ended: {made.stack.deaths}")


@pytest.fixture
def lab(_lab):
    """An installation over servers of its own to do everything to; afterwards nothing may be violated."""
    _lab.begin()
    yield _lab
    assert _lab.violations() == []


@pytest.fixture
def paired(request, _pairs):
    """Runs a case of a test that is parametrized by `kind`, and at once that of the other database, for its own test.

    A case waits most of its time. Only what is to be run by this session is begun.
    """
    parameters = dict(request.node.callspec.params)
    kind = parameters.pop("kind")
    stack = request.getfixturevalue(f"{kind}_faults")
    name = (request.node.originalname, *sorted(parameters.items()))

    def run(case, *arguments):
        return _pairs.result(name, kind, stack, case, arguments)

    return run


@pytest.fixture(scope="package")
def _pairs(request):
    chosen = {
        (item.originalname, *sorted(item.callspec.params.items()))
        for item in request.session.items
        if "paired" in getattr(item, "fixturenames", ())
    }
    with contextlib.closing(Pairs(request, chosen)) as pairs:
        yield pairs


class Pairs:
    """Cases on both databases at the same time."""

    def __init__(self, request, chosen):
        self._request = request
        self._chosen = chosen
        self._executor = concurrent.futures.ThreadPoolExecutor(len(KINDS))
        self._begun = {}

    def result(self, name, kind, stack, case, arguments):
        """What the case came to; raises what it raised."""
        if (name, kind) not in self._begun:
            for one in KINDS:
                if self._is_chosen(name, one):
                    other = stack if one == kind else self._request.getfixturevalue(f"{one}_faults")
                    self._begun[name, one] = self._executor.submit(case, other, *arguments)
        return self._begun.pop((name, kind)).result()

    def close(self):
        self._executor.shutdown()

    def _is_chosen(self, name, kind):
        function, *parameters = name
        return (function, *sorted([*parameters, ("kind", kind)])) in self._chosen


def referenced(stack):
    """With `references`, {task: (weights, figures)}, of jobs that run through twice, for the same must come out."""
    client = records.Client(stack, records.Record())
    for name in [client.submit(records.tiny()).name for _ in range(2)]:
        assert client.wait(name, seconds=90).state == records.Job.SUCCEEDED
    database = stack.database()
    stack.references = {task: tuple(digests) for _, task, *digests in invariants.digests(database)}
    assert not invariants.of_results(database, stack.references)
    database.dispose()
    return stack
