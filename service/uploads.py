"""Uploads: files on their way in, each bound to its creator, resumable at an offset, refused after an hour.

What has expired is thrown away by housekeeping, which leaves those alone that a call holds.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from service import references
from service.app import App
from service.callers import Caller
from service.data.objects import disk_full_refused, hash_file
from service.data.tmp_files import upload_path
from service.errors import OffsetMismatch, RateLimited, TooLarge, invalid
from service.points import point
from service.store import uploads as upload_store
from service.store.records import UploadRow
from traind.v1 import uploads_pb2

LIFETIME_S = 3600.0
# A call waits so long while another one writes to the same upload or makes a data set of it.
WAIT_S = 10.0
# Stands in the row of an upload whose size nobody told.
_UNKNOWN_SIZE = 1 << 62


def create_upload(app: App, caller: Caller, request: uploads_pb2.CreateUploadRequest) -> uploads_pb2.Upload:
    """Open an upload."""
    size = request.upload.size_bytes
    if size > app.settings.max_upload_bytes:
        raise _too_large("upload.size_bytes", size, app.settings.max_upload_bytes)
    with app.database.write() as connection, disk_full_refused():
        row = upload_store.add(
            connection,
            owner_id=caller.user_id,
            size_bytes=size or _UNKNOWN_SIZE,
            sha256=request.upload.sha256,
            lifetime_s=LIFETIME_S,
        )
        app.settings.tmp_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _path(app, row.id).touch(mode=0o600)
    return _encode(row)


def get_upload(app: App, caller: Caller, request: uploads_pb2.GetUploadRequest) -> uploads_pb2.Upload:
    """Tell how far it is."""
    return _encode(_find(app, caller, request.name, references.parse_id("uploads", request.name, "name")))


def write_chunk(app: App, caller: Caller, name: str, offset: int, data: bytes) -> uploads_pb2.Upload:
    """Write bytes at an offset; those that have arrived already may come again and change nothing.

    The bytes are on the disk before the row says so. After a crash between the two the file is longer than the row
    says, and the same bytes are written again to the same place.
    """
    with hold_upload(app, caller, name, "name") as (row, path):
        if offset > row.received:
            raise OffsetMismatch(
                f"offset is {offset}, but {row.received} bytes have arrived: go on at offset {row.received}",
                metadata={"offset": str(row.received)},
            )
        limit = min(row.size_bytes, app.settings.max_upload_bytes)
        if offset + len(data) > limit:
            raise _too_large("data", offset + len(data), limit)
        fresh = memoryview(data)[row.received - offset :]
        if fresh:
            _write(path, row.received, fresh)
            point("C16")
            _note(app, row, row.received + len(fresh))
        return _encode(_find(app, caller, name, row.id))


def drop_upload(app: App, caller: Caller, name: str) -> None:
    """Forget an upload and its bytes; no error if there is none."""
    upload_id = references.parse_id("uploads", name, "name")
    with app.database.write() as connection:
        gone = upload_store.delete(connection, caller.user_id, upload_id)
    if gone:
        _path(app, upload_id).unlink(missing_ok=True)


@contextmanager
def hold_upload(app: App, caller: Caller, name: str, field: str) -> Iterator[tuple[UploadRow, Path]]:
    """The caller's upload and its file, with nobody else at work on them, in this process or another.

    Raises NotFound, also when it has expired; InvalidField naming `field`; RateLimited when another call holds it.
    """
    upload_id = references.parse_id("uploads", name, field)
    _find(app, caller, name, upload_id)
    path = _path(app, upload_id)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise references.not_found("uploads", name) from None
    try:
        _lock(handle, name)
        # Read again: whoever held it before may have written to it or made a data set of it.
        yield _find(app, caller, name, upload_id), path
    finally:
        os.close(handle)


def declared_size(row: UploadRow) -> int | None:
    """The bytes that the whole file was said to have; None if nobody said."""
    return row.size_bytes if row.size_bytes != _UNKNOWN_SIZE else None


def whole_file(upload: UploadRow, path: Path, field: str) -> str:
    """The SHA-256 of a held upload that is all there.

    Raises InvalidField naming `field` where size or hash are not as announced.
    """
    size = declared_size(upload)
    if size is not None and upload.received != size:
        raise invalid(field, f"{upload.received:,} of {size:,} bytes have arrived; write the rest first")
    if path.stat().st_size != upload.received:
        # Bytes that came after the last that were acknowledged.
        os.truncate(path, upload.received)
    sha256 = hash_file(path)
    if upload.sha256 and upload.sha256 != sha256:
        raise invalid(field, f"has the SHA-256 {sha256}, announced was {upload.sha256}; upload the file again")
    return sha256


def _find(app: App, caller: Caller, name: str, upload_id: str) -> UploadRow:
    with app.database.read() as connection:
        row = upload_store.find(connection, caller.user_id, upload_id)
    if row is None:
        raise references.not_found("uploads", name)
    return row


def _note(app: App, row: UploadRow, received: int) -> None:
    """Say in the row that bytes have arrived; the file is held, so that nobody else has said so."""
    with app.database.write() as connection:
        if not upload_store.set_received(connection, row.owner_id, row.id, row.received, received):
            raise references.not_found("uploads", f"uploads/{row.id}")


def _lock(handle: int, name: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise RateLimited(
                    f"{name} is being written or read by another call; send this one again", retry_after_s=1
                ) from None
            time.sleep(0.01)


def _write(path: Path, offset: int, data: memoryview) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        with disk_full_refused():
            while data:
                written = os.pwrite(handle, data, offset)
                data, offset = data[written:], offset + written
            os.fsync(handle)
    finally:
        os.close(handle)


def _path(app: App, upload_id: str) -> Path:
    """The file that holds the bytes."""
    return upload_path(app.settings.tmp_dir, upload_id)


def _too_large(field: str, size: int, limit: int) -> TooLarge:
    return TooLarge(
        f"{field}: the file would have {size:,} bytes; the limit is {limit:,}: upload fewer rows or columns, or "
        "ask the administrator to raise TRAIND_MAX_UPLOAD_BYTES",
        metadata={"bytes": str(size), "limit": str(limit)},
    )


def _encode(row: UploadRow) -> uploads_pb2.Upload:
    created, expires = Timestamp(), Timestamp()
    created.FromMicroseconds(round(row.created_at * 1_000_000))
    expires.FromMicroseconds(round(row.expires_at * 1_000_000))
    return uploads_pb2.Upload(
        name=f"uploads/{row.id}",
        size_bytes=declared_size(row) or 0,
        sha256=row.sha256,
        offset=row.received,
        create_time=created,
        expire_time=expires,
    )
