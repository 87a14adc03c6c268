"""A job's events over one stream after another: what breaks is opened again behind the last event that was seen."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING

from traind import methods
from traind.errors import TimedOut, TraindError, WaitTimeout
from traind.events import decode_event
from traind.retries import back_off, is_passing
from traind.v1 import jobs_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
        on_break: Callable[[TraindError], None] | None = None,
    ) -> None:
        self._transport = transport
        self._job = job
        self._next_seq = max(from_seq, 1)
        self._timeout = timeout
        self._on_break = on_break
        self._began = self._heard = time.monotonic()
        self._breaks = 0
        self._ended = False

    def events(self) -> Iterator[Event]:
        """Yield every event once, in order, until the job's end."""
        while not self._ended:
            lost: TraindError | None = None
            try:
                yield from self._one_stream()
            except TimedOut:
                if self._timeout is None or self._left() > 0.01:
                    raise
                raise self._too_late() from None
            except TraindError as error:
                lost = error
            if not self._ended:
                self._recover(lost)

    def _one_stream(self) -> Iterator[Event]:
        request = jobs_pb2.WatchJobRequest(name=self._job, from_seq=self._next_seq)
        deadline = None if self._timeout is None else max(self._left(), 0.001)
        with contextlib.closing(self._transport().stream(methods.WATCH_JOB, request, deadline)) as stream:
            for event in map(decode_event, stream):
                self._breaks, self._heard = 0, time.monotonic()
                self._ended = event.ends
                if event.seq >= self._next_seq:
                    self._next_seq = event.seq + 1
                    yield event
                if self._ended:
                    return

    def _recover(self, lost: TraindError | None) -> None:
        """Wait before the next stream; raise where none shall follow. `lost` = None: the stream ended without error."""
        if lost is not None and (not is_passing(lost) or time.monotonic() - self._heard > RECONNECT_S):
            raise lost
        if lost is None or self._next_seq == 1:
            # Nothing came yet, or too little: asks once more in the plain way, which fails with the clearer error.
            job = self._transport().call(methods.GET_JOB, jobs_pb2.GetJobRequest(name=self._job))
            if lost is None and job.done:
                self._ended = True  # its last event is before the one that was asked for
                return
        self._breaks += 1
        if lost is not None and self._breaks == 1:
            logger.info("the events of %s broke off, watching again: %s", self._job, lost.message)
            if self._on_break:
                self._on_break(lost)
        delay = max(back_off(self._breaks), (lost.retry_after or 0.0) if lost else 0.0)
        if self._timeout is not None and self._left() <= delay:
            raise self._too_late()
        time.sleep(delay)

    def _left(self) -> float:
        return self._began + (self._timeout or 0.0) - time.monotonic()

    def _too_late(self) -> WaitTimeout:
        short = self._job.removeprefix("jobs/")[:8]
        return WaitTimeout(f"job {short} has not ended within {self._timeout:g} s; it goes on")
