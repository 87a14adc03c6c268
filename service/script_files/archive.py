"""The frame of a zip file whose entries lie in it as they are, so that long ones go through and are never held.

As APPNOTE.TXT of PKWARE has it, version 2.0; the entries are dated 1980-01-01, so that equal models are equal files.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from service.errors import TooLarge
from service.file_parts import Part, Stored, size_of

# Above it a zip file would need another form.
MOST_BYTES = 2**32 - 1
_VERSION, _UTF8, _STORED, _TIME, _DATE = 20, 1 << 11, 0, 0, 1 << 5 | 1
_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_END = struct.Struct("<IHHHHIIH")
_READABLE = 0o100644 << 16
_UNIX = 3 << 8


@dataclass(frozen=True)
class Entry:
    """A file of bytes at hand."""

    name: str
    data: bytes

    @property
    def part(self) -> Part:
        """The bytes."""
        return self.data

    @property
    def crc(self) -> int:
        """Their checksum."""
        return zlib.crc32(self.data)


@dataclass(frozen=True)
class StoredEntry:
    """A file of bytes that are stored, and their checksum."""

    name: str
    part: Stored
    crc: int


def zip_parts(entries: Sequence[Entry | StoredEntry]) -> list[Part]:
    """A zip file of these entries. Raises TooLarge."""
    parts: list[Part] = []
    directory = b""
    for entry in entries:
        name, size, place = entry.name.encode(), size_of([entry.part]), size_of(parts)
        if place + size > MOST_BYTES - (1 << 20):
            raise TooLarge(
                f"format: the weights make a zip file of more than {MOST_BYTES:,} bytes; export it as SAFETENSORS",
                metadata={"field": "format", "limit": str(MOST_BYTES)},
            )
        told = (_UTF8, _STORED, _TIME, _DATE, entry.crc, size, size, len(name), 0)
        parts += [_LOCAL.pack(0x04034B50, _VERSION, *told) + name, entry.part]
        directory += _CENTRAL.pack(0x02014B50, _UNIX | _VERSION, _VERSION, *told, 0, 0, 0, _READABLE, place) + name
    count, place = len(entries), size_of(parts)
    return [*parts, directory + _END.pack(0x06054B50, 0, 0, count, count, len(directory), place, 0)]
