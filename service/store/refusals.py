"""Writes that were refused because the worker had lost its job: counted, for each was a fence that held."""

from dataclasses import dataclass

from sqlalchemy import func, select, update

from service.store.clock import clock
from service.store.database import Connection
from service.store.fixed import Fixed, given
from service.store.insertion import insert_or_ignore
from service.store.tables import refused_write

_COUNT = Fixed(
    update(refused_write)
    .where(refused_write.c.job_id == given("job"), refused_write.c.worker == given("by"))
    .values(refused=refused_write.c.refused + given("more"), last_at=clock())
)
_TOTAL = Fixed(select(func.coalesce(func.sum(refused_write.c.refused), 0)))
_LAST = Fixed(
    select(refused_write.c.job_id, refused_write.c.worker, refused_write.c.last_at)
    .order_by(refused_write.c.last_at.desc())
    .limit(1)
)


@dataclass(frozen=True)
class RefusedWrites:
    """How many there were, and the last of them: whose, of which job, when (seconds since 1970)."""

    count: int
    job_id: str = ""
    worker: str = ""
    last_at: float = 0.0


def add(connection: Connection, job_id: str, worker: str, count: int) -> None:
    """Count writes of a worker to a job that was no longer its own."""
    values = {"job_id": job_id, "worker": worker, "refused": 0, "last_at": 0.0}
    insert_or_ignore(connection, refused_write, values, ("job_id", "worker"))
    _COUNT(connection, job=job_id, by=worker, more=count)


def total(connection: Connection) -> RefusedWrites:
    """All of them."""
    last = _LAST(connection).first()
    if last is None:
        return RefusedWrites(0)
    return RefusedWrites(int(_TOTAL(connection).scalar_one()), last.job_id, last.worker, last.last_at)
