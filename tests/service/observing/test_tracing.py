"""Spans, as a collector of the test's own gets them; and that nothing of OpenTelemetry is there without the setting."""

import os
import subprocess
import sys
import uuid

import pytest

from service.settings import Settings
from tests import servers
from tests.service.observing.collector import Collector
from tests.waiting import wait_until

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CARRIER = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
WITHOUT = """
import sys
sys.modules["opentelemetry.exporter"] = None
from service.observing.tracing import open_tracing
from service.settings import SettingError, Settings
try:
    print(open_tracing(Settings.from_env(), "api"))
except SettingError as error:
    print(error)
print("opentelemetry.sdk" in sys.modules)
"""


@pytest.fixture(scope="module")
def collector():
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter
        import opentelemetry.sdk.trace  # noqa: F401
    except ImportError as error:
        servers.missing(error)
    with Collector() as made:
        yield made


@pytest.fixture
def tracing(collector, monkeypatch):
    from service.observing.tracing import open_tracing

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    collector.spans.clear()
    made = open_tracing(Settings.from_env({"TRAIND_OTEL": "on"}), "api")
    yield made
    made.close()


def the_one(collector, name):
    (span,) = wait_until(lambda: collector.named(name), f"{name} comes", 20)
    return span


def test_a_call_goes_on_with_the_caller_s_trace(collector, tracing):
    span = tracing.begin_call("grpc", "r1", CARRIER)
    assert span.trace_id == TRACE
    span.name("traind.v1.JobService.GetJob")
    span.end("NOT_FOUND")
    got = the_one(collector, "traind.v1.JobService/GetJob")
    assert (got.trace_id, got.parent_id, got.status, got.service) == (TRACE, PARENT, 0, "traind-api")
    assert got.attributes == {
        "traind.door": "grpc",
        "traind.request_id": "r1",
        "rpc.service": "traind.v1.JobService",
        "rpc.method": "GetJob",
        "traind.code": "NOT_FOUND",
    }


def test_a_call_that_is_told_of_afterwards_began_when_it_came(collector, tracing):
    tracing.begin_call("rest", "r4", {}, 3.5).end("OK")
    assert 3.5 <= the_one(collector, "call").seconds < 4.5


@pytest.mark.parametrize("carrier", [{}, {"traceparent": "nonsense"}, {"traceparent": f"00-{'0' * 32}-{PARENT}-01"}])
def test_without_a_trace_one_is_begun(collector, tracing, carrier):
    span = tracing.begin_call("rest", "r2", carrier)
    assert span.trace_id not in {TRACE, "0" * 32}
    span.end("INTERNAL")
    got = the_one(collector, "call")
    assert (got.trace_id, got.parent_id, got.status) == (span.trace_id, "", 2)


def test_attempts_of_a_job_are_one_trace_under_the_job_s_own_number(collector, tracing):
    job_id = str(uuid.uuid4())
    call = tracing.begin_call("rest", "r3", CARRIER)
    call.made_job(job_id)
    call.end("OK")
    for number in (1, 2):
        with tracing.attempt(job_id, number, "train") as span:
            span.set_attribute("traind.ended", "x")
    attempts = wait_until(lambda: len(found := collector.named("job train")) == 2 and found, "both come", 20)
    assert {span.trace_id for span in attempts} == {job_id.replace("-", "")}
    assert len({span.parent_id for span in attempts}) == 1
    assert [span.attributes["traind.attempt"] for span in attempts] == [1, 2]
    assert the_one(collector, "call").links == [job_id.replace("-", "")]


def test_a_collector_that_is_away_holds_nobody_up(monkeypatch, collector):
    import time

    from service.observing.tracing import open_tracing

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    made = open_tracing(Settings.from_env({"TRAIND_OTEL": "on"}), "api")
    began = time.process_time()
    for _ in range(100):
        made.begin_call("grpc", "r", {}).end("OK")
    assert time.process_time() - began < 1
    made.close()


def program(text, **env):
    given = {name: value for name, value in os.environ.items() if not name.startswith(("TRAIND_", "OTEL_"))} | env
    ended = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, env=given)
    return ended.stdout.splitlines()


def test_a_package_that_is_missing_is_told_at_the_start():
    told, imported = program(WITHOUT, TRAIND_OTEL="on")
    assert "TRAIND_OTEL is on, and the Python package opentelemetry" in told
    assert "is missing" in told
    assert "TRAIND_OTEL=off" in told
    assert imported == "False"


def test_without_the_setting_nothing_is_imported():
    assert program(WITHOUT) == ["None", "False"]
