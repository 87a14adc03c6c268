"""The lease of one claim: renews it, and knows when this worker must take it for lost."""

import logging
import time

from service import ledger
from service.errors import TraindError
from service.settings import Settings
from service.store.database import Database

log = logging.getLogger(__name__)


def boottime() -> float:
    """Seconds since the machine started, those in which it slept included: a lease runs on while a laptop sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Heartbeat:
    """Renews a claim's lease every `beat_s` and looks at the job's state in between."""

    def __init__(self, settings: Settings, database: Database, claim: ledger.Claim, asked_at: float) -> None:
        """`asked_at` is the boottime just before the claim was made: the lease may count from then."""
        self._settings = settings
        self._database = database
        self._claim = claim
        self._renewed_at = asked_at
        self._beat_at = asked_at + settings.beat_s
        self._silent = False
        # Renewals that were refused because the job was another's already.
        self.refused = 0

    def ask(self) -> ledger.Beat | None:
        """What the job's row says; None while the database does not answer, or takes nothing."""
        asked_at = boottime()
        try:
            if asked_at < self._beat_at:
                beat = ledger.look(self._database, self._claim)
            else:
                beat = ledger.beat(self._database, self._claim, self._settings.lease_s)
                self.refused += beat.fenced
                self._renewed_at = asked_at
                self._beat_at = asked_at + self._settings.beat_s
        except TraindError as error:
            # A full disk takes no renewal either.
            if not self._silent:
                log.warning("job %s: no heartbeat: %s", self._claim.job.id, error)
            self._silent = True
            return None
        self._silent = False
        return beat

    @property
    def overdue(self) -> bool:
        """Whether the lease may have ended by the database's clock, or will within a beat: another may run the job."""
        return boottime() - self._renewed_at > self._settings.lease_s - self._settings.beat_s
