"""The queue as everybody may see it: which jobs hold a slot, which wait, and how many of whom come first.

It is served in the order of (created_at, id), as moves.claim serves it. What is counted is counted in `ix_job_queue`
alone; rows are read for the page that is asked for only.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, select, tuple_

from service.store.clock import clock
from service.store.database import Connection
from service.store.fixed import Fixed, given, one_of
from service.store.records import QueueRow
from service.store.tables import LIVE_STATES, job, user_

_HELD = one_of(job.c.state, LIVE_STATES)
_WAITS = one_of(job.c.state, ("QUEUED",))
_PLACE = tuple_(job.c.created_at, job.c.id)
_GIVEN_PLACE = tuple_(given("created_at"), given("job_id"))
_COLUMNS = [job.c[name] for name in QueueRow.__dataclass_fields__ if name not in {"owner_name", "back_off_s"}]
_ROWS = select(*_COLUMNS, user_.c.name.label("owner_name"), (job.c.not_before - clock()).label("back_off_s")).join(
    user_, user_.c.id == job.c.owner_id
)


@dataclass(frozen=True)
class Place:
    """Behind which job the queue goes on."""

    waiting: bool
    created_at: float
    job_id: str


def _page(which: ColumnElement[bool], *more: ColumnElement[bool]) -> Fixed:
    return Fixed(_ROWS.where(which, *more).order_by(job.c.created_at, job.c.id).limit(given("rows")))


_HOLDING, _HOLDING_AFTER = _page(_HELD), _page(_HELD, _PLACE > _GIVEN_PLACE)
_WAITING, _WAITING_AFTER = _page(_WAITS), _page(_WAITS, _PLACE > _GIVEN_PLACE)
_IN_LINE = Fixed(select(user_.c.id).where(user_.c.id == given("owner")).with_for_update(key_share=True))
_OF_OWNER = (
    select(job.c.id)
    .where(one_of(job.c.state, ("QUEUED", "PAUSED")), job.c.owner_id == given("owner"))
    .limit(given("most"))
)
_COUNT_OF_OWNER = Fixed(select(func.count()).select_from(_OF_OWNER.subquery()))
_COUNT_HELD = Fixed(select(func.count()).select_from(job).where(_HELD))
_COUNT_WAITING = Fixed(select(func.count()).select_from(job).where(_WAITS))
# An expression, for groups by a bare column would tempt SQLite to another index, which knows no states.
_OWNER = job.c.owner_id.concat("")
_COUNT_UP_TO = Fixed(select(_OWNER, func.count()).where(_WAITS, _PLACE <= _GIVEN_PLACE).group_by(_OWNER))


def page(connection: Connection, limit: int, after: Place | None) -> list[QueueRow]:
    """The next `limit` jobs: those that hold a slot, then those that wait; None = from the first on."""
    rows: list[QueueRow] = []
    if after is None:
        rows = _read(_HOLDING, connection, rows=limit)
    elif not after.waiting:
        rows = _read(_HOLDING_AFTER, connection, rows=limit, created_at=after.created_at, job_id=after.job_id)
    left = limit - len(rows)
    if left and after is not None and after.waiting:
        return _read(_WAITING_AFTER, connection, rows=left, created_at=after.created_at, job_id=after.job_id)
    return [*rows, *_read(_WAITING, connection, rows=left)] if left else rows


def count_before(connection: Connection, after: Place | None) -> dict[str, int]:
    """How many jobs of each owner, by its id, wait up to a place, the job that stands there counted too."""
    if after is None or not after.waiting:
        return {}
    rows = _COUNT_UP_TO(connection, created_at=after.created_at, job_id=after.job_id)
    return {row[0]: row[1] for row in rows}


def count_waiting(connection: Connection) -> int:
    """Jobs that wait for a slot."""
    return int(_COUNT_WAITING(connection).scalar_one())


def line_up(connection: Connection, owner_id: str) -> None:
    """Until the transaction ends, nobody else lines up for this owner; SQLite's transactions are alone anyway."""
    if connection.dialect.name == "postgresql":
        _IN_LINE(connection, owner=owner_id)


def count_of_owner(connection: Connection, owner_id: str, most: int) -> int:
    """Jobs of this owner that wait for a slot or are paused, counted up to `most`."""
    return int(_COUNT_OF_OWNER(connection, owner=owner_id, most=most).scalar_one())


def count_holding(connection: Connection) -> int:
    """Jobs that hold a slot."""
    return int(_COUNT_HELD(connection).scalar_one())


def _read(statement: Fixed, connection: Connection, **parameters: Any) -> list[QueueRow]:
    return [QueueRow(**row) for row in statement(connection, **parameters).mappings()]
