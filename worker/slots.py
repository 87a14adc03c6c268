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
    """Places as bytes of one file, each locked by the process that runs a job in it; the kernel frees a dead one's."""

    def __init__(self, descriptor: int, count: int) -> None:
        """`descriptor` is of a file that all processes of one worker have open."""
        self.descriptor = descriptor
        self.count = count
        self._closed: set[int] = set()

    @contextlib.contextmanager
    def one(self) -> Iterator[int | None]:
        """Hold a free place, numbered from 0; None if all are taken."""
        number = self._take()
        try:
            yield number
        finally:
            if number is not None:
                self._free(number)

    def free(self) -> int:
        """How many places are free just now."""
        taken = [number for number in range(self.count) if self._lock(number)]
        for number in taken:
            self._free(number)
        return len(taken)

    def close(self) -> bool:
        """Take every place that is free and keep it, so that nobody begins a job; tell whether all are taken so."""
        self._closed |= {number for number in range(self.count) if number not in self._closed and self._lock(number)}
        return len(self._closed) == self.count

    def _take(self) -> int | None:
        for look in range(_LOOKS):
            if look:
                time.sleep(_PATIENCE_S)
            for number in range(self.count):
                if self._lock(number):
                    return number
        return None

    def _lock(self, number: int) -> bool:
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number, os.SEEK_SET)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _free(self, number: int) -> None:
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, number, os.SEEK_SET)
