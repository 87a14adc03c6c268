"""Calls counted: how many of each method ended with which code, how long they took, how many run.

Counting one costs less than a microsecond, from any thread, so that the quickest door can afford it (bench/observing.py
measures it beside prometheus-client).
"""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from service.observing.exposition import Family, Labels, Sample

# Upper bounds of the histogram, seconds; what took longer is in +Inf alone.
BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# The names of google.rpc.Code.
CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
# Stands for every method and path that is not there: what a caller wrote becomes no label.
NO_METHOD = "none"


class Line:
    """The calls of one method at one door. For any thread."""

    __slots__ = ("_buckets", "_codes", "_lock", "_running", "_seconds")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._codes = dict.fromkeys(CODES, 0)
        self._buckets = [0] * (len(BOUNDS_S) + 1)
        self._seconds = 0.0
        self._running = 0

    def begin(self) -> None:
        """Count a call that begins; `end` must follow."""
        with self._lock:
            self._running += 1

    def leave(self) -> None:
        """Take back that a call began, for it is another line's."""
        with self._lock:
            self._running -= 1

    def end(self, code: str, seconds: float) -> None:
        """Count the end of a call that was counted when it began."""
        with self._lock:
            self._running -= 1
            self._add(code, seconds)

    def add(self, code: str, seconds: float) -> None:
        """Count a whole call: how it ended (the name of a google.rpc.Code) and how long it took."""
        with self._lock:
            self._add(code, seconds)

    def _add(self, code: str, seconds: float) -> None:
        self._codes[code if code in self._codes else "UNKNOWN"] += 1
        self._buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self._seconds += seconds

    def read(self) -> tuple[dict[str, int], list[int], float, int]:
        """Calls by code, calls by bucket, seconds of all, calls that run."""
        with self._lock:
            return dict(self._codes), list(self._buckets), self._seconds, self._running


class CallCounts:
    """The calls of one process, by door and method."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], Line] = {}

    def declare(self, door: str, methods: Iterable[str]) -> None:
        """Name a door and the methods that it serves, by full name; once, before it lets calls in."""
        for method in (*methods, NO_METHOD):
            self._lines.setdefault((door, method), Line())

    def line(self, door: str, method: str) -> Line:
        """Where the calls of a method are counted; of one that was not declared, where those of no method are."""
        found = self._lines.get((door, method))
        return found or self._lines.setdefault((door, NO_METHOD), Line())

    def count(self, door: str, method: str, code: str, seconds: float) -> None:
        """Count a whole call: all that a door needs which keeps no Line."""
        self.line(door, method).add(code, seconds)

    def families(self) -> list[Family]:
        """The figures."""
        calls: list[Sample] = []
        running: list[Sample] = []
        took: dict[str, tuple[list[int], float]] = {}
        for (door, method), line in sorted(self._lines.items()):
            codes, buckets, seconds, now = line.read()
            labels = {"door": door, "method": method}
            # A figure must be there before its first call, or its first rise is not seen.
            calls += [
                ("", labels | {"code": c}, n) for c, n in codes.items() if n or (c == "OK" and method != NO_METHOD)
            ]
            if now or sum(buckets):
                running.append(("", labels, now))
            if sum(buckets):
                so_far, sum_s = took.get(method, ([0] * len(buckets), 0.0))
                took[method] = [a + b for a, b in zip(so_far, buckets, strict=True)], sum_s + seconds
        histogram = [sample for method, (n, s) in took.items() for sample in _histogram({"method": method}, n, s)]
        return [
            Family("traind_calls_total", "counter", "Calls that have ended, by door, method and code.", calls),
            Family("traind_calls_in_flight", "gauge", "Calls that run, streams too.", running),
            Family("traind_call_seconds", "histogram", "How long calls took, streams to their end.", histogram),
        ]


def _histogram(labels: Labels, buckets: Sequence[int], seconds: float) -> list[Sample]:
    samples: list[Sample] = []
    below = 0
    for bound, count in zip((*BOUNDS_S, "+Inf"), buckets, strict=True):
        below += count
        samples.append(("_bucket", {**labels, "le": str(bound)}, below))
    return [*samples, ("_sum", labels, seconds), ("_count", labels, below)]
