"""Files of data sets, named by the SHA-256 of their bytes: `objects/ab/<sha256>`."""

import errno
import fcntl
import hashlib
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.data.tmp_files import scratch_path
from service.errors import DataCorrupt, DiskFull

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NAME = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class StoredObject:
    """One object as it lies there; `modified_at` is in seconds since 1970."""

    sha256: str
    size_bytes: int
    modified_at: float


class ObjectFolder:
    """A content-addressed folder; `tmp` must lie on the same file system, for files come in by renaming.

    Names are hashes that the service computed itself: nothing that a caller wrote becomes a path.
    """

    def __init__(self, root: Path, tmp: Path) -> None:
        self.root = root
        self.tmp = tmp
        self._verified: dict[str, tuple[int, int]] = {}  # sha256 -> (mtime_ns, size) of the file that was hashed
        self._verified_lock = threading.Lock()

    def new_tmp(self, suffix: str) -> Path:
        """A path for a new scratch file that nobody else uses."""
        return scratch_path(self.tmp, suffix)

    def put(self, path: Path, sha256: str | None = None) -> str:
        """Move a file in and answer its SHA-256; it survives a crash from then on.

        `sha256` spares the hashing where it is known. A file that is there already is replaced by the same bytes.
        """
        name = sha256 or hash_file(path)
        target = self.path(name)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync(path)
        path.replace(target)
        _sync(target.parent)
        return name

    def path(self, sha256: str) -> Path:
        """Where the bytes with that hash lie, or would lie."""
        if not is_object_name(sha256):
            raise ValueError("an object is named by 64 hexadecimal digits")
        return self.root / sha256[:2] / sha256

    def verify(self, sha256: str) -> None:
        """Check the stored bytes against their name. Raises DataCorrupt. A file that did not change is hashed once."""
        path = self.path(sha256)
        try:
            seen = _seen(path)
            with self._verified_lock:
                if self._verified.get(sha256) == seen:
                    return
            found = hash_file(path)
        except OSError as error:
            raise DataCorrupt("stored bytes of a data set cannot be read; upload its file again") from error
        if found != sha256:
            raise DataCorrupt("stored bytes of a data set do not match their SHA-256; upload its file again")
        with self._verified_lock:
            self._verified[sha256] = seen

    def _note_verified(self, sha256: str) -> None:
        """Spare the hashing of a file that was hashed while it was written."""
        with self._verified_lock:
            self._verified[sha256] = _seen(self.path(sha256))

    def fetch(self, sha256: str) -> Path:
        """Where the bytes lie on this machine, checked against their name. Raises DataCorrupt."""
        self.verify(sha256)
        return self.path(sha256)

    def delete(self, sha256: str) -> None:
        """Remove the bytes with that hash; no error if there are none."""
        with self._verified_lock:
            self._verified.pop(sha256, None)
        self.path(sha256).unlink(missing_ok=True)

    def stored(self) -> Iterator[StoredObject]:
        """Everything that lies there under the name of an object; other files are not ours."""
        for path in self.root.glob("??/*"):
            if is_object_name(path.name) and path.parent.name == path.name[:2]:
                found = self.look(path.name)
                if found is not None:
                    yield found

    def look(self, sha256: str) -> StoredObject | None:
        """The object as it lies there now; None if there is none."""
        try:
            stat = self.path(sha256).stat()
        except FileNotFoundError:
            return None
        return StoredObject(sha256, stat.st_size, stat.st_mtime)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else adds or removes objects meanwhile, in this process or another.

        Between the look whether a row uses some bytes and their removal no new row may come that uses them.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def is_object_name(name: str) -> bool:
    """Whether it is the name of an object: the hash of its bytes."""
    return _NAME.fullmatch(name) is not None


@contextmanager
def disk_full_refused() -> Iterator[None]:
    """Raise DiskFull where the operating system says that there is no room."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise DiskFull("the server's disk is full; nothing was stored") from error


def hash_file(path: Path) -> str:
    """The SHA-256 of a file's bytes in lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _seen(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
