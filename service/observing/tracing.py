"""Spans by OpenTelemetry, with TRAIND_OTEL=on; without it nothing of it is imported.

A call is a span of the trace that its `traceparent` names, else of a new one. The attempts of a job, which may begin
days after the call that made it, are a trace of their own. Its id is the job's: whoever has one has the other, and no
process has to hand anything on. The call that made the job holds a link to it.
"""

import hashlib
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from service.settings import SettingError, Settings
from traind.version import __version__

if TYPE_CHECKING:
    from opentelemetry.trace import Link, Span, SpanContext, Status

# What a caller sends to have its trace gone on with.
CARRIED = frozenset({"traceparent", "tracestate"})
# What a process that is being stopped waits for its last spans to go out, milliseconds.
LAST_MS = 500


def open_tracing(settings: Settings, role: str) -> "Tracing | None":
    """The tracing of this process, if it is wanted. Raises SettingError where the packages are missing.

    `role` becomes the service's name, `traind-api`, unless OTEL_SERVICE_NAME says another.
    """
    if not settings.otel:
        return None
    require_packages(settings)
    return Tracing(role)


def require_packages(settings: Settings) -> None:
    """Raise SettingError where spans are wanted and the packages for them are missing."""
    if not settings.otel:
        return
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter
        import opentelemetry.sdk.trace.export  # noqa: F401  # so that the start fails, and no call
    except ImportError as error:
        raise SettingError(
            f"TRAIND_OTEL is on, and the Python package {error.name} is missing: install the extra by "
            "`pip install --editable '.[worker,otel]' --constraint constraints.txt`, or set TRAIND_OTEL=off"
        ) from None


class Tracing:
    """Makes the spans of one process and sends them from a thread of its own."""

    def __init__(self, role: str) -> None:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource.create({"service.version": __version__})
        if str(resource.attributes["service.name"]).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": f"traind-{role}"}))
        self._api = trace
        self._propagator = TraceContextTextMapPropagator()
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("traind", __version__)

    def begin_call(self, door: str, request_id: str, carrier: Mapping[str, str], ago_s: float = 0.0) -> "CallSpan":
        """The span of a call that came `ago_s` seconds ago. `carrier` has what the caller sent of CARRIED."""
        span = self._tracer.start_span(
            "call",
            context=self._propagator.extract(carrier),
            kind=self._api.SpanKind.SERVER,
            attributes={"traind.door": door, "traind.request_id": request_id},
            start_time=time.time_ns() - int(ago_s * 1e9),
        )
        return CallSpan(self, span)

    @contextmanager
    def attempt(self, job_id: str, number: int, kind: str) -> Iterator["Span"]:
        """The span of one attempt of a job, for as long as the block lasts."""
        above = self._api.set_span_in_context(self._api.NonRecordingSpan(self._job_context(job_id)))
        span = self._tracer.start_span(
            f"job {kind}",
            context=above,
            kind=self._api.SpanKind.CONSUMER,
            attributes={"traind.job": f"jobs/{job_id}", "traind.attempt": number},
        )
        try:
            yield span
        finally:
            span.end()

    def link_to(self, job_id: str) -> "Link":
        """A link to the trace of a job."""
        return self._api.Link(self._job_context(job_id))

    def failed(self, what: str) -> "Status":
        """The status of a span that did not end well."""
        return self._api.Status(self._api.StatusCode.ERROR, what)

    def flush(self) -> None:
        """Send what waits, in a process that may be killed soon."""
        self._provider.force_flush(LAST_MS)

    def close(self) -> None:
        """Send what waits and end."""
        self._provider.force_flush(LAST_MS)
        self._provider.shutdown()

    def _job_context(self, job_id: str) -> "SpanContext":
        """What stands above every attempt of a job: the same in every process, without a word between them."""
        above = int.from_bytes(hashlib.sha256(job_id.encode()).digest()[:8], "big") or 1
        return self._api.SpanContext(
            uuid.UUID(job_id).int, above, is_remote=True, trace_flags=self._api.TraceFlags(self._api.TraceFlags.SAMPLED)
        )


class CallSpan:
    """The span of one call."""

    __slots__ = ("_span", "_tracing", "trace_id")

    def __init__(self, tracing: Tracing, span: "Span") -> None:
        self._tracing = tracing
        self._span = span
        self.trace_id = f"{span.get_span_context().trace_id:032x}"

    def name(self, method: str) -> None:
        """Say which method it is, once that is known."""
        service, _, name = method.rpartition(".")
        self._span.update_name(f"{service}/{name}" if service else method)
        self._span.set_attributes({"rpc.service": service, "rpc.method": name})

    def made_job(self, job_id: str) -> None:
        """Say that the call made a job."""
        link = self._tracing.link_to(job_id)
        self._span.add_link(link.context)
        self._span.set_attribute("traind.job", f"jobs/{job_id}")

    def end(self, code: str) -> None:
        """End it with the name of a google.rpc.Code; a defect or an outage is an error of the server's."""
        self._span.set_attribute("traind.code", code)
        if code in {"UNKNOWN", "INTERNAL", "DATA_LOSS", "UNAVAILABLE", "DEADLINE_EXCEEDED", "UNIMPLEMENTED"}:
            self._span.set_status(self._tracing.failed(code))
        self._span.end()
