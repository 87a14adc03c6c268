"""Bytes as messages: grpcio answers what it cannot parse with INTERNAL, so it is done here."""

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from service.errors import MalformedBody

Asked = TypeVar("Asked", bound=Message)


def parse(kind: type[Asked], data: bytes) -> Asked:
    """The message. Raises MalformedBody."""
    try:
        return kind.FromString(data)
    except (DecodeError, UnicodeDecodeError):
        name = kind.DESCRIPTOR.full_name
        raise MalformedBody(
            f"these bytes are no {name}: wrong wire format, text that is no UTF-8, or messages nested too deep",
            metadata={"message": name},
        ) from None
