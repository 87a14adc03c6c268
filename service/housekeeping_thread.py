"""Housekeeping by itself, in a thread of servers and workers, so that no sweep waits for it."""

import logging
import threading

from service import housekeeping
from service.data.objects import ObjectFolder
from service.errors import TraindError
from service.observing.exposition import Family, by_label, counter
from service.settings import Settings
from service.store.database import Database

log = logging.getLogger(__name__)

# After a start, and after another process was at it: a server that is restarted often must come to it too.
SOON_S = 60.0


class Housekeeper:
    """Collects every `housekeeping_s` what nobody needs; not at all where that is 0."""

    def __init__(self, settings: Settings, database: Database, objects: ObjectFolder | None = None) -> None:
        """`objects` is None beside a worker, which looks after the scratch files of its machine only."""
        self._period_s = settings.housekeeping_s
        self._database = database
        self._kinds = housekeeping.House(settings, database, objects).kinds()
        # Rounds, those that did not end well, and what was collected of each kind: things, bytes.
        self._rounds = self._bad_rounds = 0
        self._collected = {kind.name: (0, 0) for kind in self._kinds}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Begin; the first round comes soon."""
        if self._period_s:
            self._thread.start()

    def families(self) -> list[Family]:
        """What this process collected, for /metrics."""
        things = {kind: count for kind, (count, _) in self._collected.items()}
        sizes = {kind: size for kind, (_, size) in self._collected.items()}
        return [
            counter("traind_housekeeping_rounds_total", "Rounds of housekeeping in this process.", self._rounds),
            counter("traind_housekeeping_failures_total", "What did not end well in them.", self._bad_rounds),
            by_label("counter", "traind_housekeeping_collected_total", "Things collected.", "kind", things),
            by_label("counter", "traind_housekeeping_bytes_total", "Bytes of them.", "kind", sizes),
        ]

    def stop(self, timeout_s: float = 1.0) -> None:
        """End the thread after what it collects just now; one that is stuck ends with the process."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        soon_s = min(SOON_S, self._period_s)
        pause_s = soon_s
        while not self._stopping.wait(pause_s):
            pause_s = self._period_s if self._round() else soon_s

    def _round(self) -> bool:
        """Collect once; False if another process is at it, or the database does not answer."""
        try:
            with self._database.keeping_house() as alone:
                if alone:
                    self._rounds += 1
                    for tally in housekeeping.clean(self._kinds, self._stopping.is_set):
                        self._note(tally)
                        if tally.count:
                            told = (tally.kind, tally.count, tally.size_bytes, ", ".join(tally.examples))
                            log.info("housekeeping collected %s: %d, %d bytes (%s)", *told)
                return alone
        except TraindError as error:
            self._bad_rounds += 1
            log.warning("no housekeeping now: %s", error)
        except Exception:
            # A defect in one round must not end all later ones.
            self._bad_rounds += 1
            log.exception("housekeeping failed")
        return False

    def _note(self, tally: housekeeping.Tally) -> None:
        count, size = self._collected[tally.kind]
        self._collected[tally.kind] = count + tally.count, size + tally.size_bytes
        self._bad_rounds += bool(tally.failed)
