"""How much there is of what stands in SQL, for /metrics: counted in indices where many rows are counted."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select

from service.store import refusals, workers
from service.store.clock import clock
from service.store.database import Connection
from service.store.fixed import Fixed, one_of
from service.store.tables import ENDED_STATES, FAILURE_REASONS, LIVE_STATES, STATES, job

_BY_STATE = Fixed(select(job.c.state, func.count()).group_by(job.c.state))
_BY_REASON = Fixed(
    select(job.c.failure_reason, func.count()).where(one_of(job.c.state, ("FAILED",))).group_by(job.c.failure_reason)
)
_NOT_ENDED = one_of(job.c.state, tuple(state for state in STATES if state not in ENDED_STATES))
_BEGUN = Fixed(
    select(func.coalesce(func.sum(job.c.losses), 0), func.coalesce(func.sum(job.c.attempt - 1), 0)).where(
        _NOT_ENDED, job.c.attempt > 0
    )
)
_OLDEST = Fixed(select(clock() - func.min(job.c.created_at)).where(one_of(job.c.state, ("QUEUED",))))


@dataclass(frozen=True)
class StoredFigures:
    """One look, in one snapshot."""

    # By state and by reason of failure: every name is there, also with 0.
    jobs: Mapping[str, int]
    failures: Mapping[str, int]
    # Of jobs that have not ended: workers lost in a row, and how often they were begun again.
    losses: int
    restarts: int
    # Age of the job that waits longest, seconds; 0 where none waits.
    oldest_s: float
    refused_writes: int
    workers: int
    slots: int

    @property
    def waiting(self) -> int:
        """Jobs that wait for a slot."""
        return self.jobs["QUEUED"]

    @property
    def running(self) -> int:
        """Jobs that hold a slot."""
        return sum(self.jobs[state] for state in LIVE_STATES)


def look(connection: Connection) -> StoredFigures:
    """Count."""
    losses, restarts = _BEGUN(connection).one()
    alive = workers.alive(connection)
    return StoredFigures(
        jobs=dict.fromkeys(STATES, 0) | {row[0]: int(row[1]) for row in _BY_STATE(connection)},
        failures=dict.fromkeys(FAILURE_REASONS, 0) | {row[0]: int(row[1]) for row in _BY_REASON(connection)},
        losses=int(losses),
        restarts=int(restarts),
        oldest_s=max(float(_OLDEST(connection).scalar_one() or 0.0), 0.0),
        refused_writes=refusals.total(connection).count,
        workers=len(alive),
        slots=sum(worker.slots for worker in alive),
    )
