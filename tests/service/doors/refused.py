"""What every refusal must be, whatever was wrong with the call: asserted in one place for all bad input.

It names the field, the limit as a number and the cure, tells nothing of the server, is the same at both doors, comes in
less than a second, and leaves the server as it was: it answers the next calls, and its memory has not grown.
"""

import re
import socket
import time

import httpx

from service.rest.errors import BY_CODE, BY_REASON
from tests.service.doors.running import Refusal, refusal_of_rest
from traind.v1 import datasets_pb2, server_pb2

MIB = 1 << 20
MOST_GROWTH = 50 * MIB
JSON = {"content-type": "application/json"}
# Tracebacks, paths, SQL, libraries, classes, addresses in memory, tokens.
_LEAK = re.compile(
    r"Traceback|File \"|\.py\b|site-packages|/(?:work|root|tmp|home|usr|var|proc|opt)/|\b(?:SELECT|INSERT|UPDATE) "
    r"|sqlalchemy|sqlite|psycopg|pyarrow|uvicorn|starlette|google\.protobuf|\b_pb2\b|0x[0-9a-f]{6,}|trd_[a-z2-7]"
    r"|\b[A-Z]\w*(?:Error|Exception|Servicer|Warning)\b"
)


def quick(api, call, seconds=1.0):
    """What a call answers, and that it takes less than a second.

    Where others keep the processors busy, the server's own seconds of them count, and the clock only roughly.
    """
    for _ in range(3):
        spent, begin = api.cpu_seconds(), time.monotonic()
        answer = call()
        took, spent = time.monotonic() - begin, api.cpu_seconds() - spent
        if took < seconds or (spent < seconds and took < 5 * seconds):
            return answer
    raise AssertionError(f"it took {took:.1f} s, {spent:.1f} s of them at work, after two more such attempts")


def refusal_of(answer):
    """A refusal as either door gave it, with the status that belongs to it."""
    if isinstance(answer, httpx.Response):
        refusal = refusal_of_rest(answer)
        assert answer.status_code == (BY_REASON.get(refusal.reason) or BY_CODE[refusal.code])
        assert answer.headers["content-type"] == "application/json"
        return refusal
    assert isinstance(answer, Refusal), answer
    return answer


def told(refusal):
    """Everything that a refusal says to people."""
    return " ".join([refusal.message, *(f"{field} {text}" for field, text in refusal.violations)])


def refused(api, *calls, code="INVALID_ARGUMENT", reason=None, field=None, says=(), seconds=1.0):
    """Make calls that must be refused alike, and assert all that is asserted of refusals. Answers the refusal.

    `field` must be among the wrong fields. `says` are words and limits that must be told. Calls that bring a large file
    may take more `seconds`.
    """
    before = api.memory()
    refusals = [refusal_of(quick(api, call, seconds)) for call in calls]
    refusal = refusals[0]
    assert all(other == refusal for other in refusals), refusals
    assert refusal.code == code, refusal
    assert reason is None or refusal.reason == reason, refusal
    assert field is None or field in _fields(refusal), refusal
    for word in says:
        assert str(word) in told(refusal), told(refusal)
    tells_nothing(api, refusal)
    still_fine(api)
    grown = api.memory() - before
    assert grown < MOST_GROWTH, f"the server's memory has grown by {grown >> 20} MiB"
    return refusal


def tells_nothing(api, refusal):
    """Assert that nothing of the server stands in what it says."""
    everything = f"{told(refusal)} {refusal.metadata}"
    leak = _LEAK.search(everything)
    assert leak is None, everything
    assert str(api.folder) not in everything
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", everything)


def still_fine(api):
    """Assert that both doors answer the next calls."""
    kim = api.token("kim")
    assert not isinstance(api.rpc("ServerService.GetServerInfo", server_pb2.GetServerInfoRequest(), kim), Refusal)
    assert api.rest("GET", "/v1/jobs?pageSize=1", kim).status_code == 200


def parts(data, **first):
    """A file as gRPC streams it: the first message with the other fields."""
    for offset in range(0, max(len(data), 1), MIB):
        more = first if offset == 0 else {}
        yield datasets_pb2.UploadDatasetRequest(data=data[offset : offset + MIB], **more)


def upload(api, token, data, name, **params):
    """A file as one body over REST."""
    return api.rest("POST", "/v1/datasets:upload", token, params={"datasetId": name} | params, content=data)


def _fields(refusal):
    """The wrong fields; where none is listed, what the message begins with."""
    return [name for name, _ in refusal.violations] or [refusal.message.split()[0].rstrip(":")]
