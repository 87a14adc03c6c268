"""Which version of a model a name meant a moment ago, so that the next call of it asks no SQL."""

import threading
import time
from dataclasses import dataclass

# How long a name is believed, seconds: what another process changed is seen after that.
BELIEVED_S = 1.0
# Names kept in memory; the oldest half goes when there are more.
REMEMBERED = 4096


@dataclass(frozen=True)
class Named:
    """One version of a model."""

    id: str
    owner_name: str
    slug: str
    version: int
    parameter_count: int


class ModelNames:
    """What names meant, by caller. What this process changes is seen at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._meant: dict[tuple[str, str], tuple[float, int, Named]] = {}
        # Grows with each change, so that what was looked up before it counts no more.
        self.generation = 0

    def recall(self, user_id: str, text: str) -> Named | None:
        """What a caller's name means; None where that has to be looked up."""
        said = self._meant.get((user_id, text))
        if said is None or said[1] != self.generation or time.monotonic() - said[0] > BELIEVED_S:
            return None
        return said[2]

    def keep(self, user_id: str, text: str, named: Named, generation: int) -> None:
        """Remember what was looked up while the generation was `generation`."""
        with self._lock:
            self._meant.pop((user_id, text), None)
            if len(self._meant) >= REMEMBERED:
                for old in list(self._meant)[: REMEMBERED // 2]:
                    del self._meant[old]
            self._meant[user_id, text] = (time.monotonic(), generation, named)

    def changed(self) -> None:
        """A version was made or deleted, or an alias switched, in this process."""
        with self._lock:
            self.generation += 1
