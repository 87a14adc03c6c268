"""A defect of the server: the caller gets an error id and nothing else, the log gets everything but tokens."""

import asyncio
import logging
import threading
import time

import grpc
import pytest
from typing_extensions import override

from service.calling import methods
from service.errors import InvalidField, TraindError, Violation
from tests.service.doors.running import Refusal, refusal_of_rest, refusal_of_rpc, running
from tests.waiting import wait_until
from traind.v1 import jobs_pb2, jobs_pb2_grpc, server_pb2, server_pb2_grpc

SECRET = "password=hunter2 /etc/shadow SELECT * FROM token"


class Failing(server_pb2_grpc.ServerServiceServicer):
    """Does what `todo` says."""

    def __init__(self):
        self.todo = None
        self.cancelled = threading.Event()

    @override
    async def GetServerInfo(self, request, context):
        try:
            return await self.todo()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


class FailingStream(jobs_pb2_grpc.JobServiceServicer):
    """Breaks after one event."""

    @override
    async def WatchJob(self, request, context):
        yield jobs_pb2.JobEvent(seq=1)
        raise RuntimeError(SECRET)


@pytest.fixture(scope="module")
def failing():
    return Failing()


@pytest.fixture(scope="module")
def broken(failing, tmp_path_factory):
    """Doors whose GetServerInfo does what a test says, and whose watches break."""
    services = [
        (server_pb2.DESCRIPTOR.services_by_name["ServerService"], failing),
        (jobs_pb2.DESCRIPTOR.services_by_name["JobService"], FailingStream()),
    ]
    with running("sqlite", tmp_path_factory.mktemp("broken"), more=services) as doors:
        yield doors


def both(doors):
    by_rpc = doors.rpc("ServerService.GetServerInfo", server_pb2.GetServerInfoRequest(), doors.token("kim"))
    return by_rpc, doors.rest("GET", "/v1/serverInfo", doors.token("kim"))


def raising(error):
    async def todo():
        raise error

    return todo


@pytest.mark.parametrize("error", [RuntimeError(SECRET), KeyError(SECRET), TimeoutError(SECRET), OSError(2, SECRET)])
def test_nothing_of_an_exception_goes_out(broken, failing, caplog, error):
    failing.todo = raising(error)
    with caplog.at_level(logging.ERROR):
        by_rpc, response = both(broken)
    by_rest = refusal_of_rest(response)
    for refusal in (by_rpc, by_rest):
        assert (refusal.code, refusal.reason) == ("INTERNAL", "INTERNAL_ERROR")
        assert refusal.metadata["error_id"] in refusal.message
        assert refusal.metadata["error_id"] in caplog.text
        assert refusal.metadata["error_id"] == refusal.request_id
        assert not any(part in str(refusal) for part in ("hunter2", "shadow", "SELECT", "Error(", "Traceback", ".py"))
    assert response.status_code == 500
    assert "hunter2" in caplog.text
    assert "Traceback" in caplog.text
    assert broken.token("kim") not in caplog.text


def test_an_error_of_the_tree_goes_out_in_its_own_words(broken, failing):
    """One of every class, through both doors."""
    for error_class in TraindError.__subclasses__():
        failing.todo = raising(error_class("한글 and 100 %", metadata={"a": "b\ud800"}, retry_after_s=1.2))
        by_rpc, response = both(broken)
        assert (by_rpc.code, by_rpc.reason, by_rpc.message) == (error_class.code, error_class.reason, "한글 and 100 %")
        assert (by_rpc.metadata, by_rpc.retry) == ({"a": "b\\ud800"}, True)
        assert refusal_of_rest(response) == by_rpc
        assert response.headers["retry-after"] == "2"


def test_long_violations_reach_a_client_with_default_limits(broken, failing):
    violations = [Violation(f"field{n}", "한" * 400) for n in range(20)]
    failing.todo = raising(InvalidField("이것은 " * 200, violations))
    for _ in range(10):
        by_rpc, response = both(broken)
        assert (by_rpc.code, by_rpc.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
        assert by_rpc.violations
        assert refusal_of_rest(response) == by_rpc


def test_a_stream_that_breaks_ends_with_an_error_id(broken):
    kim = broken.token("kim")
    request = jobs_pb2.WatchJobRequest(name="jobs/x")
    stream = broken.method("JobService.WatchJob")(request, metadata=[("authorization", f"Bearer {kim}")])
    assert next(stream).seq == 1
    with pytest.raises(grpc.RpcError) as error:
        next(stream)
    refusal = refusal_of_rpc(error.value)
    assert (refusal.code, "hunter2" in refusal.message) == ("INTERNAL", False)
    text = broken.rest("GET", "/v1/jobs/x:watch", kim).text
    assert "hunter2" not in text
    assert text.rpartition("event: ")[2].startswith("error\n")


def test_a_call_without_deadline_gets_one(broken, failing, monkeypatch):
    monkeypatch.setattr(methods, "DEFAULT_DEADLINE_S", 0.2)
    failing.todo = lambda: asyncio.sleep(60)
    for refusal in (lambda b: b[0], lambda b: refusal_of_rest(b[1])):
        found = refusal(both(broken))
        assert (found.code, found.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_PASSED")
        assert "0.2 s" in found.message


@pytest.mark.alone
def test_a_client_s_own_deadline_stands(broken, failing, monkeypatch):
    monkeypatch.setattr(methods, "DEFAULT_DEADLINE_S", 0.05)

    async def todo():
        await asyncio.sleep(0.3)
        return server_pb2.ServerInfo(version="x")

    failing.todo = todo
    kim, info = broken.token("kim"), server_pb2.GetServerInfoRequest()
    assert broken.rpc("ServerService.GetServerInfo", info, kim, timeout=20).version == "x"
    failing.cancelled.clear()
    began = time.monotonic()
    assert broken.rpc("ServerService.GetServerInfo", info, kim, timeout=0.1).code == "DEADLINE_EXCEEDED"
    assert time.monotonic() - began < 0.3
    assert failing.cancelled.wait(5), "the server works on although the client is gone"


def test_a_year_of_deadline_is_cut(broken, failing, monkeypatch):
    monkeypatch.setattr(methods, "LONGEST_DEADLINE_S", 0.2)
    failing.todo = lambda: asyncio.sleep(60)
    refusal = broken.rpc(
        "ServerService.GetServerInfo", server_pb2.GetServerInfoRequest(), broken.token("kim"), timeout=365 * 86400
    )
    assert (refusal.code, refusal.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_PASSED")


def test_a_call_that_the_client_gives_up_ends_at_the_server(broken, failing):
    failing.todo = lambda: asyncio.sleep(60)
    failing.cancelled.clear()
    call = broken.method("ServerService.GetServerInfo").future(
        server_pb2.GetServerInfoRequest(), metadata=[("authorization", f"Bearer {broken.token('kim')}")]
    )
    wait_until(lambda: not call.done(), "it runs")
    time.sleep(0.05)  # the call must be on its way, which the client cannot see
    call.cancel()
    assert failing.cancelled.wait(5)


def test_calls_that_run_at_the_stop_are_answered_first(tmp_path):
    failing, entered = Failing(), threading.Event()

    async def todo():
        entered.set()
        await asyncio.sleep(1)
        return server_pb2.ServerInfo(version="late")

    failing.todo = todo
    services = [(server_pb2.DESCRIPTOR.services_by_name["ServerService"], failing)]
    with running("sqlite", tmp_path, more=services) as doors:
        kim, answers = doors.token("kim"), []
        ways = [
            lambda: doors.rpc("ServerService.GetServerInfo", server_pb2.GetServerInfoRequest(), kim).version,
            lambda: doors.rest("GET", "/v1/serverInfo", kim).json()["version"],
        ]
        for way in ways:
            entered.clear()
            threading.Thread(target=lambda way=way: answers.append(way()), daemon=True).start()
            assert entered.wait(5)
        began = time.monotonic()
        doors.stop()
        assert 0.2 < time.monotonic() - began < 5
        wait_until(lambda: len(answers) == 2, "both calls were answered")
        assert answers == ["late", "late"]
        assert isinstance(
            doors.rpc("ServerService.GetServerInfo", server_pb2.GetServerInfoRequest(), kim, timeout=5), Refusal
        )


def test_a_call_that_does_not_end_is_cut_off_at_the_stop(tmp_path):
    """Over REST with 503, over gRPC with UNAVAILABLE, and the whole stop takes less than 10 s."""
    failing, entered = Failing(), threading.Event()

    async def todo():
        entered.set()
        await asyncio.sleep(60)

    failing.todo = todo
    services = [(server_pb2.DESCRIPTOR.services_by_name["ServerService"], failing)]
    with running("sqlite", tmp_path, more=services) as doors:
        kim, answers = doors.token("kim"), {}
        ways = {
            "rpc": lambda: doors.rpc("ServerService.GetServerInfo", server_pb2.GetServerInfoRequest(), kim).code,
            "rest": lambda: refusal_of_rest(doors.rest("GET", "/v1/serverInfo", kim)).code,
        }
        for name, way in ways.items():
            entered.clear()
            threading.Thread(target=lambda n=name, way=way: answers.update({n: way()}), daemon=True).start()
            assert entered.wait(5)
        began = time.monotonic()
        doors.stop()
        assert time.monotonic() - began < 10
        wait_until(lambda: len(answers) == 2, "both calls were answered")
        assert answers == {"rpc": "UNAVAILABLE", "rest": "UNAVAILABLE"}
