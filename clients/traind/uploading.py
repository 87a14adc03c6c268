# Written by proto/unasync_client.py from aio/uploading.py; change that one, then run make proto.
"""Files on their way to the server: sent in parts, and on from where a broken connection left off."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from traind import methods
from traind.errors import Conflict, ConnectionFailed, Unavailable
from traind.pauses import off_loop
from traind.v1 import uploads_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traind.transport import Transport

    Progress = Callable[[int, int], None]

CHUNK = 1 << 20
# An upload that goes slower than this is taken for a dead connection; reading a file is never slower.
SLOWEST_BYTES_PER_S = 32 << 10
BREAKS_WITHOUT_PROGRESS = 5


@dataclass(frozen=True)
class Sent:
    """A file that is all there."""

    upload: str
    sha256: str
    size: int


def send_file(transport: Transport, file: BinaryIO, progress: Progress | None) -> Sent:
    """Send an open file from its beginning; `progress` is told bytes sent and in all."""
    sha256, size = off_loop(_hash, file)
    wanted = uploads_pb2.Upload(size_bytes=size, sha256=sha256)
    upload = transport.call(methods.CREATE_UPLOAD, uploads_pb2.CreateUploadRequest(upload=wanted))
    _send(transport, upload.name, file, size, progress)
    return Sent(upload.name, sha256, size)


def patience(size: int) -> float:
    """Seconds that sending or reading so many bytes may take."""
    return 60 + size / SLOWEST_BYTES_PER_S


def _send(transport: Transport, upload: str, file: BinaryIO, size: int, progress: Progress | None) -> None:
    """Write the file's bytes; after a break ask how far it came and go on from there."""
    offset = breaks = 0
    while offset < size:
        chunks = _chunks(upload, file, offset, size, progress)
        try:
            transport.send(methods.WRITE_UPLOAD, chunks, timeout=patience(size - offset))
            return
        except (ConnectionFailed, Unavailable, Conflict) as error:
            if isinstance(error, Conflict) and error.reason != "OFFSET_MISMATCH":
                raise
            asked = uploads_pb2.GetUploadRequest(name=upload)
            seen = (transport.call(methods.GET_UPLOAD, asked)).offset
            breaks = 0 if seen > offset else breaks + 1
            if breaks > BREAKS_WITHOUT_PROGRESS:
                raise
            offset = seen


def _chunks(
    upload: str, file: BinaryIO, offset: int, size: int, progress: Callable[[int, int], None] | None
) -> Iterator[uploads_pb2.WriteUploadRequest]:
    file.seek(offset)
    sent = offset
    while data := off_loop(file.read, CHUNK):
        first = sent == offset
        yield uploads_pb2.WriteUploadRequest(name=upload if first else "", offset=offset if first else 0, data=data)
        sent += len(data)
        if progress:
            progress(sent, size)


def _hash(file: BinaryIO) -> tuple[str, int]:
    """SHA-256 and length of a file that stands at its beginning."""
    return hashlib.file_digest(file, "sha256").hexdigest(), file.seek(0, os.SEEK_END)  # type: ignore[arg-type]
