"""Uploads: files on their way in, each bound to its creator, resumable at an offset, thrown away after an hour."""

import contextlib
import errno
import os
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from service import references
from service.app import App, Caller
from service.errors import DiskFull, OffsetMismatch, TooLarge
from service.store import uploads as upload_store
from service.store.records import UploadRow
from traind.v1 import uploads_pb2

LIFETIME_S = 3600.0


def create_upload(app: App, caller: Caller, request: uploads_pb2.CreateUploadRequest) -> uploads_pb2.Upload:
    """Open an upload."""
    limit = app.settings.max_upload_bytes
    if request.upload.size_bytes > limit:
        raise _too_large(request.upload.size_bytes, limit)
    with app.database.write() as connection:
        row = upload_store.add(
            connection,
            owner_id=caller.user_id,
            size_bytes=request.upload.size_bytes or limit,
            sha256=request.upload.sha256,
            lifetime_s=LIFETIME_S,
        )
    app.settings.tmp_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path_of(app, row.id).touch(mode=0o600)
    return _encode(app, row)


def get_upload(app: App, caller: Caller, request: uploads_pb2.GetUploadRequest) -> uploads_pb2.Upload:
    """Tell how far it is."""
    return _encode(app, find_upload(app, caller, request.name, "name"))


def write_chunk(app: App, caller: Caller, name: str, offset: int, data: bytes) -> uploads_pb2.Upload:
    """Write bytes at an offset; what has arrived already may come again and changes nothing."""
    row = find_upload(app, caller, name, "name")
    if offset > row.received:
        raise OffsetMismatch(
            f"offset: the upload has {row.received} bytes and the chunk begins at {offset}; go on at {row.received}",
            metadata={"offset": str(row.received)},
        )
    if offset + len(data) > row.size_bytes:
        raise _too_large(offset + len(data), row.size_bytes)
    fresh = data[row.received - offset :]
    if not fresh:
        return _encode(app, row)
    _write(path_of(app, row.id), row.received, fresh)
    with app.database.write() as connection:
        upload_store.set_received(connection, caller.user_id, row.id, row.received, row.received + len(fresh))
    return _encode(app, find_upload(app, caller, name, "name"))


def find_upload(app: App, caller: Caller, name: str, field: str) -> UploadRow:
    """The caller's upload. Raises NotFound also when it has expired."""
    with app.database.read() as connection:
        row = upload_store.find(connection, caller.user_id, references.parse_id("uploads", name, field))
    if row is None:
        raise references.not_found("uploads", name)
    return row


def drop_upload(app: App, caller: Caller, name: str) -> None:
    """Forget an upload and its bytes."""
    upload_id = references.parse_id("uploads", name, "name")
    with app.database.write() as connection:
        gone = upload_store.delete(connection, caller.user_id, upload_id)
    if gone:
        path_of(app, upload_id).unlink(missing_ok=True)


def collect_expired(app: App) -> int:
    """Throw away what was never finished; return how many."""
    with app.database.read() as connection:
        expired = upload_store.expired(connection)
    for upload_id in expired:
        with app.database.write() as connection:
            upload_store.delete_expired(connection, upload_id)
        path_of(app, upload_id).unlink(missing_ok=True)
    return len(expired)


def path_of(app: App, upload_id: str) -> Path:
    """The file that holds the bytes."""
    return app.settings.tmp_dir / f"upload-{upload_id}"


def _write(path: Path, offset: int, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(handle, data, offset)
        os.fsync(handle)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, offset)
            raise DiskFull("the server's disk is full; nothing of this chunk was stored") from error
        raise
    finally:
        os.close(handle)


def _too_large(size: int, limit: int) -> TooLarge:
    return TooLarge(
        f"upload.size_bytes: the file would have {size} bytes; at most {limit} are taken",
        metadata={"bytes": str(size), "limit": str(limit)},
    )


def _encode(app: App, row: UploadRow) -> uploads_pb2.Upload:
    created, expires = Timestamp(), Timestamp()
    created.FromMicroseconds(round(row.created_at * 1_000_000))
    expires.FromMicroseconds(round(row.expires_at * 1_000_000))
    return uploads_pb2.Upload(
        name=f"uploads/{row.id}",
        size_bytes=row.size_bytes if row.size_bytes != app.settings.max_upload_bytes else 0,
        sha256=row.sha256,
        offset=row.received,
        create_time=created,
        expire_time=expires,
    )
