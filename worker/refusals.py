"""Writes of this worker that were refused because it had lost the job: kept until the database has counted them."""

import logging

from service import ledger
from service.errors import TraindError
from service.store.database import Database

log = logging.getLogger(__name__)


class Refusals:
    """Those of one slot that the database has not counted yet."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[ledger.Claim, int]] = []

    def add(self, claim: ledger.Claim, count: int) -> None:
        """Count so many more."""
        if count:
            log.warning("job %s: attempt %d has lost it, %d writes were refused", claim.job.id, claim.attempt, count)
            self._waiting.append((claim, count))
            self.flush()

    def flush(self) -> None:
        """Store what waits; what the database does not take waits on."""
        try:
            while self._waiting:
                claim, count = self._waiting[0]
                ledger.note_refused(self._database, claim, count)
                self._waiting.pop(0)
        except TraindError as error:
            log.warning("%d refused writes are not counted yet: %s", len(self._waiting), error)
