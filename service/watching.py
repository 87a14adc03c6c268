"""Watching jobs: a job's stored events from any seq on, then new ones as they come, to the job's end.

One poller looks after all jobs that are watched and all tokens that watch, some times a second, and only while somebody
watches. Those who want the same events at the same time share one read of them.
"""

import asyncio
import contextvars
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import chain

from service import job_messages, jobs, tokens
from service.app import App
from service.callers import Caller
from service.calling.calls import Calls
from service.errors import NotFound, RateLimited, ShuttingDown, TokenRejected, TraindError
from service.store import events as event_store
from service.store import jobs as job_store
from service.store import metrics as metric_store
from service.store import users
from traind.v1 import jobs_pb2

# Between two looks at the watched jobs; and where none of them has had news for a while.
POLL_S, CALM_POLL_S, CALM_AFTER_S = 0.1, 0.25, 5.0
# After a poll that failed: the database is away, and the watchers are told so when they read.
POLL_AGAIN_S = 1.0
# How often it is asked whether the tokens of watchers still hold, seconds.
TOKEN_CHECK_S = 1.0
BATCH_EVENTS = 500
MOST_WATCHES_OF_A_USER = 1000

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Watcher:
    """One stream: `seen` is the job's last event when it read last; `news` is set when there may be more.

    `refused` once its token has been revoked or has expired.
    """

    job_id: str
    user_id: str
    token_id: str
    seen: int = 0
    refused: bool = False
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
        # By job.
        self._watchers: dict[str, set[_Watcher]] = {}
        self._of_users: Counter[str] = Counter()
        # Reads under way, by job and first seq.
        self._reading: dict[tuple[str, int], asyncio.Task[_Batch]] = {}
        # Jobs of which every watcher has seen the newest event, and that event's number.
        self._told: dict[str, int] = {}
        self._poller: asyncio.Task[None] | None = None
        self._stopping = False

    def __len__(self) -> int:
        return sum(map(len, self._watchers.values()))

    async def watch(
        self, app: App, caller: Caller, request: jobs_pb2.WatchJobRequest
    ) -> AsyncIterator[jobs_pb2.JobEvent]:
        """The events of one job of the caller, ending after the one with the job's end, or with what is stored now.

        Raises NotFound, ShuttingDown when the server stops, TokenRejected about TOKEN_CHECK_S after a revocation.
        """
        job = await self._calls.on_thread(jobs.find_for_watch, app, caller, request.name)
        watcher = self._enter(job.id, caller)
        next_seq = max(request.from_seq, 1)
        stored: int | None = None
        try:
            while True:
                if self._stopping:
                    raise ShuttingDown("the server is stopping; watch again from the next seq", retry_after_s=1)
                watcher.news.clear()
                batch = await self._read(job.id, next_seq, now=request.stored_only)
                watcher.seen = batch.last_seq
                if self._told.get(job.id) != batch.last_seq:
                    self._told.pop(job.id, None)
                for event in batch.events:
                    _check(watcher)
                    yield event
                    next_seq = event.seq + 1
                if stored is None:
                    stored = batch.last_seq
                if batch.ended or (request.stored_only and next_seq > stored):
                    return
                if not batch.events:
                    await watcher.news.wait()
                _check(watcher)
        finally:
            self._leave(watcher)

    def stop(self) -> None:
        """End every watch with ShuttingDown, and refuse new ones."""
        self._stopping = True
        self._wake_all()

    def _enter(self, job_id: str, caller: Caller) -> _Watcher:
        if self._of_users[caller.user_id] >= MOST_WATCHES_OF_A_USER:
            raise RateLimited(
                f"you watch {MOST_WATCHES_OF_A_USER} jobs already, which is the most; end a watch first",
                metadata={"limit": str(MOST_WATCHES_OF_A_USER)},
                retry_after_s=10,
            )
        watcher = _Watcher(job_id, caller.user_id, caller.token_id)
        self._watchers.setdefault(job_id, set()).add(watcher)
        self._told.pop(job_id, None)
        self._of_users[caller.user_id] += 1
        if self._poller is None or self._poller.done():
            # Not in the context of the call that happens to be the first: its request id would stand in what it logs.
            self._poller = asyncio.create_task(self._poll(), context=contextvars.Context())
        return watcher

    def _leave(self, watcher: _Watcher) -> None:
        others = self._watchers[watcher.job_id]
        others.discard(watcher)
        if not others:
            del self._watchers[watcher.job_id]
            self._told.pop(watcher.job_id, None)
        self._of_users -= Counter({watcher.user_id: 1})

    async def _read(self, job_id: str, from_seq: int, *, now: bool) -> _Batch:
        """Events of a job; `now`: all that are stored at this moment, else the answer may be one that is under way.

        A watcher that joins a read may get what was stored a moment before: the poller wakes it for the rest.
        """
        key = (job_id, from_seq)
        reading = self._reading.get(key)
        if reading is None or now:
            # Not in the context of the first, for it is not its alone.
            reading = asyncio.create_task(
                self._calls.on_thread(_read, self._calls.app, job_id, from_seq), context=contextvars.Context()
            )
            self._reading[key] = reading
            reading.add_done_callback(lambda done: self._have_read(key, done))
        return await asyncio.shield(reading)

    def _have_read(self, key: tuple[str, int], reading: "asyncio.Task[_Batch]") -> None:
        if self._reading.get(key) is reading:
            del self._reading[key]
        # Everyone may have left meanwhile; what it failed with was then for nobody.
        if not reading.cancelled():
            reading.exception()

    async def _poll(self) -> None:
        """Wake the watchers of jobs that have newer events than they saw, and those whose token is no longer good.

        Ends when nobody watches.
        """
        checked_at = news_at = time.monotonic()
        while self._watchers:
            await asyncio.sleep(POLL_S if time.monotonic() - news_at < CALM_AFTER_S else CALM_POLL_S)
            due = time.monotonic() - checked_at >= TOKEN_CHECK_S
            token_ids = sorted({watcher.token_id for watcher in self._all()}) if due else []
            try:
                newest, bad_tokens = await self._calls.on_thread(
                    _look, self._calls.app, list(self._watchers), token_ids
                )
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody must wait for a poller that is gone
                if isinstance(error, TraindError):
                    _log.warning("the poll of watched jobs failed: %s", error.reason)
                else:
                    _log.exception("the poll of watched jobs failed")
                self._wake_all()
                await asyncio.sleep(POLL_AGAIN_S)
                continue
            if due:
                checked_at = time.monotonic()
            for watcher in self._all() if bad_tokens else ():
                if watcher.token_id in bad_tokens:
                    watcher.refused = True
                    watcher.news.set()
            if self._tell(newest):
                news_at = time.monotonic()

    def _tell(self, newest: dict[str, int]) -> bool:
        """Wake those who have not seen the newest event of their job; whether there are any. A deleted job is news."""
        any_news = False
        for job_id, watchers in self._watchers.items():
            seq = newest.get(job_id, 0)
            if self._told.get(job_id) == seq:
                continue
            late = [watcher for watcher in watchers if watcher.seen != seq]
            for watcher in late:
                watcher.news.set()
            if late:
                any_news = True
            else:
                self._told[job_id] = seq
        return any_news

    def _all(self) -> Iterator[_Watcher]:
        return chain.from_iterable(self._watchers.values())

    def _wake_all(self) -> None:
        for watcher in self._all():
            watcher.news.set()


def _check(watcher: _Watcher) -> None:
    if watcher.refused:
        raise TokenRejected(tokens.REJECTED)


def _look(app: App, job_ids: list[str], token_ids: list[str]) -> tuple[dict[str, int], set[str]]:
    """The number of the newest event of each job, and which of the tokens may no longer watch."""
    with app.database.read() as connection:
        newest = job_store.last_seqs(connection, job_ids)
        return newest, set(token_ids) - users.living(connection, token_ids) if token_ids else set()


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
