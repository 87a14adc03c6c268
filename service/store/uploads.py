"""Uploads: files on their way in, each bound to its creator. The bytes lie in the data folder, not here."""

import uuid

from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy import delete as delete_from

from service.store.clock import clock, now
from service.store.database import Connection
from service.store.records import UploadRow
from service.store.tables import upload


def add(connection: Connection, *, owner_id: str, size_bytes: int, sha256: str, lifetime_s: float) -> UploadRow:
    """A new upload of which nothing has come yet; it expires `lifetime_s` seconds from now."""
    created_at = now(connection)
    row = UploadRow(str(uuid.uuid4()), owner_id, size_bytes, sha256, 0, created_at, created_at + lifetime_s)
    connection.execute(insert(upload).values(**vars(row)))
    return row


def find(connection: Connection, owner_id: str, upload_id: str) -> UploadRow | None:
    """The owner's upload, if it has not expired."""
    row = connection.execute(select(upload).where(_owned(owner_id, upload_id), _fresh())).mappings().first()
    return None if row is None else UploadRow(**row)


def set_received(connection: Connection, owner_id: str, upload_id: str, expected: int, received: int) -> bool:
    """Note that `received` bytes are here now; False if it was not `expected` before, or has expired."""
    guard = (_owned(owner_id, upload_id), _fresh(), upload.c.received == expected)
    return connection.execute(update(upload).where(*guard).values(received=received)).rowcount == 1


def delete(connection: Connection, owner_id: str, upload_id: str) -> bool:
    """Forget an upload, expired or not; False if there is none."""
    return connection.execute(delete_from(upload).where(_owned(owner_id, upload_id))).rowcount == 1


def expired(connection: Connection) -> list[str]:
    """Ids of what has expired."""
    return list(connection.execute(select(upload.c.id).where(~_fresh())).scalars())


def all_ids(connection: Connection) -> set[str]:
    """Ids of all that is known, expired or not."""
    return set(connection.execute(select(upload.c.id)).scalars())


def delete_expired(connection: Connection, upload_id: str) -> bool:
    """Forget an expired upload, whoever made it; False if there is none."""
    return connection.execute(delete_from(upload).where(upload.c.id == upload_id, ~_fresh())).rowcount == 1


def _owned(owner_id: str, upload_id: str) -> ColumnElement[bool]:
    return (upload.c.id == upload_id) & (upload.c.owner_id == owner_id)


def _fresh() -> ColumnElement[bool]:
    return upload.c.expires_at > clock()
