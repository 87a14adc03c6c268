"""A job on its way through real processes that write JSON and send spans: each line a record, each step to be found."""

import json
import re

import pytest

from tests import servers
from tests.acceptance import stack as stacks
from tests.acceptance import wire as wires
from tests.service.observing.collector import Collector
from tests.waiting import wait_until
from traind.v1 import jobs_pb2

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def collector():
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter  # noqa: F401
    except ImportError as error:
        servers.missing(error)
    with Collector() as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def stack(request, collector):
    """`api` and `worker`: with SQLite and no broker, with PostgreSQL and Redis."""
    try:
        broker = servers.redis_url() if request.param == "postgresql" else None
        with servers.fresh_database(request.param) as url:
            wanted = {
                "TRAIND_LOG_FORMAT": "json",
                "TRAIND_OTEL": "on",
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                "OTEL_BSP_SCHEDULE_DELAY": "50",
            }
            with stacks.split(url, broker, **wanted) as stack:
                yield stack
    except servers.NoServer as error:
        servers.missing(error)


@pytest.mark.timeout(300)
def test_a_job_can_be_followed_by_its_logs_and_spans(stack, collector):
    wire = stack.wire()
    wire.upload("waves", wires.table())
    sent = [*wire.metadata, ("x-request-id", "the-submission"), ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01")]
    job, call = wire.jobs.CreateJob.with_call(jobs_pb2.CreateJobRequest(job=wires.quick()), metadata=sent, timeout=30)
    assert ("x-request-id", "the-submission") in list(call.trailing_metadata())
    assert wire.wait(job.name, 120).state == jobs_pb2.Job.SUCCEEDED
    job_id = job.name.removeprefix("jobs/")
    trace = job_id.replace("-", "")

    spans = wait_until(lambda: [s for s in collector.named("job train") if s.trace_id == trace], "its span comes", 30)
    (span,) = spans
    assert span.attributes == {
        "traind.job": job.name,
        "traind.attempt": 1,
        "traind.ended": "the trainer ended with exit code 0",
    }
    assert (span.service, span.status) == ("traind-worker", 0)
    (made,) = wait_until(lambda: [s for s in collector.spans if trace in s.links], "the call's span comes", 30)
    assert (made.name, made.trace_id, made.service) == ("traind.v1.JobService/CreateJob", TRACE, "traind-api")
    assert made.attributes["traind.request_id"] == "the-submission"

    stack.stop("worker")
    stack.stop("api")
    records = [json.loads(line) for line in stack.logs().splitlines() if line]
    (access,) = (r for r in records if r["logger"] == "traind.access" and r["request_id"] == "the-submission")
    assert (access["method"], access["code"], access["trace_id"]) == ("traind.v1.JobService.CreateJob", "OK", TRACE)
    of_job = [r for r in records if r.get("job") == job_id]
    assert {r["attempt"] for r in of_job} == {1}
    assert any("attempt 1 begins" in r["message"] for r in of_job)
    for record in records:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["time"])
        assert stack.token not in json.dumps(record)
