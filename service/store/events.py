"""Events: what happened to a job, append-only, numbered 1, 2, 3, ... without a gap."""

from collections.abc import Sequence

from google.protobuf.json_format import MessageToJson
from sqlalchemy import literal_column, select, text, update

from service.store.database import Connection
from service.store.fixed import Fixed, given
from service.store.insertion import BulkInsert
from service.store.records import EventRow
from service.store.tables import event, job
from traind.v1 import jobs_pb2

_COUNT = Fixed(
    update(job)
    .where(job.c.id == given("job_id"))
    .values(last_seq=job.c.last_seq + given("more"))
    .returning(job.c.last_seq)
)
# The kind is written out: a plan of PostgreSQL's for any kind could not use the index of findings.
_FINDINGS = Fixed(
    select(event.c.body_json)
    .where(event.c.job_id == given("job_id"), event.c.kind == text("'finding'"))
    .order_by(event.c.seq)
)
_LAST_OF_KIND = Fixed(
    select(event.c.body_json)
    .where(event.c.job_id == given("job_id"), event.c.kind == given("of_kind"))
    .order_by(event.c.seq.desc())
    .limit(literal_column("1"))
)
_INSERT = BulkInsert(event, same=("job_id", "attempt"), each=("seq", "kind", "body_json"), now=("time",))


def state_json(
    state: str,
    message: str = "",
    failure: jobs_pb2.Failure | None = None,
    *,
    model_version: str = "",
    output_dataset: str = "",
    rejected_dataset: str = "",
) -> str:
    """The body of a `state` event: the contract's StateChange as proto3 JSON."""
    change = jobs_pb2.StateChange(
        state=jobs_pb2.Job.State.Value(state),
        message=message,
        failure=failure,
        model_version=model_version,
        output_dataset=output_dataset,
        rejected_dataset=rejected_dataset,
    )
    return MessageToJson(change, indent=None)


def append(connection: Connection, job_id: str, attempt: int, kind: str, body_json: str) -> int:
    """Add one event and answer its number. The job's row, locked by the update, keeps the numbers dense."""
    return append_all(connection, job_id, attempt, [(kind, body_json)])


def append_all(connection: Connection, job_id: str, attempt: int, bodies: Sequence[tuple[str, str]]) -> int:
    """Add events, each as (kind, body_json), and answer the last one's number. Raises LookupError without a job."""
    last_seq = _COUNT(connection, job_id=job_id, more=len(bodies)).scalar()
    if last_seq is None:
        raise LookupError(f"there is no job {job_id}")
    insert_all(connection, job_id, attempt, last_seq - len(bodies) + 1, bodies)
    return int(last_seq)


def insert_all(
    connection: Connection, job_id: str, attempt: int, first_seq: int, bodies: Sequence[tuple[str, str]]
) -> None:
    """Insert events under numbers that an update of the job's row in this transaction has taken."""
    rows = [(seq, kind, body_json) for seq, (kind, body_json) in enumerate(bodies, first_seq)]
    _INSERT(connection, rows, job_id=job_id, attempt=attempt)


def list_from(connection: Connection, job_id: str, from_seq: int, limit: int) -> list[EventRow]:
    """At most `limit` events from number `from_seq` on."""
    query = select(event).where(event.c.job_id == job_id, event.c.seq >= from_seq).order_by(event.c.seq).limit(limit)
    return [EventRow(**row) for row in connection.execute(query).mappings()]


def findings(connection: Connection, job_id: str) -> list[str]:
    """What all attempts found, in its order."""
    return list(_FINDINGS(connection, job_id=job_id).scalars())


def last_of_kind(connection: Connection, job_id: str, kind: str) -> str | None:
    """What was told of a kind last."""
    body: str | None = _LAST_OF_KIND(connection, job_id=job_id, of_kind=kind).scalar()
    return body


def bodies(connection: Connection, job_id: str, attempt: int, kind: str) -> list[str]:
    """What an attempt told of a kind, in its order."""
    mine = (event.c.job_id == job_id) & (event.c.attempt == attempt) & (event.c.kind == kind)
    return list(connection.execute(select(event.c.body_json).where(mine).order_by(event.c.seq)).scalars())
