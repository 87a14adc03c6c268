"""Pages of what a caller has, newest first: no more objects than asked for, nor than fit well into a message."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from service import references

# Of the objects in one page, so that it fits into a message, also that of a client with gRPC's own limit of 4 MiB.
PAGE_BYTES = 1 << 20
# Read at once: rows may be large.
_ROWS = 50


class Placed(Protocol):
    """A row that has its place in a listing."""

    @property
    def created_at(self) -> float:
        """Seconds since 1970."""

    @property
    def id(self) -> str:
        """A UUID."""


class Asked(Protocol):
    """A request for a page."""

    page_size: int
    page_token: str


Row = TypeVar("Row", bound=Placed)
Shown = TypeVar("Shown", bound=Message)


def page_of(
    asked: Asked, read: Callable[[int, tuple[float, str] | None], Sequence[Row]], encode: Callable[[Row], Shown]
) -> tuple[list[Shown], str]:
    """The objects of a page, at least one where there is one, and the token of the next page; empty on the last.

    `read` answers so many rows after a place, None = from the newest on. Raises InvalidField on a forged token.
    """
    limit = references.page_limit(asked.page_size)
    before = references.decode_page_token(asked.page_token)
    shown: list[Shown] = []
    size = 0
    while True:
        wanted = min(_ROWS, limit + 1 - len(shown))
        rows = read(wanted, before)
        for row in rows:
            if len(shown) == limit:
                return shown, _token(before)
            one = encode(row)
            size += one.ByteSize()
            if shown and size > PAGE_BYTES:
                return shown, _token(before)
            shown.append(one)
            before = row.created_at, row.id
        if len(rows) < wanted:
            return shown, ""


def _token(place: tuple[float, str] | None) -> str:
    return references.encode_page_token(*place) if place else ""
