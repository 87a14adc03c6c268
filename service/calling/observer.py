"""Every call as those see it who look after the server: counted, written to the log, traced, under a request id.

Each door begins an observation when a call comes, names its method and its caller when they are known, and ends it
with the code that the caller is told.
"""

import logging
import random
import re
import time
from collections.abc import Mapping

from google.protobuf.message import Message

from service.callers import Caller
from service.machine import logs
from service.observing.counts import NO_METHOD, CallCounts
from service.observing.tracing import CallSpan, Tracing
from service.settings import LogSettings

# What a caller may send to find its call again; both doors send it back, with every answer.
REQUEST_ID = "x-request-id"
_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# Ids are no secrets: seeded by the system, and no system call for each.
_random = random.Random()  # noqa: S311

_log = logging.getLogger("traind.access")


def request_id() -> str:
    """The id of the call that this thread or task works for; empty where there is none."""
    return str(logs.ABOUT.get().get("request_id", ""))


class Observer:
    """What the doors of one server tell of their calls."""

    def __init__(self, counts: CallCounts, settings: LogSettings, tracing: Tracing | None = None) -> None:
        self.counts = counts
        self.tracing = tracing
        self.settings = settings

    def begin(
        self,
        door: str,
        asked_id: str | None,
        carrier: Mapping[str, str],
        method: str = NO_METHOD,
        began: float | None = None,
    ) -> "Observation":
        """A call that has just come. An id that the caller asked for stands, if it is one; else one is made.

        `carrier` has what else came with it, `traceparent` for one; `method` is known where it need not be found first,
        `began` (of time.perf_counter) where it came before this.
        """
        if asked_id is None or not _GOOD_ID.fullmatch(asked_id):
            asked_id = f"{_random.getrandbits(64):016x}"
        return Observation(self, door, asked_id, carrier, method, began)


class Observation:
    """One call. Begun in the task that serves it, for the log's records take the request id from there."""

    __slots__ = ("_began", "_door", "_line", "_method", "_observer", "_span", "_user_id", "about", "request_id")

    def __init__(
        self,
        observer: Observer,
        door: str,
        request_id: str,
        carrier: Mapping[str, str],
        method: str,
        began: float | None = None,
    ) -> None:
        now = time.perf_counter()
        self._began = now if began is None else began
        self._observer = observer
        self._door = door
        self._method = method
        self._line = observer.counts.line(door, method)
        self._line.begin()
        self._user_id = ""
        self.request_id = request_id
        self._span: CallSpan | None = None
        # What records of the log tell that are written for it.
        self.about: dict[str, object] = {"request_id": request_id}
        if method != NO_METHOD:
            self.about["method"] = method
        if observer.tracing is not None:
            self._span = observer.tracing.begin_call(door, request_id, carrier, now - self._began)
            self.about["trace_id"] = self._span.trace_id
            if method != NO_METHOD:
                self._span.name(method)
        self.enter()

    def enter(self) -> None:
        """Work for the call in this thread or task from here on."""
        logs.ABOUT.set(self.about)

    def named(self, method: str) -> None:
        """The method is known, by the full name under which it was declared."""
        line = self._observer.counts.line(self._door, method)
        self._line.leave()
        line.begin()
        self._line, self._method = line, method
        self.about = {**self.about, "method": method}
        self.enter()
        if self._span is not None:
            self._span.name(method)

    def let_in(self, caller: Caller) -> None:
        """The caller is known."""
        self._user_id = caller.user_id
        if self._observer.settings.json:
            self.about = {**self.about, "user_id": caller.user_id}
            self.enter()

    def answered(self, answer: Message) -> None:
        """The call has an answer; one that made a job is linked to its trace."""
        if self._span is None or answer.DESCRIPTOR.full_name != "traind.v1.Job":
            return
        job_id = str(getattr(answer, "name", "")).removeprefix("jobs/")
        if job_id and self._method.rpartition(".")[2] in {"CreateJob", "RetryJob", "ForkJob"}:
            self._span.made_job(job_id)

    def end(self, code: str) -> None:
        """The call is over: `OK`, or the code of its error; once."""
        seconds = time.perf_counter() - self._began
        self._line.end(code, seconds)
        access = self._observer.settings.access
        if access == "all" or (access == "errors" and code != "OK"):
            self._write(code, round(seconds * 1000, 3))
        if self._span is not None:
            self._span.end(code)

    def _write(self, code: str, duration_ms: float) -> None:
        fields = {"door": self._door, "method": self._method, "code": code, "duration_ms": duration_ms}
        fields |= {"request_id": self.request_id, "user_id": self._user_id}
        told = (self._method, code, duration_ms, self._door, self.request_id)
        _log.info("%s %s in %.1f ms at %s, request %s", *told, extra={"fields": fields})
