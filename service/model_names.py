"""Which version of a model a name meant a moment ago, so that the next call of it asks no SQL."""

import threading
import time
from dataclasses import dataclass

# How long a name is believed, seconds: what another process changed is seen after that. When half of it has passed one
# caller looks it up again, so that those who ask all the time need not all do so at once.
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


@dataclass(slots=True)
class _Meant:
    """What a name meant at a moment; `claimed` once somebody looks it up again."""

    at: float
    generation: int
    named: Named
    claimed: bool = False


class ModelNames:
    """What names meant, by caller. What this process changes is seen at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._meant: dict[tuple[str, str], _Meant] = {}
        # Grows with each change, so that what was looked up before it counts no more.
        self.generation = 0

    def recall(self, user_id: str, text: str, *, may_wait: bool) -> Named | None:
        """What a caller's name means; None where that has to be looked up, by one who may wait for it."""
        said = self._meant.get((user_id, text))
        if said is None or said.generation != self.generation:
            return None
        age_s = time.monotonic() - said.at
        if age_s > BELIEVED_S:
            return None
        if age_s > BELIEVED_S / 2 and (may_wait or not said.claimed):
            said.claimed = True
            return None
        return said.named

    def keep(self, user_id: str, text: str, named: Named, generation: int) -> None:
        """Remember what was looked up while the generation was `generation`."""
        with self._lock:
            self._meant.pop((user_id, text), None)
            if len(self._meant) >= REMEMBERED:
                for old in list(self._meant)[: REMEMBERED // 2]:
                    del self._meant[old]
            self._meant[user_id, text] = _Meant(time.monotonic(), generation, named)

    def changed(self) -> None:
        """A version was made or deleted, or an alias switched, in this process."""
        with self._lock:
            self.generation += 1
