"""Whatever happens to PostgreSQL: nothing is acknowledged without its row, and no job is lost, doubled or other."""

import contextlib

import grpc
import pytest

from tests.faults import lab as labs
from tests.faults.lab import error_of
from tests.faults.record import tiny

# The first of them makes the lab.
pytestmark = pytest.mark.timeout(300)


def crashed(seconds):
    @contextlib.contextmanager
    def fault(lab):
        lab.postgres.immediate()
        back = lab.postgres.away(seconds)
        yield
        back.join()

    return fault


@contextlib.contextmanager
def backends_killed(lab):
    """SIGKILL of one backend: the server throws everybody out and recovers."""
    lab.postgres.kill_a_backend()
    yield


@contextlib.contextmanager
def backends_ended(lab):
    """By an administrator, ten times."""
    for _ in range(10):
        lab.postgres.terminate_backends()
    yield
    lab.postgres.terminate_backends()


@contextlib.contextmanager
def frozen(lab):
    """For three leases."""
    with lab.postgres.frozen():
        yield
        labs.sleep(3 * labs.LEASE_S)


FAULTS = {
    "crashed and back": crashed(0.0),
    "crashed for 2 s": crashed(2.0),
    "crashed for 5 s": crashed(5.0),
    "a backend killed": backends_killed,
    "backends ended": backends_ended,
    "frozen for three leases": frozen,
}
PASSING = {None, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_database_that_fails(lab, fault):
    """In the middle of a long job, of short ones that begin and end all the time, of submissions and predictions."""
    running, short = lab.steady(), [lab.submit(tiny()) for _ in range(4)]
    with fault(lab):
        submitted = lab.submitting(2)
        assert error_of(lambda: lab.predict(seconds=1.0)) in PASSING
    submitted.join()
    lab.assert_predicts()
    lab.assert_done(running, *short, *submitted.jobs)
