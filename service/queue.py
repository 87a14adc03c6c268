"""The queue as callers see it: who holds the slots, who waits, and why."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service import references
from service.app import App
from service.callers import Caller
from service.job_messages import timestamp
from service.store import queue as queue_store
from service.store import workers as worker_store
from service.store.queue import Place
from service.store.records import QueueRow, WorkerRow
from traind.v1 import jobs_pb2

# How a worker is started, told to those who wait for one.
START_A_WORKER = "python -m service worker"
# Before a page token whose job waits; one without it holds a slot.
_WAITS = "w."


@dataclass(frozen=True)
class Load:
    """What there is to run jobs, and what of it is taken."""

    workers: Sequence[WorkerRow]
    busy: int

    @property
    def slots(self) -> int:
        """Slots of all workers that are alive."""
        return sum(worker.slots for worker in self.workers)

    def device_on(self, host: str) -> str:
        """What the workers of a machine train on; empty where that is not one kind."""
        kinds = {kind for worker in self.workers if worker.host == host for kind in worker.devices}
        return kinds.pop() if len(kinds) == 1 else ""


def list_queue(app: App, caller: Caller, request: jobs_pb2.ListQueueRequest) -> jobs_pb2.ListQueueResponse:
    """A page of everybody's jobs that run or wait, in the order in which they are served."""
    limit = references.page_limit(request.page_size)
    after = _decode(request.page_token)
    with app.database.read() as connection:
        rows = queue_store.page(connection, limit + 1, after)
        before = Counter(queue_store.count_before(connection, after))
        load = Load(worker_store.alive(connection), queue_store.count_holding(connection))
        queued = queue_store.count_waiting(connection)
    return jobs_pb2.ListQueueResponse(
        entries=_entries(caller, rows[:limit], before, load),
        next_page_token=_encode(rows[limit - 1]) if len(rows) > limit else "",
        slots=load.slots,
        busy_slots=load.busy,
        workers=len(load.workers),
        queued=queued,
    )


def _entries(
    caller: Caller, rows: Sequence[QueueRow], before: Counter[str], load: Load
) -> Iterator[jobs_pb2.QueueEntry]:
    """`before` counts the waiting jobs of each owner that come before the first of `rows`."""
    for row in rows:
        entry = _entry(caller, row, load)
        if row.state == "QUEUED":
            entry.position = before.total() + 1
            entry.why_waiting = why_waiting(caller, row, before, load)
            before[row.owner_id] += 1
        yield entry


def _entry(caller: Caller, row: QueueRow, load: Load) -> jobs_pb2.QueueEntry:
    told = row.owner_id == caller.user_id or "admin" in caller.scopes
    return jobs_pb2.QueueEntry(
        state=jobs_pb2.Job.State.Value(row.state),
        owner=row.owner_name,
        job=f"jobs/{row.id}" if told else "",
        display_name=row.display_name if told else "",
        dataset=row.dataset_name if told else "",
        epoch=row.epoch,
        epochs=row.epochs,
        create_time=timestamp(row.created_at),
        start_time=timestamp(row.started_at),
        worker=row.worker,
        device=load.device_on(row.worker.rpartition(":")[0]) if row.worker else "",
    )


def why_waiting(caller: Caller, row: QueueRow, before: Counter[str], load: Load) -> str:
    """A sentence of the facts that keep a waiting job from being begun."""
    facts = [_ahead(caller, row, before)]
    if row.back_off_s > 0:
        facts.append(f"its worker was lost, so it is begun again in {row.back_off_s:.0f} s at the earliest")
    if not load.workers:
        facts.insert(0, f"no worker is alive, start one with: {START_A_WORKER}")
    elif load.busy >= load.slots:
        facts.append(f"{load.slots} of {_counted(load.slots, 'slot')} {'is' if load.slots == 1 else 'are'} busy")
    else:
        free = load.slots - load.busy
        facts.append(f"{free} of {_counted(load.slots, 'slot')} {'is' if free == 1 else 'are'} free")
    sentence = "; ".join(facts)
    return sentence[0].upper() + sentence[1:]


def _ahead(caller: Caller, row: QueueRow, before: Counter[str]) -> str:
    own, total = before[row.owner_id], before.total()
    if not total:
        return "it is the next to be begun"
    whose = "of yours" if row.owner_id == caller.user_id else f"of {row.owner_name}"
    parts = [f"{_counted(own, 'job')} {whose}"] if own else []
    if total > own:
        parts.append(f"{total - own} of others" if own else f"{_counted(total, 'job')} of others")
    return f"{' and '.join(parts)} {'is' if total == 1 else 'are'} before it"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count:,} {what}s"


def _encode(row: QueueRow) -> str:
    waits = _WAITS if row.state == "QUEUED" else ""
    return waits + references.encode_page_token(row.created_at, row.id)


def _decode(token: str) -> Place | None:
    waits = token.startswith(_WAITS)
    place = references.decode_page_token(token.removeprefix(_WAITS))
    if place is None:
        if waits:
            raise references.forged_page_token()
        return None
    return Place(waits, *place)
