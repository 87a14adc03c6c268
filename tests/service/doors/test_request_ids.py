"""Every call has a request id: the caller's own or one that is made, in the answer, in the error and in the log."""

import json
import logging
import re

import grpc
import pytest

from service.machine import logs
from service.settings import LogSettings
from tests.service.doors.running import running
from tests.waiting import wait_until
from traind.v1 import jobs_pb2, server_pb2

NOWHERE = "jobs/00000000-0000-4000-8000-000000000000"
GOOD = ["a", "A-b_c.9", "x" * 128, "123e4567-e89b-42d3-a456-426614174000"]
BAD = ["", "x" * 129, "a b", "a/b", 'a"b', "a;b", "a%0Ab", "<script>"]
MADE = re.compile(r"[0-9a-f]{16}")
INFO = server_pb2.GetServerInfoRequest()


class Lines(logging.Handler):
    """The log of this process, as a process with TRAIND_LOG_FORMAT=json writes it."""

    def __init__(self):
        super().__init__()
        self.setFormatter(logs.JsonLines())
        self.texts = []

    def emit(self, record):
        self.texts.append(self.format(record))

    def of(self, request_id):
        """The records of a call."""
        read = [json.loads(text) for text in self.texts]
        return [record for record in read if record.get("request_id") == request_id]

    def ours(self):
        """The records that are not those of the test's own HTTP client."""
        return [record for record in map(json.loads, self.texts) if not record["logger"].startswith("httpx")]

    def access(self, request_id):
        """The one line of the access log of a call, which comes a moment after its answer."""
        found = wait_until(
            lambda: [r for r in self.of(request_id) if r["logger"] == "traind.access"], "it is written", 5
        )
        assert len(found) == 1
        return found[0]


@pytest.fixture(scope="module")
def lines():
    handler, root, level = Lines(), logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Doors that write a line for each call."""
    settings = LogSettings(json=True, access="all")
    with running("sqlite", tmp_path_factory.mktemp("told"), logs=settings) as doors:
        yield doors


def by_rpc(doors, name, request, token, request_id=None):
    """The id in the trailer, and the error if there is one."""
    metadata = [("authorization", f"Bearer {token}")] if token else []
    metadata += [("x-request-id", request_id)] if request_id is not None else []
    try:
        _, call = doors.method(name).with_call(request, metadata=metadata)
    except grpc.RpcError as error:
        call = error
    (echoed,) = (value for key, value in call.trailing_metadata() if key == "x-request-id")
    return echoed, call


def request_info(response):
    """The id in the error of a REST answer."""
    (info,) = (d for d in response.json()["error"]["details"] if d["@type"].endswith("google.rpc.RequestInfo"))
    return info["requestId"]


@pytest.mark.parametrize("asked", GOOD)
def test_the_caller_s_own_id_comes_back(told, lines, asked):
    kim = told.token("kim")
    assert by_rpc(told, "ServerService.GetServerInfo", INFO, kim, asked)[0] == asked
    response = told.rest("GET", "/v1/serverInfo", kim, {"x-request-id": asked})
    assert response.headers.get_list("x-request-id") == [asked]
    wait_until(lambda: len(lines.of(asked)) == 2, "both calls stand in the log", 60)


@pytest.mark.parametrize("asked", BAD)
def test_one_that_is_none_is_replaced(told, lines, asked):
    kim = told.token("kim")
    echoed = by_rpc(told, "ServerService.GetServerInfo", INFO, kim, asked)[0]
    response = told.rest("GET", "/v1/serverInfo", kim, {"x-request-id": asked})
    for made in (echoed, response.headers["x-request-id"]):
        assert MADE.fullmatch(made)
        assert lines.access(made)["code"] == "OK"


def test_an_error_tells_it_at_both_doors(told, lines):
    import traind
    from traind import errors

    kim = told.token("kim")
    response = told.rest("GET", f"/v1/{NOWHERE}", kim, {"x-request-id": "mine.rest"})
    assert response.status_code == 404
    assert request_info(response) == response.headers["x-request-id"] == "mine.rest"
    assert lines.access("mine.rest")["code"] == "NOT_FOUND"
    with (
        traind.Client(f"grpc://127.0.0.1:{told.grpc_port}", token=kim) as client,
        pytest.raises(errors.NotFound) as error,
    ):
        client.jobs.get(NOWHERE)
    assert MADE.fullmatch(error.value.request_id)
    assert lines.access(error.value.request_id)["method"] == "traind.v1.JobService.GetJob"


def test_an_error_of_a_caller_without_a_token_tells_it_too(told):
    echoed, error = by_rpc(told, "ServerService.GetServerInfo", INFO, None)
    assert MADE.fullmatch(echoed)
    assert echoed.encode() in dict(error.trailing_metadata())["grpc-status-details-bin"]
    response = told.rest("GET", "/v1/jobs")
    assert request_info(response) == response.headers["x-request-id"]
    missing = told.rest("GET", "/v1/nowhere", None, {"x-request-id": "lost"})
    assert request_info(missing) == "lost"


def test_a_stream_tells_it_before_its_first_answer(told):
    kim = told.token("kim")
    sent = [("authorization", f"Bearer {kim}"), ("x-request-id", "watch-1")]
    stream = told.method("JobService.WatchJob")(jobs_pb2.WatchJobRequest(name=NOWHERE), metadata=sent)
    assert ("x-request-id", "watch-1") in list(stream.initial_metadata())
    with pytest.raises(grpc.RpcError):
        next(stream)
    assert ("x-request-id", "watch-1") in list(stream.trailing_metadata())
    assert (
        told.rest("GET", f"/v1/{NOWHERE}:watch", kim, {"x-request-id": "watch-2"}).headers["x-request-id"] == "watch-2"
    )


def test_a_line_tells_the_call_and_its_user_and_never_the_token(told, lines):
    kim = told.token("kim")
    by_rpc(told, "ServerService.GetServerInfo", INFO, kim, "whole-rpc")
    told.rest("GET", "/v1/serverInfo", kim, {"x-request-id": "whole-rest"})
    for request_id, door in (("whole-rpc", "grpc"), ("whole-rest", "rest")):
        line = lines.access(request_id)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert (line["level"], line["door"], line["code"]) == ("INFO", door, "OK")
        assert line["method"] == "traind.v1.ServerService.GetServerInfo"
        assert 0 < line["duration_ms"] < 60_000
        assert len(line["user_id"]) == 36
    assert not any(kim in text or "trd_" in text for text in lines.texts)


def test_health_checks_and_scrapes_have_no_line(told, lines):
    before = len(lines.ours())
    for path in ("/healthz", "/readyz", "/metrics", "/docs"):
        response = told.rest("GET", path, told.token("scraper", ["metrics"]), {"x-request-id": "health"})
        assert "x-request-id" not in response.headers
    check = told.channel.unary_unary("/grpc.health.v1.Health/Check")
    check(b"")
    assert len(lines.ours()) == before


@pytest.mark.parametrize(("access", "written"), [("off", set()), ("errors", {"bad"}), ("all", {"good", "bad"})])
def test_which_calls_are_written(tmp_path, lines, access, written):
    with running("sqlite", tmp_path, logs=LogSettings(access=access)) as doors:
        kim = doors.token("kim")
        doors.rest("GET", "/v1/serverInfo", kim, {"x-request-id": "good"})
        doors.rest("GET", f"/v1/{NOWHERE}", kim, {"x-request-id": "bad"})
    assert {name for name in ("good", "bad") if lines.of(name)} == written
    lines.texts.clear()
