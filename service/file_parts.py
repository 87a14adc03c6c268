"""Files that are made on their way out: bytes of their own between ranges of a stored artifact."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.errors import DataCorrupt
from service.store import artifacts
from service.store.database import Database


@dataclass(frozen=True)
class Stored:
    """A range of the artifact's bytes."""

    begin: int
    end: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor within the artifact, row by row, its numbers little-endian."""

    name: str
    shape: tuple[int, ...]
    place: Stored


Part = bytes | Stored


def size_of(parts: Sequence[Part]) -> int:
    """Bytes of the whole file."""
    return sum(len(part) if isinstance(part, bytes) else part.end - part.begin for part in parts)


def read_parts(database: Database, artifact_id: str, parts: Sequence[Part]) -> Iterator[bytes]:
    """The file in pieces of at most 1 MiB, one chunk of the artifact in memory at a time. Raises DataCorrupt."""
    held, number = b"", -1
    for part in parts:
        if isinstance(part, bytes):
            for start in range(0, len(part), artifacts.CHUNK_BYTES):
                yield part[start : start + artifacts.CHUNK_BYTES]
            continue
        at = part.begin
        while at < part.end:
            if at // artifacts.CHUNK_BYTES != number:
                number = at // artifacts.CHUNK_BYTES
                held = artifacts.read_chunk(database, artifact_id, number)
            first = number * artifacts.CHUNK_BYTES
            piece = held[at - first : part.end - first]
            if not piece:
                raise DataCorrupt(f"artifact {artifact_id} is not what it was a moment ago")
            yield piece
            at += len(piece)
