"""The body of a request: gathered, unpacked, parted into JSON and what stands behind it."""

import zlib

from service.errors import MalformedBody, TooLarge, UnsupportedContent, invalid, shown
from service.rest.exchange import Exchange

MOST_BODY_BYTES = 64 << 20
HEADER = "inference-header-content-length"
# gzip and zlib by what their bits say; `deflate` is zlib, which some send without its head.
_GZIP, _ZLIB, _RAW = 31, 15, -15


async def read(exchange: Exchange) -> bytes:
    """The whole body, at most MOST_BODY_BYTES, unpacked. Raises TooLarge, UnsupportedContent, MalformedBody."""
    data = await exchange.read_at_most(MOST_BODY_BYTES)
    if data is None:
        raise _too_large()
    encoding = (exchange.header("content-encoding") or "identity").strip().lower()
    return data if encoding in {"", "identity"} else _unpacked(data, encoding)


def parts(data: bytes, header: str | None) -> tuple[bytes, memoryview]:
    """The JSON of a body, and the bytes of tensors behind it. `header` says how many bytes the JSON has."""
    if header is None:
        return data, memoryview(b"")
    if not header.isdecimal() or len(header) > 12 or int(header) > len(data):
        raise invalid(
            "Inference-Header-Content-Length",
            f"is {shown(header)}; it must be the bytes of the JSON, from 1 to {len(data):,}, those of the body",
        )
    size = int(header)
    if size == 0:
        raise invalid(
            "Inference-Header-Content-Length", "is 0; a body without JSON names no inputs: send them as JSON before it"
        )
    return data[:size], memoryview(data)[size:]


def _unpacked(data: bytes, encoding: str) -> bytes:
    if encoding not in {"gzip", "deflate"}:
        raise UnsupportedContent(
            f"Content-Encoding is {shown(encoding)}; send gzip, deflate or the body as it is",
            metadata={"encoding": "gzip, deflate, identity"},
        )
    bits = _GZIP if encoding == "gzip" else _ZLIB if data[:1] == b"\x78" else _RAW
    unpacker = zlib.decompressobj(bits)
    try:
        whole = unpacker.decompress(data, MOST_BODY_BYTES + 1)
    except zlib.error:
        raise MalformedBody(f"the body is no {encoding}") from None
    if len(whole) > MOST_BODY_BYTES:
        raise _too_large()
    if not unpacker.eof:
        raise MalformedBody(f"the body ends before its {encoding} does")
    return whole


def _too_large() -> TooLarge:
    return TooLarge(
        f"the body is larger than {MOST_BODY_BYTES:,} bytes, unpacked; send fewer rows a call",
        metadata={"limit": str(MOST_BODY_BYTES)},
    )
