"""Webhooks that are to be sent: a row for each end of a job and target, made in the transaction of that end."""

from dataclasses import dataclass

from sqlalchemy import case, delete, func, insert, literal_column, select, update

from service.store.clock import clock
from service.store.database import Connection
from service.store.fixed import Fixed, given
from service.store.tables import job, webhook

_WANTED = Fixed(select(job.c.webhooks).where(job.c.id == given("job_id")))
_ADD = Fixed(
    insert(webhook).values(
        job_id=given("job_id"),
        target=given("to"),
        state=literal_column("'waiting'"),
        tries=literal_column("0"),
        next_at=clock(),
        last_answer=literal_column("''"),
    )
)
_WAITS = webhook.c.state == literal_column("'waiting'")
_DUE = Fixed(
    select(webhook.c.job_id, webhook.c.tries)
    .where(_WAITS, webhook.c.target == given("to"), webhook.c.next_at <= clock())
    .order_by(webhook.c.next_at)
    .limit(given("most"))
)
_THIS = (webhook.c.job_id == given("job_id")) & (webhook.c.target == given("to"))
_THIS_TRY = _THIS & (webhook.c.tries == given("had"))
_AGAIN = given("stage") == literal_column("'waiting'")
_CLAIM = Fixed(
    update(webhook)
    .where(_THIS_TRY, _WAITS, webhook.c.next_at <= clock())
    .values(tries=webhook.c.tries + 1, next_at=clock() + given("seconds"))
)
_SETTLE = Fixed(
    update(webhook)
    .where(_THIS_TRY, _WAITS)
    .values(
        state=given("stage"),
        last_answer=given("answer"),
        next_at=case((_AGAIN, clock() + given("seconds")), else_=webhook.c.next_at),
    )
)
# When it was tried last, and a moment more: nothing sets it after that.
_OVER = (webhook.c.state != literal_column("'waiting'")) & (webhook.c.next_at <= clock() - given("kept_s"))
_ALL_OVER = Fixed(select(webhook.c.job_id, webhook.c.target).where(_OVER).order_by(webhook.c.next_at))
_FORGET = Fixed(delete(webhook).where(_THIS, _OVER))
_COUNT = Fixed(select(webhook.c.target, webhook.c.state, func.count()).group_by(webhook.c.target, webhook.c.state))


@dataclass(frozen=True)
class Due:
    """A webhook whose time has come, and how often it was tried."""

    job_id: str
    tries: int


def add_for(connection: Connection, job_id: str) -> None:
    """Note that the end of a job is to be told to each target that it names."""
    wanted = _WANTED(connection, job_id=job_id).scalar()
    for target in filter(None, (wanted or "").split(",")):
        _ADD(connection, job_id=job_id, to=target)


def due(connection: Connection, target: str, at_most: int) -> list[Due]:
    """What is to be sent to a target now, what has waited longest first."""
    return [Due(row.job_id, row.tries) for row in _DUE(connection, to=target, most=at_most)]


def claim(connection: Connection, target: str, one: Due, seconds: float) -> bool:
    """Take the next try for so many seconds; False if another process has it."""
    return bool(_CLAIM(connection, job_id=one.job_id, to=target, had=one.tries, seconds=seconds).rowcount)


def settle(connection: Connection, target: str, one: Due, state: str, answer: str, seconds: float = 0.0) -> None:
    """Note how a claimed try went: `delivered`, `given_up`, or `waiting` for so many seconds more."""
    _SETTLE(connection, job_id=one.job_id, to=target, had=one.tries + 1, stage=state, answer=answer, seconds=seconds)


def over(connection: Connection, kept_s: float) -> list[tuple[str, str]]:
    """Job and target of those that were delivered or given up so long ago."""
    return [(row.job_id, row.target) for row in _ALL_OVER(connection, kept_s=kept_s)]


def forget(connection: Connection, job_id: str, target: str, kept_s: float) -> bool:
    """Forget one that was delivered or given up so long ago; False if it was not."""
    return _FORGET(connection, job_id=job_id, to=target, kept_s=kept_s).rowcount == 1


def counts(connection: Connection) -> dict[tuple[str, str], int]:
    """How many there are of each (target, state)."""
    return {(row[0], row[1]): row[2] for row in _COUNT(connection)}
