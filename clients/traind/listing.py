# Written by proto/unasync_client.py from aio/listing.py; change that one, then run make proto.
"""Everything of a kind, fetched page by page as it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from traind.tables_out import frame_of

if TYPE_CHECKING:
    from collections.abc import Callable


class Item(Protocol):
    """What can be listed."""

    def record(self) -> dict[str, Any]:
        """The line that tells of it in a table."""


T = TypeVar("T", bound=Item)


class Listing(Generic[T]):
    """Iterate over it for one item after another; or take whole pages, or a data frame of all that is left."""

    def __init__(self, fetch: Callable[[str], tuple[list[T], str]], kind: str) -> None:
        """`fetch` answers the page of a token, and the next token."""
        self._fetch = fetch
        self._kind = kind
        self._token = ""
        self._begun = False
        self._waiting: list[T] = []

    @property
    def has_next(self) -> bool:
        """Whether there may be more."""
        return bool(self._waiting or self._token or not self._begun)

    def next_page(self) -> list[T]:
        """The items that came last and were not taken yet, else those of the next page; empty at the end."""
        while not self._waiting and self.has_next:
            self._waiting, self._token = self._fetch(self._token)
            self._begun = True
        page, self._waiting = self._waiting, []
        return page

    def to_df(self) -> Any:
        """What is left as a pandas DataFrame, a row an item."""
        return frame_of([item.record() for item in self])

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        page = self.next_page()
        if not page:
            raise StopIteration
        self._waiting = page[1:]
        return page[0]

    def __repr__(self) -> str:
        return f"<Listing of {self._kind}: iterate over it, or take .next_page() or .to_df()>"
