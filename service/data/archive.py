"""A backup in one file: a plain tar whose first member lists all others with their sizes and SHA-256.

    manifest.json      {"format": "traind-backup", "version": 1, "schema": "0005", ..., "members": [...]}
    manifest.sha256    the hash of the one before
    traind.db          the database
    objects/<sha256>   the files of data sets

Any tar program can look into it. What reads it here takes no name, no size and no kind of file from the archive but
those that the list may hold; it computes what each header must be and compares, so that nothing outside the list's few
forms can come out of one, and every byte of the file is checked.
"""

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from service.errors import DataCorrupt

MANIFEST, MANIFEST_HASH, DATABASE, OBJECTS = "manifest.json", "manifest.sha256", "traind.db", "objects/"
FORMAT, VERSION = "traind-backup", 1
# Of the list: some 400,000 objects.
MANIFEST_BYTES = 64 << 20
_BLOCK = tarfile.BLOCKSIZE
_COPY_BYTES = 1 << 20
_END = bytes(2 * _BLOCK)
_HASH = re.compile(r"[0-9a-f]{64}")


class ArchiveRefused(ValueError):
    """The file is no backup, or not what was once written; the text names the member."""


@dataclass(frozen=True)
class Member:
    """One file of the archive."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What the archive says of itself; `created_at` is in whole seconds since 1970."""

    schema: str
    traind: str
    created_at: int
    members: tuple[Member, ...]


def write_archive(file: IO[bytes], manifest: Manifest, sources: Sequence[Path]) -> None:
    """Write the members, whose bytes lie in `sources`, in this order.

    Raises DataCorrupt naming the member whose bytes are not those of its hash.
    """
    raw = json.dumps({"format": FORMAT, "version": VERSION, **asdict(manifest)}, indent=1).encode() + b"\n"
    if len(raw) > MANIFEST_BYTES:
        raise ValueError(f"{len(manifest.members):,} files are too many for one backup")
    for name, data in ((MANIFEST, raw), (MANIFEST_HASH, _hash_line(raw))):
        file.write(_header(name, len(data), manifest.created_at) + data + _padding(len(data)))
    for member, source in zip(manifest.members, sources, strict=True):
        file.write(_header(member.name, member.size_bytes, manifest.created_at))
        with source.open("rb") as stream:
            found = _copy(stream, file, member.size_bytes)
        if found != member.sha256:
            raise DataCorrupt(f"{member.name} does not match its SHA-256; nothing was written")
        file.write(_padding(member.size_bytes))
    file.write(_END)


def read_manifest(file: IO[bytes]) -> Manifest:
    """The list, checked; the file stands at the first member that it names. Raises ArchiveRefused."""
    block = _exactly(file, _BLOCK, MANIFEST)
    try:
        first = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError):
        raise ArchiveRefused("the file is no backup of traind: it is no tar archive") from None
    created_at = int(first.mtime)
    if not 0 <= first.size <= MANIFEST_BYTES or block != _header(MANIFEST, first.size, created_at):
        raise ArchiveRefused(f"the file is no backup of traind: it does not begin with {MANIFEST}")
    raw = _exactly(file, first.size, MANIFEST)
    _expect(file, _padding(first.size), MANIFEST)
    line = _hash_line(raw)
    _expect(file, _header(MANIFEST_HASH, len(line), created_at) + line + _padding(len(line)), MANIFEST)
    return _understood(raw, created_at)


def read_member(file: IO[bytes], member: Member, created_at: int, target: IO[bytes]) -> None:
    """Copy the next member, which must be this one. Raises ArchiveRefused naming it."""
    _expect(file, _header(member.name, member.size_bytes, created_at), member.name)
    try:
        found = _copy(file, target, member.size_bytes)
    except EOFError:
        raise _ends_early(member.name) from None
    if found != member.sha256:
        raise _damaged(member.name)
    _expect(file, _padding(member.size_bytes), member.name)


def read_end(file: IO[bytes]) -> None:
    """Nothing may follow. Raises ArchiveRefused."""
    _expect(file, _END, "its end")
    if file.read(1):
        raise ArchiveRefused("the backup is damaged: more follows after its end")


def object_name(sha256: str) -> str:
    """The name of an object in the archive."""
    return OBJECTS + sha256


def _understood(raw: bytes, created_at: int) -> Manifest:
    """The list as a Manifest, in the only forms that it may have."""
    try:
        told: dict[str, Any] = json.loads(raw)
        if told["format"] != FORMAT:
            raise ArchiveRefused(f"the file is no backup of traind: its format is {str(told['format'])[:40]!r}")
        if told["version"] != VERSION:
            raise ArchiveRefused(
                f"the backup has version {str(told['version'])[:10]} of the format and this traind reads {VERSION}: "
                "use the traind that wrote it, or a newer one"
            )
        members = tuple(Member(str(m["name"]), int(m["size_bytes"]), str(m["sha256"])) for m in told["members"])
        manifest = Manifest(str(told["schema"]), str(told["traind"]), int(told["created_at"]), members)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        if isinstance(error, ArchiveRefused):
            raise
        raise _damaged(MANIFEST) from error
    names = [DATABASE, *(object_name(member.sha256) for member in members[1:])]
    shaped = all(_HASH.fullmatch(member.sha256) and member.size_bytes >= 0 for member in members)
    if not shaped or names != [member.name for member in members] or len(set(names)) != len(names):
        raise ArchiveRefused(f"the backup is damaged: {MANIFEST} lists files that are none of a backup")
    if manifest.created_at != created_at:
        raise _damaged(MANIFEST)
    return manifest


def _header(name: str, size: int, created_at: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, created_at, 0o600
    # Sizes of 8 GiB and more are told without another member.
    return info.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")


def _hash_line(raw: bytes) -> bytes:
    return hashlib.sha256(raw).hexdigest().encode() + b"\n"


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> str:
    """Copy so many bytes and answer their SHA-256. Raises EOFError if there are fewer."""
    digest = hashlib.sha256()
    for part in _parts(source, size):
        digest.update(part)
        target.write(part)
    return digest.hexdigest()


def _parts(source: IO[bytes], size: int) -> Iterator[bytes]:
    while size:
        part = source.read(min(size, _COPY_BYTES))
        if not part:
            raise EOFError
        size -= len(part)
        yield part


def _exactly(file: IO[bytes], size: int, name: str) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise _ends_early(name)
    return data


def _expect(file: IO[bytes], wanted: bytes, name: str) -> None:
    if _exactly(file, len(wanted), name) != wanted:
        raise _damaged(name)


def _damaged(name: str) -> ArchiveRefused:
    return ArchiveRefused(f"the backup is damaged: {name} is not what was written; take another backup")


def _ends_early(name: str) -> ArchiveRefused:
    return ArchiveRefused(f"the backup is damaged: it ends before {name} does; copy it again, or take another backup")
