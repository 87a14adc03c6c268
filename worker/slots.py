"""The places of one worker: as many jobs run at once, whichever of its processes took them."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

# A guardian that counts the free places holds each for an instant; a supervisor looks again after so long.
_PATIENCE_S = 0.01
_LOOKS = 3


class Slots:
    """Places as bytes of one file, each locked by the process that runs a job in it; the kernel frees a dead one's.

    As many bytes after them are marks of processes that get ready to run jobs.
    """

    def __init__(self, descriptor: int, count: int) -> None:
        """`descriptor` is of a file that all processes of one worker have open."""
        self.descriptor = descriptor
        self.count = count
        self._closed: set[int] = set()

    @contextlib.contextmanager
    def one(self) -> Iterator[int | None]:
        """Hold a free place, numbered from 0; None if all are taken."""
        with self._held(range(self.count)) as number:
            yield number

    @contextlib.contextmanager
    def warming(self) -> Iterator[None]:
        """Have one free place less counted, for no job can begin in it yet; whoever can begin one may take it."""
        with self._held(self._marks):
            yield

    def free(self) -> int:
        """How many places are free just now in which a job could begin."""
        free = len(self._unlocked(range(self.count)))
        warming = self.count - len(self._unlocked(self._marks))
        return max(free - warming, 0)

    def close(self) -> bool:
        """Take every place that is free and keep it, so that nobody begins a job; tell whether all are taken so."""
        self._closed |= {number for number in range(self.count) if number not in self._closed and self._lock(number)}
        return len(self._closed) == self.count

    @property
    def _marks(self) -> range:
        return range(self.count, 2 * self.count)

    @contextlib.contextmanager
    def _held(self, numbers: range) -> Iterator[int | None]:
        number = self._take(numbers)
        try:
            yield number
        finally:
            if number is not None:
                self._free(number)

    def _take(self, numbers: range) -> int | None:
        for look in range(_LOOKS):
            if look:
                time.sleep(_PATIENCE_S)
            for number in numbers:
                if self._lock(number):
                    return number
        return None

    def _unlocked(self, numbers: range) -> list[int]:
        """Those that no other process has locked just now."""
        free = [number for number in numbers if self._lock(number)]
        for number in free:
            self._free(number)
        return free

    def _lock(self, number: int) -> bool:
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number, os.SEEK_SET)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _free(self, number: int) -> None:
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, number, os.SEEK_SET)
