"""Artifacts: weights and checkpoints in chunks of 1 MiB, verified by SHA-256, deleted when nobody holds them.

A long value is staged chunk by chunk, each in a transaction of its own, so that other writers never wait for more
than one chunk; it counts from the short transaction on in which `publish` gives it a holder. What is staged and never
published is collected later.
"""

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import closing

from sqlalchemy import delete, exists, func, insert, select, update

from service.errors import DataCorrupt
from service.store.clock import clock
from service.store.database import Connection, Database
from service.store.fixed import Fixed, given
from service.store.tables import artifact, artifact_chunk, artifact_ref

CHUNK_BYTES = 1 << 20

_INSERT = Fixed(
    insert(artifact).values(
        id=given("artifact"),
        kind=given("sort"),
        state=given("stage"),
        sha256=given("digest"),
        size_bytes=given("length"),
        created_at=clock(),
    )
)
_INSERT_CHUNK = Fixed(
    insert(artifact_chunk).values(artifact_id=given("artifact"), number=given("place"), data=given("bytes"))
)
_COUNT_CHUNKS = Fixed(
    select(func.count()).select_from(artifact_chunk).where(artifact_chunk.c.artifact_id == given("artifact"))
)
_READ_CHUNK = Fixed(
    select(artifact_chunk.c.data).where(
        artifact_chunk.c.artifact_id == given("artifact"), artifact_chunk.c.number == given("place")
    )
)
_READ_BINARY = "SELECT data FROM artifact_chunk WHERE artifact_id = %s AND number = %s"
_READY = Fixed(
    update(artifact).where(artifact.c.id == given("artifact"), artifact.c.state == "staged").values(state="ready")
)
_HOLD = Fixed(insert(artifact_ref).values(artifact_id=given("artifact"), holder=given("by")))
_DROP = Fixed(delete(artifact_ref).where(artifact_ref.c.holder == given("by")).returning(artifact_ref.c.artifact_id))
_DELETE_UNHELD = Fixed(
    delete(artifact).where(
        artifact.c.id == given("artifact"), ~exists().where(artifact_ref.c.artifact_id == artifact.c.id)
    )
)


def stage(database: Database, data: bytes, kind: str) -> str:
    """Store a value of any length for a later `publish`; answers the artifact's id. Opens transactions of its own."""
    artifact_id, chunks = new_id(), _chunks(data)
    with database.write() as connection:
        _insert(connection, artifact_id, data, kind, "staged")
        _insert_chunk(connection, artifact_id, *next(chunks))
    for number, chunk in chunks:
        with database.write() as connection:
            _insert_chunk(connection, artifact_id, number, chunk)
    return artifact_id


def new_id() -> str:
    """An id for store_small, where it must be known before the row is made."""
    return str(uuid.uuid4())


def store_small(connection: Connection, data: bytes, kind: str, holder: str, artifact_id: str) -> None:
    """Store a value of at most 1 MiB, held at once, inside the caller's transaction."""
    if len(data) > CHUNK_BYTES:
        raise ValueError(f"{len(data)} bytes are no small artifact: at most {CHUNK_BYTES}; stage it")
    _insert(connection, artifact_id, data, kind, "ready")
    _insert_chunk(connection, artifact_id, 0, data)
    _HOLD(connection, artifact=artifact_id, by=holder)


def publish(connection: Connection, artifact_id: str, holder: str) -> None:
    """Give a staged artifact its first holder, `job:{id}` or `model:{id}`. Raises DataCorrupt if it is not there."""
    if _READY(connection, artifact=artifact_id).rowcount != 1:
        raise DataCorrupt(f"artifact {artifact_id} is not staged any more")
    _HOLD(connection, artifact=artifact_id, by=holder)


def release(connection: Connection, holder: str) -> None:
    """Drop what the holder holds; what nobody holds then is deleted."""
    for artifact_id in list(_DROP(connection, by=holder).scalars()):
        _DELETE_UNHELD(connection, artifact=artifact_id)


def load(database: Database, artifact_id: str) -> bytes:
    """The value, verified. Raises DataCorrupt if it is missing or its bytes are not those that were stored."""
    with database.read() as connection:
        row = connection.execute(
            select(artifact.c.sha256, artifact.c.size_bytes).where(artifact.c.id == artifact_id)
        ).first()
        if row is None:
            raise DataCorrupt(f"artifact {artifact_id} is missing")
        data = b"".join(_read_chunks(connection, artifact_id))
    if len(data) != row.size_bytes or hashlib.sha256(data).hexdigest() != row.sha256:
        raise DataCorrupt(f"artifact {artifact_id} does not match its SHA-256: restore the database from a backup")
    return data


def collect_staged(connection: Connection, older_than_s: float, at_most: int = 1000) -> int:
    """Delete artifacts that were staged so long ago and never published; answers how many."""
    ids = abandoned(connection, older_than_s)[:at_most]
    return connection.execute(delete(artifact).where(artifact.c.id.in_(ids), artifact.c.state == "staged")).rowcount


def abandoned(connection: Connection, older_than_s: float) -> list[str]:
    """Ids of what collect_staged would delete."""
    old = (artifact.c.state == "staged") & (artifact.c.created_at < clock() - older_than_s)
    return list(connection.execute(select(artifact.c.id).where(old)).scalars())


def _chunks(data: bytes) -> Iterator[tuple[int, bytes]]:
    # An empty value has one empty chunk.
    for number, start in enumerate(range(0, max(len(data), 1), CHUNK_BYTES)):
        yield number, data[start : start + CHUNK_BYTES]


def _insert(connection: Connection, artifact_id: str, data: bytes, kind: str, state: str) -> None:
    digest = hashlib.sha256(data).hexdigest()
    _INSERT(connection, artifact=artifact_id, sort=kind, stage=state, digest=digest, length=len(data))


def _insert_chunk(connection: Connection, artifact_id: str, number: int, chunk: bytes) -> None:
    _INSERT_CHUNK(connection, artifact=artifact_id, place=number, bytes=chunk)


def _read_chunks(connection: Connection, artifact_id: str) -> Iterator[bytes]:
    count = _COUNT_CHUNKS(connection, artifact=artifact_id).scalar_one()
    for number in range(count):
        # A missing number leaves the value short, which its hash then tells.
        yield _read_chunk(connection, artifact_id, number) or b""


def _read_chunk(connection: Connection, artifact_id: str, number: int) -> bytes | None:
    if connection.dialect.name != "postgresql":
        return _READ_CHUNK(connection, artifact=artifact_id, place=number).scalar()
    # As text PostgreSQL would send every byte as two digits, at a third of the speed.
    with closing(connection.connection.cursor(binary=True)) as cursor:
        cursor.execute(_READ_BINARY, (artifact_id, number))
        row = cursor.fetchone()
    return None if row is None else row[0]
