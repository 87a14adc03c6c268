"""What clients send call after call, understood once and kept."""

from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

# Entries, all together, and bytes of what one is kept by.
MOST_KEPT, MOST_KEPT_BYTES = 1024, 256


class Kept(Generic[Key, Value]):
    """What is made again easily: all of it goes when there is too much. For any thread."""

    def __init__(self) -> None:
        self._kept: dict[Key, Value] = {}
        # None where it is not kept.
        self.get = self._kept.get

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, key: Key, value: Value) -> None:
        """Keep it; `key` is what it is asked for by, of at most MOST_KEPT_BYTES."""
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        self._kept[key] = value
