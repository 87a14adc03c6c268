"""A short fuzz of every route, the same calls each time; `make soak` does it at length."""

import pytest

from tests.fuzz import routes
from tests.fuzz.prey import prey

EXAMPLES = 6
SEED = 1
# What the process of a server may grow by in some hundred calls: caches that fill once.
GROWTH_BYTES = 24 << 20


@pytest.fixture(scope="module")
def server():
    with prey() as found:
        yield found


def test_no_route_breaks_what_is_promised_of_answers(server):
    """One test for all: which operations there are only the server tells."""
    operations = routes.operations(server)
    assert len(operations) > 30
    told = [routes.fuzz(server, operation, EXAMPLES, SEED) for operation in operations]
    assert all(one.calls >= EXAMPLES or one.route == "GET /v1/serverInfo" for one in told), "\n".join(map(str, told))
    statuses = sum((one.statuses for one in told), start=type(told[0].statuses)())
    # Guesses that are all refused at the door would show nothing.
    assert statuses[200] > len(operations)
    assert statuses[400] > len(operations)
    assert {404} <= set(statuses)
    assert not routes.unreachable(server)


def test_memory_stays(server):
    operations = routes.operations(server)
    for operation in operations:
        routes.fuzz(server, operation, 3, SEED + 1)
    before = server.memory()
    for operation in operations:
        routes.fuzz(server, operation, EXAMPLES, SEED + 2)
    assert server.memory() - before < GROWTH_BYTES


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {"reason": "INVALID_FIELD", "status": "INVALID_ARGUMENT"}),
        (400, {"reason": "NO_SUCH_REASON", "status": "INVALID_ARGUMENT"}),
        (400, {"reason": "INVALID_FIELD", "status": "NOT_FOUND"}),
        (
            400,
            {"reason": "INVALID_FIELD", "status": "INVALID_ARGUMENT", "message": "Traceback (most recent call last)"},
        ),
    ],
)
def test_a_refusal_that_breaks_the_promise_is_found(status, body):
    detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": body.pop("reason")}
    error = {"code": 400, "message": "a: must not be empty", "details": [detail]} | body
    with pytest.raises(AssertionError):
        routes.check_refusal(status, error, "")
