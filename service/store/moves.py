"""How a job's row moves: each move is one UPDATE whose WHERE says when it may be made.

A worker's moves are guarded by its attempt and by a state in which a worker holds the job; they answer None when the
guard did not hold. The table of all legal moves stands in service/ledger.py, which composes these with events,
metrics and artifacts in one transaction.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, bindparam, case, func, literal_column, null, select, text, update

from service.store.clock import clock
from service.store.database import QUEUE_LOCK, Connection
from service.store.fixed import Fixed, given, one_of
from service.store.tables import LIVE_STATES, LOSSES_CAP, job

# Seconds before a lost job is claimed again, by how often it was lost in a row: a job that kills its workers must not
# hold a place all the time.
BACK_OFF_S = {losses: min(2.0**losses * 0.5, 30.0) for losses in range(1, LOSSES_CAP)}


@dataclass(frozen=True)
class Standing:
    """Where a job stands, by the columns that fences look at."""

    state: str
    attempt: int
    epoch: int
    last_seq: int
    failure_reason: str | None
    failure_message: str | None
    model_name: str


_STANDING = [job.c[name] for name in Standing.__dataclass_fields__]
_RUNNABLE = (job.c.state == literal_column("'QUEUED'")) & (job.c.not_before <= clock())
# The fence: the row, as long as this attempt holds it.
_HELD = (job.c.id == given("job_id")) & (job.c.attempt == given("mine")) & one_of(job.c.state, LIVE_STATES)
_EXPIRED = job.c.lease_until < clock()
_RELEASED: dict[str, Any] = {"lease_until": 0.0, "worker": ""}
_ONE_EVENT: dict[str, Any] = {"last_seq": job.c.last_seq + 1}


def _ends_if(ends: ColumnElement[bool]) -> dict[str, Any]:
    """What else changes with a move that ends the job; its newest checkpoint stays, for jobs that go on from it."""
    return {
        "ended_at": case((ends, clock()), else_=job.c.ended_at),
        "older_checkpoint_id": case((ends, null()), else_=job.c.older_checkpoint_id),
    }


def _moves(guard: ColumnElement[bool], **values: Any) -> Fixed:
    return Fixed(update(job).where(guard).values(**values).returning(*_STANDING))


def _stop(not_before: ColumnElement[float] | float) -> Fixed:
    cancelling, pausing = job.c.state == "CANCELLING", job.c.state == "PAUSING"
    after = case((cancelling, "CANCELLED"), (pausing, "PAUSED"), else_="QUEUED")
    return _moves(_HELD, state=after, not_before=not_before, **_ends_if(cancelling), **_RELEASED, **_ONE_EVENT)


def _lose(guard: ColumnElement[bool]) -> Fixed:
    cancelling, pausing, running = (job.c.state == name for name in ("CANCELLING", "PAUSING", "RUNNING"))
    failed = running & (job.c.losses + 1 >= LOSSES_CAP)
    after = case((cancelling, "CANCELLED"), (pausing, "PAUSED"), (failed, "FAILED"), else_="QUEUED")
    return _moves(
        guard,
        state=after,
        losses=job.c.losses + case((running, 1), else_=0),
        not_before=clock() + case(BACK_OFF_S, value=job.c.losses + 1, else_=0.0),
        failure_reason=case((failed, given("reason"))),
        failure_message=case((failed, given("message"))),
        **_ends_if(failed | cancelling),
        **_RELEASED,
        **_ONE_EVENT,
    )


def _asks(after: dict[str, str]) -> Fixed:
    """A move that the owner asks for, by the table of states before and after."""
    mine = (job.c.id == given("job_id")) & (job.c.owner_id == given("owner"))
    ends = [before for before, state in after.items() if state == "CANCELLED"]
    ended = _ends_if(one_of(job.c.state, ends)) if ends else {}
    state = case(after, value=job.c.state)
    return _moves(mine & one_of(job.c.state, list(after)), state=state, not_before=0.0, **ended, **_ONE_EVENT)


_STAND = Fixed(select(*_STANDING).where(job.c.id == given("job_id")))
_COUNT_RUNNABLE = Fixed(select(func.count()).select_from(job).where(_RUNNABLE))
_ANY_RUNNABLE = Fixed(select(job.c.id).where(_RUNNABLE).limit(literal_column("1")))
_LOCK_QUEUE = Fixed(text("SELECT pg_advisory_xact_lock(:key)").bindparams(key=QUEUE_LOCK))
_LONGEST_WAITING = (
    select(job.c.id).where(_RUNNABLE).order_by(job.c.created_at, job.c.id).limit(literal_column("1")).scalar_subquery()
)
_CLAIM = Fixed(
    update(job)
    .where(job.c.id == _LONGEST_WAITING, job.c.state == "QUEUED")
    .values(
        state="RUNNING",
        attempt=job.c.attempt + 1,
        worker=given("by"),
        lease_until=clock() + given("lease_s"),
        started_at=func.coalesce(job.c.started_at, clock()),
        **_ONE_EVENT,
    )
    .returning(job.c.id, *_STANDING)
)
_RENEW = _moves(_HELD, lease_until=clock() + given("lease_s"))
_TOUCH = _moves(_HELD, worker=job.c.worker)
_PUBLISHED: dict[str, Any] = {
    "epoch": given("to"),
    "best_epoch": given("best"),
    "metrics_json": given("figures"),
    "losses": 0,
    "last_seq": job.c.last_seq + given("to") - given("stored"),
}
_NEW_CHECKPOINT: dict[str, Any] = {
    "checkpoint_id": given("checkpoint"),
    "older_checkpoint_id": job.c.checkpoint_id,
    "losses": 0,
}
_PUBLISH = _moves(_HELD & (job.c.epoch == given("stored")), **_PUBLISHED)
_PUBLISH_WITH_CHECKPOINT = _moves(_HELD & (job.c.epoch == given("stored")), **(_PUBLISHED | _NEW_CHECKPOINT))
_KEEP = _moves(_HELD & (func.coalesce(job.c.checkpoint_id, "") != given("checkpoint")), **_NEW_CHECKPOINT)
_CHECKPOINTS = Fixed(select(job.c.checkpoint_id, job.c.older_checkpoint_id).where(job.c.id == given("job_id")))
_REWIND = _moves(
    _HELD & (job.c.epoch > given("to")),
    epoch=given("to"),
    best_epoch=given("best"),
    metrics_json=given("figures"),
    **_ONE_EVENT,
)
_FINISH: dict[str, Any] = {"ended_at": clock(), "older_checkpoint_id": null(), **_RELEASED}
_SUCCEED = _moves(_HELD, state="SUCCEEDED", best_epoch=given("best"), metrics_json=given("figures"), **_FINISH)
# Where figures ran away, the newest checkpoint stands at their brink: the one before it is kept.
_DIVERGED = given("reason") == literal_column("'DIVERGED'")
_BEFORE_THAT = {
    "checkpoint_id": case(
        (_DIVERGED, func.coalesce(job.c.older_checkpoint_id, job.c.checkpoint_id)), else_=job.c.checkpoint_id
    )
}
_FAIL = _moves(
    _HELD,
    state="FAILED",
    failure_reason=given("reason"),
    failure_message=given("message"),
    **(_FINISH | _BEFORE_THAT),
)
_STOP = _stop(0.0)
_STOP_FOR_LATER = _stop(clock() + given("wait_s"))
_LOSE = _lose(_HELD)
_LOSE_EXPIRED = _lose(_HELD & _EXPIRED)
# Who holds the row's lock writes to it this moment, or was cut off while it did: the next sweep looks again.
_NOT_LOCKED = Fixed(text("SELECT 1 FROM job WHERE id = :job_id FOR UPDATE SKIP LOCKED").bindparams(bindparam("job_id")))
_ALL_EXPIRED = Fixed(
    select(job.c.id, job.c.attempt).where(one_of(job.c.state, LIVE_STATES), _EXPIRED).order_by(job.c.created_at)
)
_CANCEL = _asks({"QUEUED": "CANCELLED", "PAUSED": "CANCELLED", "RUNNING": "CANCELLING", "PAUSING": "CANCELLING"})
_PAUSE = _asks({"QUEUED": "PAUSED", "RUNNING": "PAUSING"})
_RESUME = _asks({"PAUSED": "QUEUED"})


def standing(connection: Connection, job_id: str) -> Standing | None:
    """Where the job stands; None if there is none."""
    return _made(_STAND, connection, job_id=job_id)


def count_runnable(connection: Connection) -> int:
    """Queued jobs that may be claimed now."""
    return int(_COUNT_RUNNABLE(connection).scalar_one())


def any_runnable(connection: Connection) -> bool:
    """Whether a claim would find something: a plain SELECT that takes no lock."""
    return _ANY_RUNNABLE(connection).first() is not None


def claim(connection: Connection, worker: str, lease_s: float) -> tuple[str, Standing] | None:
    """QUEUED -> RUNNING for the job that waits longest; answers its id too.

    Claims come one after the other, so that two never choose the same job.
    """
    if connection.dialect.name == "postgresql":
        # A statement of its own: the next one then sees what the claim before has committed.
        _LOCK_QUEUE(connection)
    row = _CLAIM(connection, by=worker, lease_s=lease_s).first()
    return None if row is None else (row[0], Standing(*row[1:]))


def renew(connection: Connection, job_id: str, attempt: int, lease_s: float) -> Standing | None:
    """Lengthen the lease."""
    return _made(_RENEW, connection, job_id=job_id, mine=attempt, lease_s=lease_s)


def touch(connection: Connection, job_id: str, attempt: int) -> Standing | None:
    """Change nothing, but hold the row until the transaction ends: the fence before an append."""
    return _made(_TOUCH, connection, job_id=job_id, mine=attempt)


def publish(
    connection: Connection,
    job_id: str,
    attempt: int,
    *,
    stored: int,
    last: int,
    best_epoch: int,
    checkpoint_id: str | None,
    metrics_json: str,
) -> Standing | None:
    """Note that the epochs after `stored` are stored up to `last`, each with an event; with a checkpoint, or without.

    A job that does not stand at `stored` does not move.
    """
    given_too = {} if checkpoint_id is None else {"checkpoint": checkpoint_id}
    return _made(
        _PUBLISH if checkpoint_id is None else _PUBLISH_WITH_CHECKPOINT,
        connection,
        job_id=job_id,
        mine=attempt,
        stored=stored,
        to=last,
        best=best_epoch,
        figures=metrics_json,
        **given_too,
    )


def keep(connection: Connection, job_id: str, attempt: int, checkpoint_id: str) -> Standing | None:
    """Note a newer checkpoint of what is stored already; None too if it is noted already."""
    return _made(_KEEP, connection, job_id=job_id, mine=attempt, checkpoint=checkpoint_id)


def checkpoints(connection: Connection, job_id: str) -> tuple[str, ...]:
    """The ids of the job's checkpoints, the newest first; at most two."""
    row = _CHECKPOINTS(connection, job_id=job_id).first()
    return () if row is None else tuple(one for one in row if one is not None)


def rewind(
    connection: Connection, job_id: str, attempt: int, *, last: int, best_epoch: int, metrics_json: str
) -> Standing | None:
    """Take back the epochs after `last`; with one event. A job that has none does not move."""
    return _made(_REWIND, connection, job_id=job_id, mine=attempt, to=last, best=best_epoch, figures=metrics_json)


def succeed(
    connection: Connection, job_id: str, attempt: int, *, best_epoch: int, metrics_json: str
) -> Standing | None:
    """RUNNING, PAUSING, CANCELLING -> SUCCEEDED; its events are the caller's to count."""
    return _made(_SUCCEED, connection, job_id=job_id, mine=attempt, best=best_epoch, figures=metrics_json)


def fail(connection: Connection, job_id: str, attempt: int, *, reason: str, message: str) -> Standing | None:
    """RUNNING, PAUSING, CANCELLING -> FAILED; its events are the caller's to count."""
    return _made(_FAIL, connection, job_id=job_id, mine=attempt, reason=reason, message=message)


def stop(connection: Connection, job_id: str, attempt: int, wait_s: float = 0.0) -> Standing | None:
    """CANCELLING -> CANCELLED, PAUSING -> PAUSED, RUNNING -> QUEUED, to be claimed again after `wait_s` seconds."""
    if wait_s:
        return _made(_STOP_FOR_LATER, connection, job_id=job_id, mine=attempt, wait_s=wait_s)
    return _made(_STOP, connection, job_id=job_id, mine=attempt)


def lose(
    connection: Connection, job_id: str, attempt: int, failure: tuple[str, str], *, expired_only: bool
) -> Standing | None:
    """RUNNING -> QUEUED after a back-off, or FAILED when it was lost too often, by the reason and message of
    `failure`; CANCELLING -> CANCELLED, PAUSING -> PAUSED.

    With `expired_only` not if the lease was renewed meanwhile, or somebody has locked the row: one job whose worker was
    cut off in the middle of a write must not keep all others waiting.
    """
    if expired_only and connection.dialect.name == "postgresql" and not _NOT_LOCKED(connection, job_id=job_id).first():
        return None
    move = _LOSE_EXPIRED if expired_only else _LOSE
    reason, message = failure
    return _made(move, connection, job_id=job_id, mine=attempt, reason=reason, message=message)


def expired(connection: Connection) -> list[tuple[str, int]]:
    """Jobs whose worker has not renewed its lease, each as (id, attempt)."""
    return [(row.id, row.attempt) for row in _ALL_EXPIRED(connection)]


def set_values(connection: Connection, job_id: str, **values: Any) -> None:
    """Complete a row that a move of this transaction holds: what is known only after the move."""
    connection.execute(update(job).where(job.c.id == job_id).values(**values))


def cancel(connection: Connection, owner_id: str, job_id: str) -> Standing | None:
    """QUEUED, PAUSED -> CANCELLED; RUNNING, PAUSING -> CANCELLING."""
    return _made(_CANCEL, connection, owner=owner_id, job_id=job_id)


def pause(connection: Connection, owner_id: str, job_id: str) -> Standing | None:
    """QUEUED -> PAUSED; RUNNING -> PAUSING."""
    return _made(_PAUSE, connection, owner=owner_id, job_id=job_id)


def resume(connection: Connection, owner_id: str, job_id: str) -> Standing | None:
    """PAUSED -> QUEUED."""
    return _made(_RESUME, connection, owner=owner_id, job_id=job_id)


def _made(move: Fixed, connection: Connection, **parameters: Any) -> Standing | None:
    row = move(connection, **parameters).first()
    return None if row is None else Standing(*row)
