"""Messages of the contract as proto3 JSON."""

import orjson
from google.protobuf import json_format
from google.protobuf.message import Message

# Above this a message is encoded on a thread, so that the loop goes on serving others.
LARGE_BYTES = 32 << 10


def encode(message: Message) -> bytes:
    """proto3 JSON in one line: int64 as text, NaN and Infinity as text, fields without a value left out."""
    return orjson.dumps(json_format.MessageToDict(message))
