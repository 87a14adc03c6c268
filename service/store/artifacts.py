"""Artifacts: weights and checkpoints in chunks of 1 MiB, verified by SHA-256, deleted when nobody holds them.

A long value is staged chunk by chunk, each in a transaction of its own, so that other writers never wait for more
than one chunk; it counts from the short transaction on in which `publish` gives it a holder. It goes in the same way:
when the last holder lets go it is only marked, and `collect` deletes it by a few chunks at a time, as it does with what
was staged and never published.
"""

import hashlib
import time
import uuid
from collections.abc import Iterator
from contextlib import closing

from sqlalchemy import ColumnElement, delete, exists, func, insert, literal_column, select, update

from service.errors import DataCorrupt
from service.store.clock import clock
from service.store.database import Connection, Database
from service.store.fixed import Fixed, given
from service.store.tables import artifact, artifact_chunk, artifact_ref

CHUNK_BYTES = 1 << 20
# Seconds between two transactions of one long value: where SQLite has one writer at a time, the others get their turn.
PAUSE_S = 0.001
# Chunks that are deleted in one transaction: about as long as storing one takes.
CHUNKS_AT_ONCE = 4

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
# What was staged and is to be deleted: staged in 1970, so that it is old and nobody publishes it any more.
_DROPPED_AT: ColumnElement[float] = literal_column("0.0")
_STAGED = artifact.c.state == literal_column("'staged'")
_READY = Fixed(
    update(artifact)
    .where(artifact.c.id == given("artifact"), _STAGED, artifact.c.created_at > _DROPPED_AT)
    .values(state="ready")
)
_HOLD = Fixed(insert(artifact_ref).values(artifact_id=given("artifact"), holder=given("by")))
_DROP = Fixed(delete(artifact_ref).where(artifact_ref.c.holder == given("by")).returning(artifact_ref.c.artifact_id))
_DROP_OTHERS = Fixed(
    delete(artifact_ref)
    .where(
        artifact_ref.c.holder == given("by"),
        artifact_ref.c.artifact_id != given("one"),
        artifact_ref.c.artifact_id != given("other"),
    )
    .returning(artifact_ref.c.artifact_id)
)
_UNHELD = (artifact.c.id == given("artifact")) & ~exists().where(artifact_ref.c.artifact_id == artifact.c.id)
_DELETE_UNHELD = Fixed(delete(artifact).where(_UNHELD, artifact.c.size_bytes <= given("most")))
_MARK_UNHELD = Fixed(
    update(artifact)
    .where(_UNHELD, artifact.c.size_bytes > given("most"))
    .values(state=literal_column("'staged'"), created_at=_DROPPED_AT)
)
_OLD = _STAGED & (artifact.c.created_at < clock() - given("seconds"))
_ABANDONED = Fixed(select(artifact.c.id).where(_OLD))
_DROP_ABANDONED = Fixed(update(artifact).where(artifact.c.id == given("artifact"), _OLD).values(created_at=_DROPPED_AT))
_OF_ARTIFACT = artifact_chunk.c.artifact_id == given("artifact")
_DROPPED = (artifact.c.id == given("artifact")) & _STAGED & (artifact.c.created_at == _DROPPED_AT)
_DELETE_CHUNKS = Fixed(
    delete(artifact_chunk).where(
        _OF_ARTIFACT,
        # Of one that somebody holds nothing may go, whoever asks.
        exists().where(_DROPPED),
        artifact_chunk.c.number.in_(
            select(artifact_chunk.c.number)
            .where(_OF_ARTIFACT)
            .order_by(artifact_chunk.c.number.desc())
            .limit(given("some"))
            .scalar_subquery()
        ),
    )
)
_DELETE_DROPPED = Fixed(delete(artifact).where(_DROPPED))


def stage(database: Database, data: bytes | bytearray, kind: str) -> str:
    """Store a value of any length for a later `publish`; answers the artifact's id. Opens transactions of its own."""
    artifact_id, chunks = new_id(), _chunks(data)
    with database.write() as connection:
        _insert(connection, artifact_id, data, kind, "staged")
        _insert_chunk(connection, artifact_id, *next(chunks))
    for number, chunk in chunks:
        time.sleep(PAUSE_S)
        with database.write() as connection:
            _insert_chunk(connection, artifact_id, number, chunk)
    return artifact_id


def new_id() -> str:
    """An id for store_small, where it must be known before the row is made."""
    return str(uuid.uuid4())


def store_small(connection: Connection, data: bytes | bytearray, kind: str, holder: str, artifact_id: str) -> None:
    """Store a value of at most 1 MiB, held at once, inside the caller's transaction."""
    if len(data) > CHUNK_BYTES:
        raise ValueError(f"{len(data)} bytes are no small artifact: at most {CHUNK_BYTES}; stage it")
    _insert(connection, artifact_id, data, kind, "ready")
    _insert_chunk(connection, artifact_id, 0, bytes(data))
    _HOLD(connection, artifact=artifact_id, by=holder)


def publish(connection: Connection, artifact_id: str, holder: str) -> None:
    """Give a staged artifact its first holder, `job:{id}` or `model:{id}`. Raises DataCorrupt if it is not there."""
    if _READY(connection, artifact=artifact_id).rowcount != 1:
        raise DataCorrupt(f"artifact {artifact_id} is not staged any more")
    _HOLD(connection, artifact=artifact_id, by=holder)


def hold(connection: Connection, artifact_id: str, holder: str) -> None:
    """Give an artifact that somebody holds another holder."""
    _HOLD(connection, artifact=artifact_id, by=holder)


def release(connection: Connection, holder: str) -> None:
    """Drop what the holder holds; what nobody holds then is deleted."""
    for artifact_id in list(_DROP(connection, by=holder).scalars()):
        _let_go(connection, artifact_id)


def release_others(connection: Connection, holder: str, one: str, other: str) -> None:
    """Drop what the holder holds but for two; what nobody holds then is deleted."""
    for artifact_id in list(_DROP_OTHERS(connection, by=holder, one=one, other=other).scalars()):
        _let_go(connection, artifact_id)


def is_of(connection: Connection, artifact_id: str, data: bytes) -> bool:
    """Whether an artifact was made of these bytes."""
    stored = _find_stored(connection, artifact_id)
    # The hash of bytes of another length need not be known.
    return stored is not None and len(data) == stored[0] and hashlib.sha256(data).hexdigest() == stored[1]


def _find_stored(connection: Connection, artifact_id: str) -> tuple[int, str] | None:
    """The length and the SHA-256 of what was stored."""
    row = connection.execute(
        select(artifact.c.size_bytes, artifact.c.sha256).where(artifact.c.id == artifact_id)
    ).first()
    return None if row is None else (row.size_bytes, row.sha256)


def _stored(connection: Connection, artifact_id: str) -> tuple[int, str]:
    found = _find_stored(connection, artifact_id)
    if found is None:
        raise DataCorrupt(f"artifact {artifact_id} is missing")
    return found


def _damaged(artifact_id: str) -> DataCorrupt:
    return DataCorrupt(f"artifact {artifact_id} does not match its SHA-256: restore the database from a backup")


def load(database: Database, artifact_id: str) -> bytes:
    """The value, verified. Raises DataCorrupt if it is missing or its bytes are not those that were stored."""
    with database.read() as connection:
        size, sha256 = _stored(connection, artifact_id)
        data = b"".join(_read_chunks(connection, artifact_id))
    if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
        raise _damaged(artifact_id)
    return data


def beginning(connection: Connection, artifact_id: str, size: int) -> bytes:
    """A value's first `size` bytes or some more, all where there are fewer; not verified. Empty if it is gone."""
    data, number = b"", 0
    while len(data) < size and (chunk := _read_chunk(connection, artifact_id, number)):
        data, number = data + chunk, number + 1
    return data


def verified(database: Database, artifact_id: str) -> Iterator[bytes]:
    """A value chunk by chunk, one in memory at a time.

    Raises DataCorrupt, at the end where its bytes are not those that were stored.
    """
    digest, length, number = hashlib.sha256(), 0, 0
    with database.read() as connection:
        size, sha256 = _stored(connection, artifact_id)
    while length < size and (chunk := read_chunk(database, artifact_id, number)):
        digest.update(chunk)
        yield chunk
        length, number = length + len(chunk), number + 1
    if length != size or digest.hexdigest() != sha256:
        raise _damaged(artifact_id)


def read_chunk(database: Database, artifact_id: str, number: int) -> bytes:
    """One chunk of a value, as it is stored, counted from 0; empty where there is none."""
    with database.read() as connection:
        return _read_chunk(connection, artifact_id, number) or b""


def collect(database: Database, older_than_s: float) -> int:
    """Delete what was dropped, and what was staged so long ago and never published; answers how many artifacts.

    A few chunks at a time, each time in a transaction of its own: other writers wait for no more than those. Any number
    of processes may at once; what one of them left half done another ends.
    """
    with database.read() as connection:
        ids = list(_ABANDONED(connection, seconds=older_than_s).scalars())
    for artifact_id in ids:
        with database.write() as connection:
            gone = drop_abandoned(connection, artifact_id, older_than_s)
        if gone:
            delete_dropped(database, artifact_id)
    return len(ids)


def drop_abandoned(connection: Connection, artifact_id: str, older_than_s: float) -> bool:
    """Bar an artifact that was staged so long ago from being published; False if it was, or is not so old."""
    return _DROP_ABANDONED(connection, artifact=artifact_id, seconds=older_than_s).rowcount == 1


def delete_dropped(database: Database, artifact_id: str) -> None:
    """Delete an artifact that was dropped, a few chunks at a time; one that was not stays, and is no error."""
    while True:
        with database.write() as connection:
            if not _DELETE_CHUNKS(connection, artifact=artifact_id, some=CHUNKS_AT_ONCE).rowcount:
                _DELETE_DROPPED(connection, artifact=artifact_id)
                return
        time.sleep(PAUSE_S)


def any_abandoned(connection: Connection, older_than_s: float) -> bool:
    """Whether collect would find something."""
    return _ABANDONED(connection, seconds=older_than_s).first() is not None


def _let_go(connection: Connection, artifact_id: str) -> None:
    """Delete what nobody holds; what is long is only marked, for `collect`."""
    _MARK_UNHELD(connection, artifact=artifact_id, most=CHUNK_BYTES)
    _DELETE_UNHELD(connection, artifact=artifact_id, most=CHUNK_BYTES)


def _chunks(data: bytes | bytearray) -> Iterator[tuple[int, bytes]]:
    # An empty value has one empty chunk.
    for number, start in enumerate(range(0, max(len(data), 1), CHUNK_BYTES)):
        yield number, bytes(data[start : start + CHUNK_BYTES])


def _insert(connection: Connection, artifact_id: str, data: bytes | bytearray, kind: str, state: str) -> None:
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
