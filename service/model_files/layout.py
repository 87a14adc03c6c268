"""The frame of a model's file: 8 bytes with the header's length, the header as JSON, the bytes of the tensors.

It is that of safetensors, whose library writes and reads tensors. Here the header is read first and alone, so that
nothing of a file is believed, and no memory taken for it, before names, shapes and sizes are known to be right.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from service.errors import InvalidModelFile, shown

LARGEST_HEADER = 16 << 20
# Values in the JSON of a header, so that a short text cannot become much memory; counted by the marks between them.
MOST_VALUES = 500_000
METADATA = "__metadata__"
EXPORT_AGAIN = "export the model again, as SAFETENSORS, and send that file as it is"
NOT_THERE = "has weights that are not where its header says"
_MARKS = (b",", b"[", b"{")
_ENTRY = {"dtype", "shape", "data_offsets"}
_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")
_PREFIX_BYTES = 8


@dataclass(frozen=True)
class Layout:
    """What a header tells."""

    # Name -> dtype, shape and offsets, as safetensors has them.
    entries: dict[str, Any]
    metadata: dict[str, str]
    # Where the bytes of the tensors begin.
    begin: int


def refused(what: str, cure: str = EXPORT_AGAIN, limit: int | None = None) -> InvalidModelFile:
    """A file that is no model for this server, in words; `limit` where it has more than so many of something."""
    metadata = {"field": "upload"} | ({} if limit is None else {"limit": str(limit)})
    return InvalidModelFile(f"upload: the file {what}; {cure}", metadata=metadata, what=what)


def read_layout(file: BinaryIO, size: int) -> Layout:
    """Read the header of a file of `size` bytes. Raises InvalidModelFile."""
    prefix = file.read(_PREFIX_BYTES)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < _PREFIX_BYTES or not 2 <= length <= size - _PREFIX_BYTES:
        raise refused(f"has {size:,} bytes and is no safetensors file, or was cut")
    if length > LARGEST_HEADER:
        raise refused(
            f"has a header of {length:,} bytes, where at most {LARGEST_HEADER:,} are read", limit=LARGEST_HEADER
        )
    header = read_json(file.read(length), "header")
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise refused("has metadata that are no texts")
    for name, entry in header.items():
        if not isinstance(entry, dict) or entry.keys() != _ENTRY:
            raise refused(f"has a header that does not tell dtype, shape and data_offsets alone of {shown(name)}")
    return Layout(header, metadata, _PREFIX_BYTES + length)


def encode_header(entries: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> bytes:
    """Length and header in front of tensors, as the library writes them; `metadata` comes first."""
    header = ({METADATA: dict(metadata)} if metadata else {}) | dict(entries)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(_PREFIX_BYTES, "little") + text


def check_entries(
    layout: Layout, shapes: Mapping[str, Sequence[int]], dtype: str, item_bytes: int, size: int
) -> dict[str, Any]:
    """The entries as the library writes them, if a file of `size` bytes holds tensors of these names, shapes and dtype
    alone, one behind the other in any order. Raises InvalidModelFile.
    """
    missing, more = shapes.keys() - layout.entries.keys(), layout.entries.keys() - shapes.keys()
    if missing or more:
        what = f"lacks the tensor {shown(min(missing))}" if missing else f"has a tensor {shown(min(more))} too many"
        raise refused(f"{what}: its spec makes a network of {len(shapes)}")
    total, places = 0, {}
    for name, shape in shapes.items():
        entry, count = layout.entries[name], math.prod(shape)
        if entry["dtype"] != dtype or entry["shape"] != list(shape):
            told = f"{entry['dtype']} {entry['shape']}"
            raise refused(f"has {shown(name)} as {shown(told)}; its spec makes it {dtype} {list(shape)}")
        total += count * item_bytes
        places[name] = _offsets(entry["data_offsets"]), count * item_bytes
    if layout.begin + total != size:
        raise refused(f"has {size:,} bytes, where its spec makes {layout.begin + total:,}")
    behind = 0
    for (begin, end), length in sorted(places.values()):
        if (begin, end) != (behind, behind + length):
            raise refused(NOT_THERE)
        behind = end
    return {
        name: {"dtype": dtype, "shape": list(shapes[name]), "data_offsets": list(places[name][0])}
        for name in layout.entries
    }


def _offsets(told: object) -> tuple[int, int]:
    if not isinstance(told, list) or [type(place) for place in told] != [int, int]:
        raise refused(NOT_THERE)
    return told[0], told[1]


def read_json(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object without duplicate keys, bare NaN and half characters. Raises InvalidModelFile."""
    if sum(map(data.count, _MARKS)) > MOST_VALUES:
        raise refused(f"has a {what} of more than {MOST_VALUES:,} values", limit=MOST_VALUES)
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
        if _HALF_PAIR.search(data):
            # Half a pair of surrogates is no text, and more than one library stumbles over it.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise refused(f"has a {what} that is no JSON, has a key twice, or half a character") from None
    if not isinstance(value, dict):
        raise refused(f"has a {what} that is no JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
