"""Watching jobs: a job's stored events from any seq on, then new ones as they come, to the job's end.

One poller looks after all jobs that are watched, by one query every POLL_S, and only while somebody watches.
"""

import asyncio
import contextvars
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from service import accounts, job_messages, jobs
from service.app import App
from service.callers import Caller
from service.calling.calls import Calls
from service.errors import NotFound, RateLimited, ShuttingDown, TraindError
from service.store import events as event_store
from service.store import jobs as job_store
from service.store import metrics as metric_store
from traind.v1 import jobs_pb2

POLL_S = 0.1
# After a poll that failed: the database is away, and the watchers are told so when they read.
POLL_AGAIN_S = 1.0
# How long a revoked token can go on watching, seconds.
TOKEN_CHECK_S = 30.0
BATCH_EVENTS = 500
MOST_WATCHES_OF_A_USER = 1000

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Watcher:
    """One stream: `seen` is the job's last event when it read last; `news` is set when there may be more."""

    job_id: str
    user_id: str
    seen: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class _Batch:
    """Events of a job; `last_seq` is the job's newest, `ended` that there will be no more after these."""

    events: list[jobs_pb2.JobEvent]
    last_seq: int
    ended: bool


class Watching:
    """Every watch of this server."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._watchers: set[_Watcher] = set()
        self._of_users: Counter[str] = Counter()
        self._poller: asyncio.Task[None] | None = None
        self._stopping = False

    def __len__(self) -> int:
        return len(self._watchers)

    async def watch(
        self, app: App, caller: Caller, request: jobs_pb2.WatchJobRequest
    ) -> AsyncIterator[jobs_pb2.JobEvent]:
        """The events of one job of the caller, ending after the one with the job's end, or with what is stored now.

        Raises NotFound, ShuttingDown when the server stops, TokenRejected at most TOKEN_CHECK_S after a revocation.
        """
        job = await self._calls.on_thread(jobs.find_for_watch, app, caller, request.name)
        watcher = self._enter(job.id, caller)
        next_seq, checked_at = max(request.from_seq, 1), time.monotonic()
        stored: int | None = None
        try:
            while True:
                if self._stopping:
                    raise ShuttingDown("the server is stopping; watch again from the next seq", retry_after_s=1)
                if time.monotonic() - checked_at >= TOKEN_CHECK_S:
                    await self._calls.on_thread(accounts.check_still_valid, app.database, caller)
                    checked_at = time.monotonic()
                watcher.news.clear()
                batch = await self._calls.on_thread(_read, app, job.id, next_seq)
                watcher.seen = batch.last_seq
                for event in batch.events:
                    yield event
                    next_seq = event.seq + 1
                if stored is None:
                    stored = batch.last_seq
                if batch.ended or (request.stored_only and next_seq > stored):
                    return
                if not batch.events:
                    await _wait(watcher.news, checked_at + TOKEN_CHECK_S - time.monotonic())
        finally:
            self._leave(watcher)

    def stop(self) -> None:
        """End every watch with ShuttingDown, and refuse new ones."""
        self._stopping = True
        for watcher in self._watchers:
            watcher.news.set()

    def _enter(self, job_id: str, caller: Caller) -> _Watcher:
        if self._of_users[caller.user_id] >= MOST_WATCHES_OF_A_USER:
            raise RateLimited(
                f"you watch {MOST_WATCHES_OF_A_USER} jobs already, which is the most; end a watch first",
                metadata={"limit": str(MOST_WATCHES_OF_A_USER)},
                retry_after_s=10,
            )
        watcher = _Watcher(job_id, caller.user_id)
        self._watchers.add(watcher)
        self._of_users[caller.user_id] += 1
        if self._poller is None or self._poller.done():
            # Not in the context of the call that happens to be the first: its request id would stand in what it logs.
            self._poller = asyncio.create_task(self._poll(), context=contextvars.Context())
        return watcher

    def _leave(self, watcher: _Watcher) -> None:
        self._watchers.discard(watcher)
        self._of_users -= Counter({watcher.user_id: 1})

    async def _poll(self) -> None:
        """Wake the watchers of jobs that have newer events than they saw; ends when nobody watches."""
        while self._watchers:
            await asyncio.sleep(POLL_S)
            job_ids = sorted({watcher.job_id for watcher in self._watchers})
            try:
                newest = await self._calls.on_thread(_last_seqs, self._calls.app, job_ids)
            except TraindError as error:
                _log.warning("the poll of watched jobs failed: %s", error.reason)
                for watcher in self._watchers:
                    watcher.news.set()
                await asyncio.sleep(POLL_AGAIN_S)
                continue
            for watcher in self._watchers:
                if newest.get(watcher.job_id) != watcher.seen:
                    watcher.news.set()


def _last_seqs(app: App, job_ids: list[str]) -> dict[str, int]:
    with app.database.read() as connection:
        return job_store.last_seqs(connection, job_ids)


def _read(app: App, job_id: str, from_seq: int) -> _Batch:
    """The next events of a job with the figures of their epochs, and whether there can be more."""
    with app.database.read() as connection:
        rows = event_store.list_from(connection, job_id, from_seq, BATCH_EVENTS)
        row = job_store.find_by_id(connection, job_id)
        if row is None:
            raise NotFound("the job was deleted while it was watched")
        epochs = {event.seq: int(json.loads(event.body_json)["epoch"]) for event in rows if event.kind == "epoch"}
        first, last = min(epochs.values(), default=0), max(epochs.values(), default=0)
        figures = metric_store.at_steps(connection, job_id, first, last) if epochs else {}
    events = [job_messages.encode_event(event, figures.get(epochs.get(event.seq, 0), {})) for event in rows]
    sent = rows[-1].seq if rows else from_seq - 1
    return _Batch(events, row.last_seq, row.ended and sent >= row.last_seq)


async def _wait(news: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(news.wait(), max(seconds, 0))
    except TimeoutError:
        return
