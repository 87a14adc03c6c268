"""Artifacts that nobody needs any more: found, and dropped, each in one short transaction.

What is dropped can never be held again; its bytes go a few chunks at a time (artifacts.delete_dropped). Whoever dies in
between leaves an artifact that is dropped, which the next one to look finds and deletes to its end.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, case, delete, exists, func, null, select, update

from service.store.clock import clock
from service.store.database import Connection
from service.store.tables import ENDED_STATES, artifact, artifact_ref, job

# Of an artifact that was dropped: when it was made, as it stands in its row (artifacts.py).
_DROPPED_AT = 0.0
_JOB = "job:"
_NAMED_BY = ("checkpoint_id", "older_checkpoint_id")


@dataclass(frozen=True)
class Orphan:
    """An artifact that can go."""

    id: str
    size_bytes: int


@dataclass(frozen=True)
class OldCheckpoint:
    """A checkpoint of a job that has ended; without bytes where somebody else holds it too."""

    job_id: str
    artifact_id: str
    size_bytes: int


def staged(connection: Connection, older_than_s: float) -> list[Orphan]:
    """Artifacts that were staged so long ago and never published, and those that were dropped."""
    return _orphans(connection, (artifact.c.state == "staged") & (artifact.c.created_at < clock() - older_than_s))


def unheld(connection: Connection, older_than_s: float) -> list[Orphan]:
    """Published artifacts without a holder, made so long ago."""
    return _orphans(connection, _unheld() & (artifact.c.created_at <= clock() - older_than_s))


def old_checkpoints(connection: Connection, older_than_s: float) -> list[OldCheckpoint]:
    """What is held by jobs that ended so long ago."""
    other = artifact_ref.alias()
    shared = exists().where(other.c.artifact_id == artifact_ref.c.artifact_id, other.c.holder != artifact_ref.c.holder)
    query = (
        select(job.c.id, artifact.c.id, artifact.c.size_bytes, shared)
        .select_from(artifact_ref)
        .join(job, job.c.id == func.substr(artifact_ref.c.holder, len(_JOB) + 1))
        .join(artifact, artifact.c.id == artifact_ref.c.artifact_id)
        .where(artifact_ref.c.holder.startswith(_JOB), _ended(older_than_s))
        .order_by(job.c.ended_at, job.c.id, artifact.c.id)
    )
    return [OldCheckpoint(row[0], row[1], 0 if row[3] else row[2]) for row in connection.execute(query)]


def drop_unheld(connection: Connection, artifact_id: str) -> bool:
    """Drop an artifact that nobody holds; False if somebody does."""
    # On PostgreSQL a holder that is being added has locked the row, and is seen by the next statement.
    if connection.execute(select(artifact.c.id).where(artifact.c.id == artifact_id).with_for_update()).first() is None:
        return False
    dropped = update(artifact).where(artifact.c.id == artifact_id, _unheld())
    return connection.execute(dropped.values(state="staged", created_at=_DROPPED_AT)).rowcount == 1


def drop_checkpoint(connection: Connection, job_id: str, artifact_id: str, older_than_s: float) -> bool:
    """Take a checkpoint from a job that ended so long ago, and drop it unless somebody else holds it.

    False if the job did not end so long ago, or has no such checkpoint.
    """
    # The job's row first, as in every move of it: what is not ended any more stays.
    kept = {name: case((job.c[name] == artifact_id, null()), else_=job.c[name]) for name in _NAMED_BY}
    if connection.execute(update(job).where(job.c.id == job_id, _ended(older_than_s)).values(kept)).rowcount != 1:
        return False
    held = (artifact_ref.c.holder == f"{_JOB}{job_id}") & (artifact_ref.c.artifact_id == artifact_id)
    if connection.execute(delete(artifact_ref).where(held)).rowcount != 1:
        return False
    drop_unheld(connection, artifact_id)
    return True


def _orphans(connection: Connection, guard: ColumnElement[bool]) -> list[Orphan]:
    query: Select[Any] = select(artifact.c.id, artifact.c.size_bytes).where(guard)
    return [Orphan(*row) for row in connection.execute(query.order_by(artifact.c.created_at, artifact.c.id))]


def _unheld() -> ColumnElement[bool]:
    return (artifact.c.state == "ready") & ~exists().where(artifact_ref.c.artifact_id == artifact.c.id)


def _ended(older_than_s: float) -> ColumnElement[bool]:
    return job.c.state.in_(ENDED_STATES) & (job.c.ended_at <= clock() - older_than_s)
