"""What SQL said a moment ago, believed for a while: who asks all the time reads it once in that while."""

import threading
import time
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key")
Told = TypeVar("Told")

# What another process changed is seen after so many seconds. When half of them have passed one caller asks again, so
# that those who ask all the time need not all do so at once.
BELIEVED_S = 1.0


@dataclass(frozen=True, slots=True)
class Moment:
    """When something is asked: seconds of the monotonic clock, and how much this process had changed by then."""

    at: float
    generation: int


@dataclass(slots=True)
class Said(Generic[Told]):
    """What was said to who asked at `at`; `claimed` once somebody asks again."""

    at: float
    told: Told
    claimed: bool = False


class Believed(Generic[Key, Told]):
    """What was said, by what was asked, and bounded: the oldest half goes when there is too much. For any thread."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._lock = threading.Lock()
        self._said: dict[Key, Said[Told]] = {}
        # Grows with each change that this process makes.
        self._generation = 0

    def recall(self, key: Key, *, may_wait: bool) -> Said[Told] | None:
        """What was said; None where that has to be asked, which also one of those who may not wait is told early."""
        said = self._said.get(key)
        if said is None:
            return None
        age_s = time.monotonic() - said.at
        if age_s <= BELIEVED_S / 2:
            return said
        if age_s > BELIEVED_S:
            return None
        if may_wait or not said.claimed:
            said.claimed = True
            return None
        return said

    def moment(self) -> Moment:
        """Now: taken before SQL is asked, for what it says is no newer than that."""
        return Moment(time.monotonic(), self._generation)

    def keep(self, key: Key, told: Told, asked: Moment) -> None:
        """Remember what was asked at a moment, unless that is not the newest that is known."""
        with self._lock:
            newest = self._said.get(key)
            if asked.generation != self._generation or (newest is not None and newest.at > asked.at):
                return
            self._said.pop(key, None)
            if len(self._said) >= self.most:
                for old in list(self._said)[: self.most // 2]:
                    del self._said[old]
            self._said[key] = Said(asked.at, told)

    def changed(self) -> None:
        """This process changed something: nothing that was said counts."""
        with self._lock:
            self._generation += 1
            self._said = {}
