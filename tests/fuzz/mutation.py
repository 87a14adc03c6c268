"""Broken inputs made of sound ones, always the same for the same seed: what a short test needs of a fuzzer."""

import copy
import hashlib
import json
import random
from collections.abc import Iterator, Sequence

# Bytes and words on which readers turn.
WORDS = (
    b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b'"', b'""', b",", b";", b"\t", b"|", b"{", b"}", b"[",
    b"]", b":", b"null", b"true", b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-0", b"1e-400",
    b"9223372036854775808", b"18446744073709551616", b"0x1F", b"\\ud800", b"\xed\xa0\x80", b"\xc7\xd1", b"\xea\xb0\x80",
    b"2024-02-30", b"NA", b"__metadata__", b"data_offsets", b"F64", b"BF16", b"-1", b"1" * 400,
)  # fmt: skip
VALUES = (
    None, True, False, 0, 1, -1, 3, 7, 0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), 2**31, 2**53, 2**63, 2**64,
    10**30, "", "0", "3", "NaN", "-Infinity", "0x1p-3", "é", "한글", "\ud800", "\x00", "x" * 300, [], {}, [[]], [None],
    {"": 0}, "price", "city", "gaps", "MEDIAN", "F32", "I64", "U8", "BOOL", [0, 0], [0, 4], [2**40, 2**40], [1] * 40,
)  # fmt: skip
MOST_CHANGES = 6
# Longer inputs only take longer.
MOST_BYTES = 16 << 10


def mutations(name: str, seeds: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """So many inputs for a reader, each a seed after one to six changes."""
    draw = random.Random(seed)
    for _ in range(count):
        yield mutated(name, draw.choice(seeds), seeds, draw)


def mutated(name: str, data: bytes, seeds: Sequence[bytes], draw: random.Random) -> bytes:
    """A changed input: the values of JSON where there is some, which gets past the parser, else bytes."""
    if name == "spec" and draw.randrange(4):
        return changed_json(data, seeds, draw)
    if name == "tensors" and draw.randrange(3):
        return _changed_header(data, seeds, draw)
    if name == "model" and draw.randrange(4):
        return _changed_description(data, draw)
    changed = bytearray(data)
    for _ in range(draw.randint(1, MOST_CHANGES)):
        change(changed, seeds, draw)
    return bytes(changed[:MOST_BYTES])


def _changed_header(data: bytes, seeds: Sequence[bytes], draw: random.Random) -> bytes:
    """A safetensors file with other JSON in front, whose length is right."""
    length = int.from_bytes(data[:8], "little")
    others = [other[8 : 8 + int.from_bytes(other[:8], "little")] for other in seeds]
    header = changed_json(data[8 : 8 + length], others, draw)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def _changed_description(data: bytes, draw: random.Random) -> bytes:
    """A model's file whose description says something else, with the hash of what it says."""
    begin = 8 + int.from_bytes(data[:8], "little")
    header = _parsed(data[8:begin])
    try:
        text = header["__metadata__"]["traind"].encode(errors="surrogatepass")
    except (TypeError, KeyError, AttributeError):
        return data[: draw.randint(0, len(data))]
    made = changed_json(text, [text], draw)
    told = {"traind": made.decode(errors="surrogatepass"), "sha256": hashlib.sha256(made).hexdigest()}
    head = json.dumps(header | {"__metadata__": told}).encode()
    return len(head).to_bytes(8, "little") + head + data[begin:]


def changed_json(data: bytes, seeds: Sequence[bytes], draw: random.Random) -> bytes:
    """JSON with one to six of its values replaced, removed, moved or written under another key."""
    value = _parsed(data)
    for _ in range(draw.randint(1, MOST_CHANGES)):
        places = list(_places(value))
        if not places:
            break
        holder, key = draw.choice(places)
        if isinstance(holder[key], str) and holder[key].startswith("{"):
            holder[key] = _nested(holder[key], draw)
            continue
        match draw.randrange(5):
            case 0:
                del holder[key]
            case 1:
                _, other = draw.choice(places)
                _put(holder, other, holder[key])
            case 2:
                donors = [(h, k) for h, k in _places(_parsed(draw.choice(seeds))) if k == key] or places
                donor, name = draw.choice(donors)
                holder[key] = copy.deepcopy(donor[name])
            case 3:
                holder[key] = _nested(holder[key], draw)
            case _:
                holder[key] = copy.deepcopy(draw.choice(VALUES))
    return json.dumps(value, ensure_ascii=draw.random() < 0.5).encode(errors="surrogatepass")


def _parsed(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return {}


def _places(value: object) -> Iterator[tuple]:
    """Every holder and key or index below a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in list(items):
        yield value, key
        yield from _places(part)


def _put(holder: dict | list, key: object, value: object) -> None:
    if isinstance(holder, dict):
        holder[str(key)] = copy.deepcopy(value)
    else:
        holder.append(copy.deepcopy(value))


def _nested(value: object, draw: random.Random) -> object:
    """A text that holds JSON, as the metadata of a checkpoint does, changed inside; else the value in a list."""
    if isinstance(value, str) and value.startswith("{"):
        return changed_json(value.encode(errors="surrogatepass"), [b"{}"], draw).decode(errors="surrogatepass")
    return [copy.deepcopy(value) for _ in range(draw.choice([0, 1, 2, 70]))]


def change(data: bytearray, seeds: Sequence[bytes], draw: random.Random) -> None:
    """Change the bytes in place: a bit, a cut, a copy, a word, a number, or a piece of another seed."""
    begin = draw.randint(0, len(data))
    end = min(begin + draw.choice([1, 1, 2, 4, 8, 32, 256]), len(data))
    match draw.randrange(7):
        case 0 if begin < len(data):
            data[begin] ^= 1 << draw.randrange(8)
        case 1:
            del data[begin:end]
        case 2:
            data[begin:begin] = data[begin:end] * draw.choice([1, 2, 50])
        case 3:
            data[begin:begin] = draw.choice(WORDS)
        case 4:
            data[begin:end] = draw.choice(WORDS)
        case 5:
            other = draw.choice(seeds)
            start = draw.randint(0, len(other))
            data[begin:end] = other[start : start + draw.randint(1, 64)]
        case _:
            digits = [place for place, byte in enumerate(data) if 48 <= byte <= 57]
            if digits:
                data[draw.choice(digits)] = draw.choice(b"0123456789-.e")
