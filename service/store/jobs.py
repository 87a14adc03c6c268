"""Jobs as callers see them: taken, found, listed. How their rows move stands in moves.py."""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import CursorResult, Double, Text, func, select, tuple_

from service.errors import NotFound
from service.store import artifacts, events
from service.store.database import Connection
from service.store.fixed import Fixed, given
from service.store.insertion import insert_or_ignore
from service.store.paging import newest_first
from service.store.records import JobRow
from service.store.tables import dataset, job, user_

_JOBS = select(job, user_.c.name.label("owner_name")).join(user_, user_.c.id == job.c.owner_id)
_BY_ID = Fixed(_JOBS.where(job.c.id == given("job_id")))
_OF_OWNER = Fixed(_JOBS.where(job.c.id == given("job_id"), job.c.owner_id == given("owner")))
_BY_REQUEST = Fixed(_JOBS.where(job.c.owner_id == given("owner"), job.c.request_id == given("request")))
_KEEP_DATASET = Fixed(
    select(dataset.c.id).where(dataset.c.id == given("dataset")).with_for_update(read=True, key_share=True)
)
_BEFORE = Fixed(
    select(func.count()).where(
        job.c.state == "QUEUED",
        tuple_(job.c.created_at, job.c.id) < tuple_(given("created", type_=Double), given("this_job", type_=Text)),
    )
)
_LAST_SEQ = Fixed(select(job.c.last_seq).where(job.c.id == given("job_id")))
# So many statements that are compiled cost less than a single one that is built for them all.
FEW = 8
# Every move of the job, and so every checkpoint that it lets go, waits for the row.
_HOLD_CHECKPOINT = Fixed(select(job.c.checkpoint_id).where(job.c.id == given("job_id")).with_for_update())


def add(
    connection: Connection,
    *,
    owner_id: str,
    dataset_id: str,
    dataset_name: str,
    kind: str,
    display_name: str,
    model_slug: str,
    task_json: str,
    resolved_json: str,
    parameter_count: int,
    epochs: int,
    request_id: str | None,
    request_hash: str | None,
    parent_id: str | None = None,
    checkpoint_id: str | None = None,
    webhooks: str = "",
    memory_bytes: int = 0,
) -> JobRow | None:
    """Queue a new job, with its first event. None if the owner has a job of that request id: read it instead.

    With `checkpoint_id`, which hold_checkpoint answered in this transaction, it goes on from there. Two at once with
    the same request id make one row: the second waits for the first to commit. Raises NotFound if the data set was
    deleted meanwhile.
    """
    # A deletion of the data set waits, and then finds the job; or was first, and the data set is gone.
    if _KEEP_DATASET(connection, dataset=dataset_id).first() is None:
        raise NotFound(
            f"there is no {dataset_name} that you may see; list yours with GET /v1/datasets",
            metadata={"resource": dataset_name},
        )
    job_id = str(uuid.uuid4())
    values: dict[str, Any] = {
        "id": job_id,
        "owner_id": owner_id,
        "state": "QUEUED",
        "attempt": 0,
        "losses": 0,
        "not_before": 0.0,
        "lease_until": 0.0,
        "worker": "",
        "epoch": 0,
        "epochs": epochs,
        "best_epoch": 0,
        "last_seq": 1,
        "metrics_json": "{}",
        "kind": kind,
        "dataset_id": dataset_id,
        "dataset_name": dataset_name,
        "display_name": display_name,
        "model_slug": model_slug,
        "model_name": "",
        "parameter_count": parameter_count,
        "memory_bytes": memory_bytes,
        "request_id": request_id,
        "request_hash": request_hash,
        "parent_id": parent_id,
        "checkpoint_id": checkpoint_id,
        "webhooks": webhooks,
        "task_json": task_json,
        "resolved_json": resolved_json,
    }
    if not insert_or_ignore(connection, job, values, ("owner_id", "request_id"), ("created_at",)):
        return None
    if checkpoint_id is not None:
        artifacts.hold(connection, checkpoint_id, f"job:{job_id}")
    events.insert_all(connection, job_id, 0, 1, [("state", events.state_json("QUEUED"))])
    return find_by_id(connection, job_id)


def hold_checkpoint(connection: Connection, job_id: str) -> str | None:
    """The id of a job's newest checkpoint, None if it has none; the job lets nothing go until the transaction ends."""
    return _HOLD_CHECKPOINT(connection, job_id=job_id).scalar()


def find(connection: Connection, owner_id: str, job_id: str) -> JobRow | None:
    """The owner's job."""
    return _made(_OF_OWNER(connection, job_id=job_id, owner=owner_id))


def find_by_request(connection: Connection, owner_id: str, request_id: str) -> JobRow | None:
    """The owner's job that was taken with this request id."""
    return _made(_BY_REQUEST(connection, owner=owner_id, request=request_id))


def find_by_id(connection: Connection, job_id: str) -> JobRow | None:
    """The job of that id, whoever owns it: for workers."""
    return _made(_BY_ID(connection, job_id=job_id))


def list_page(
    connection: Connection,
    owner_id: str,
    limit: int,
    before: tuple[float, str] | None = None,
    states: Sequence[str] = (),
) -> list[JobRow]:
    """The owner's jobs, newest first; with `states` only those in one of them."""
    query = _JOBS.where(job.c.owner_id == owner_id)
    if states:
        query = query.where(job.c.state.in_(states))
    return [JobRow(**row) for row in connection.execute(newest_first(query, job, limit, before)).mappings()]


def queue_position(connection: Connection, row: JobRow) -> int:
    """How many queued jobs will be begun before this one; 0 if it does not wait."""
    if row.state != "QUEUED":
        return 0
    return int(_BEFORE(connection, created=row.created_at, this_job=row.id).scalar_one())


def last_seqs(connection: Connection, job_ids: Sequence[str]) -> dict[str, int]:
    """The number of the newest event of each job: for those who watch many jobs at once."""
    if len(job_ids) <= FEW:
        found = ((job_id, _LAST_SEQ(connection, job_id=job_id).scalar()) for job_id in job_ids)
        return {job_id: int(seq) for job_id, seq in found if seq is not None}
    rows = connection.execute(select(job.c.id, job.c.last_seq).where(job.c.id.in_(job_ids)))
    return {row.id: row.last_seq for row in rows}


def _made(result: CursorResult[*tuple[Any, ...]]) -> JobRow | None:
    row = result.mappings().first()
    return None if row is None else JobRow(**row)
