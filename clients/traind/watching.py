# Written by proto/unasync_client.py from aio/watching.py; change that one, then run make proto.
"""A job's events over one stream after another: what breaks is opened again behind the last event that was seen."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from typing import TYPE_CHECKING

from traind import methods
from traind.errors import TimedOut, TraindError, WaitTimeout
from traind.events import decode_event
from traind.pauses import sleep
from traind.retries import back_off, is_passing
from traind.v1 import jobs_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from traind.events import Event
    from traind.transport import Transport

# How long a watcher goes on trying to reach a server that is away.
RECONNECT_S = 600.0

logger = logging.getLogger("traind")


class Watch:
    """One watcher of one job."""

    def __init__(
        self,
        transport: Callable[[], Transport],
        job: str,
        from_seq: int,
        *,
        timeout: float | None = None,
        told: float | None = None,
        stored_only: bool = False,
        on_break: Callable[[TraindError], None] | None = None,
    ) -> None:
        self._transport = transport
        self._job = job
        self._next_seq = max(from_seq, 1)
        self._timeout = timeout
        # What the caller gave for several jobs together.
        self._told = timeout if told is None else told
        # Only the events that the server has now; else it goes on to the job's end.
        self._stored_only = stored_only
        self._on_break = on_break
        # When it began, and when the server was last known to be there.
        self._began = self._there = time.monotonic()
        self._breaks = 0
        self._ended = False

    def events(self) -> Generator[Event]:
        """Yield every event once, in order, until the job's end; with `stored_only` until the newest there is."""
        while not self._ended:
            lost: TraindError | None = None
            try:
                with contextlib.closing(self._one_stream()) as events:
                    for event in events:
                        yield event
            except TimedOut:
                if self._timeout is None or self._left() > 0.01:
                    raise
                raise self._too_late() from None
            except TraindError as error:
                lost = error
            if not self._ended:
                self._recover(lost)

    def _one_stream(self) -> Generator[Event]:
        request = jobs_pb2.WatchJobRequest(name=self._job, from_seq=self._next_seq, stored_only=self._stored_only)
        deadline = None if self._timeout is None else max(self._left(), 0.001)
        with contextlib.closing(self._transport().stream(methods.WATCH_JOB, request, deadline)) as stream:
            for message in stream:
                event = decode_event(message)
                self._breaks = 0
                self._ended = event.ends
                if event.seq >= self._next_seq:
                    self._next_seq = event.seq + 1
                    yield event
                if self._ended:
                    return
        self._ended = self._stored_only

    def ended_job(self) -> jobs_pb2.Job:
        """The job after its last event; a server that is away just then is waited for as by `events`."""
        request = jobs_pb2.GetJobRequest(name=self._job)
        while True:
            try:
                return self._transport().call(methods.GET_JOB, request)
            except TraindError as error:
                self._pause(error)

    def _recover(self, lost: TraindError | None) -> None:
        """Wait before the next stream; raise where none shall follow. `lost` = None: the stream ended without error."""
        if lost is None or (self._next_seq == 1 and is_passing(lost)):
            # Nothing came yet, or too little: asks once more in the plain way, which fails with the clearer error.
            try:
                job = self._transport().call(methods.GET_JOB, jobs_pb2.GetJobRequest(name=self._job))
            except TraindError as error:
                if self._next_seq == 1:
                    raise
                lost = error
            else:
                self._there = time.monotonic()
                if lost is None and job.done:
                    self._ended = True  # its last event is before the one that was asked for
                    return
        self._pause(lost)

    def _pause(self, lost: TraindError | None) -> None:
        """Wait before the server is asked again; raise where that is to no purpose, or would be too late."""
        if not self._breaks:
            # Until now the server was there, however long the job said nothing.
            self._there = time.monotonic()
        if lost is not None and (not is_passing(lost) or time.monotonic() - self._there > RECONNECT_S):
            raise lost
        self._breaks += 1
        if lost is not None and self._breaks == 1:
            logger.info("the events of %s broke off, watching again: %s", self._job, lost.message)
            if self._on_break:
                self._on_break(lost)
        delay = max(back_off(self._breaks), (lost.retry_after or 0.0) if lost else 0.0)
        if self._timeout is not None and self._left() <= delay:
            raise lost if lost is not None and self._ended else self._too_late()
        sleep(delay)

    def _left(self) -> float:
        return self._began + (self._timeout or 0.0) - time.monotonic()

    def _too_late(self) -> WaitTimeout:
        short = self._job.removeprefix("jobs/")[:8]
        return WaitTimeout(f"job {short} has not ended within {self._told:g} s; it goes on")


def read_log(
    transport: Callable[[], Transport],
    job: str,
    *,
    follow: bool,
    tail: int | None,
    on_break: Callable[[TraindError], None] | None,
) -> Generator[str]:
    """See Jobs.logs."""
    if tail is not None and tail < 0:
        raise ValueError(f"tail is {tail}; it is a number of lines, 0 or more")
    next_seq, ended = 1, False
    if tail is not None or not follow:
        past: deque[str] = deque(maxlen=tail)
        with contextlib.closing(
            Watch(transport, job, next_seq, stored_only=True, on_break=on_break).events()
        ) as events:
            for event in events:
                next_seq, ended = event.seq + 1, event.ends
                if event.kind == "log":
                    past.append(event.message)
        while past:
            yield past.popleft()
    if follow and not ended:
        with contextlib.closing(Watch(transport, job, next_seq, on_break=on_break).events()) as events:
            for event in events:
                if event.kind == "log":
                    yield event.message
