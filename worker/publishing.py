"""What a trainer writes into the database, each write made again while the database does not answer."""

import math
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from service import ledger
from service.errors import DatabaseUnavailable
from service.points import point
from service.store.database import Database
from traind.v1 import learning_pb2, tables_pb2
from worker.loop import EpochRecord

# Epochs that are done within so many seconds after a publication wait for the next one, so that commits do not bound
# a job whose epochs are short.
PUBLISH_EVERY_S = 0.05
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
# Without a spec that says otherwise nothing is stored within an epoch.
LONGEST_S = 86400.0

T = TypeVar("T")


class Publisher:
    """One attempt's writes. Raises ledger.Fenced when the attempt does not own the job any more.

    A write that meets DatabaseUnavailable is made again for one lease (the ledger stores nothing twice), then the
    error goes on: the process ends, and the job is claimed again.
    """

    def __init__(self, database: Database, claim: ledger.Claim, lease_s: float) -> None:
        self._database = database
        self._claim = claim
        self._lease_s = lease_s
        self._last = float("-inf")
        # The last epoch that is stored; those up to it are compared when they are computed again.
        self._stored = claim.job.epoch
        self._kept_at = time.monotonic()
        self._kept_epoch = 0
        self._every_epochs, self._every_s = 1, LONGEST_S
        # Epochs that are done and not published yet.
        self.pending: list[ledger.EpochFigures] = []
        # What the model's owner should know; what `tell` has not told is told at the end.
        self.findings: list[tables_pb2.Finding] = []

    def log(self, message: str) -> None:
        """A line of the job's log."""
        self._write(lambda: ledger.add_log(self._database, self._claim, message))

    def tell(self, finding: tables_pb2.Finding) -> None:
        """A finding while the job goes on."""
        self.findings.append(finding)
        self._write(lambda: ledger.add_finding(self._database, self._claim, finding))

    def follow(self, every: learning_pb2.Checkpoints, epoch: int) -> None:
        """How often a checkpoint shall be stored, and the epoch from which the attempt begins."""
        # Neither stands in the spec of a job of an older version.
        self._every_epochs, self._every_s = every.every_epochs or 1, every.every_seconds or LONGEST_S
        self._kept_epoch = epoch

    def going_on(self, epoch: int, batch: int, *, bitwise_equal: bool, reason: str) -> None:
        """The attempt goes on where a checkpoint stands."""
        self._write(
            lambda: ledger.going_on(
                self._database, self._claim, epoch, batch, bitwise_equal=bitwise_equal, reason=reason
            )
        )

    def inherit(self, epochs: Sequence[ledger.EpochFigures], best_epoch: int) -> None:
        """The history that another job's checkpoint brings with it becomes the job's own."""
        self._write(lambda: ledger.publish_epochs(self._database, self._claim, epochs, None, best_epoch))
        self._stored = epochs[-1].epoch

    def epoch(
        self, record: EpochRecord, checkpoint: Callable[[], bytes] | None, best_epoch: int, *, last: bool
    ) -> None:
        """An epoch is done. It is published if it is the first, the last, or it is time again; and with a checkpoint
        if that is due too; None = the epoch is none to go on from.
        """
        point("C7")
        figures = ledger.EpochFigures(record.epoch, record.metrics)
        if record.epoch > self._stored or not self._as_stored(figures, best_epoch):
            self.pending.append(figures)
        if last or time.monotonic() - self._last >= PUBLISH_EVERY_S:
            due = last or record.epoch - self._kept_epoch >= self._every_epochs or self._time_to_keep()
            self.flush(checkpoint if due else None, best_epoch, record.epoch)

    def within(self, checkpoint: Callable[[], bytes], best_epoch: int, epoch: int, batch: int) -> None:
        """Before the next batch, `batch` being done of the epoch after `epoch`: where the job stands is stored if it is
        time to, and if it has moved since.
        """
        if self._time_to_keep() and self._has_moved(epoch, batch):
            self.flush(checkpoint, best_epoch, epoch)

    def flush(self, checkpoint: Callable[[], bytes] | None, best_epoch: int, epoch: int) -> None:
        """Publish the epochs that wait, and where the job stands now, `epoch` of its epochs being done."""
        epochs, data = self.pending, None if checkpoint is None else checkpoint()
        if epochs:
            self._write(lambda: ledger.publish_epochs(self._database, self._claim, epochs, data, best_epoch))
            self._stored, self.pending = epochs[-1].epoch, []
            self._last = time.monotonic()
        elif data is not None:
            self._write(lambda: ledger.keep_checkpoint(self._database, self._claim, data))
        if data is not None:
            self._kept_at, self._kept_epoch = time.monotonic(), epoch

    def leave(self, checkpoint: Callable[[], bytes] | None, best_epoch: int, epoch: int, batch: int = 0) -> None:
        """The attempt stops for now, `batch` batches into the epoch after `epoch`: nothing of it shall be lost."""
        if self._has_moved(epoch, batch):
            self.flush(checkpoint, best_epoch, epoch)

    def end_at(self, epoch: int, best_epoch: int) -> None:
        """The attempt is over after `epoch`; what an earlier one had stored after it was not computed again."""
        if epoch < self._stored:
            self._rewind(epoch, best_epoch, "its time was over before they were computed again")

    def _as_stored(self, figures: ledger.EpochFigures, best_epoch: int) -> bool:
        """Whether an epoch that was stored before came out the same; if not, it and those after it are taken back."""
        stored = self._write(lambda: ledger.stored_figures(self._database, self._claim, figures.epoch))
        again = {name: value for (name, _), value in figures.metrics.items()}
        if stored.keys() == again.keys() and all(_same(stored[name], again[name]) for name in again):
            return True
        other = [name for name in again if name not in stored or not _same(stored[name], again[name])]
        self._rewind(figures.epoch - 1, best_epoch, f"computed again, {', '.join(other)} came out otherwise")
        return False

    def _rewind(self, epoch: int, best_epoch: int, reason: str) -> None:
        best = min(best_epoch, epoch)
        self._write(lambda: ledger.rewind(self._database, self._claim, epoch, best, reason))
        self._stored = epoch

    def _has_moved(self, epoch: int, batch: int) -> bool:
        """Whether there is more than the last checkpoint has; one within an epoch is taken for an older one."""
        return bool(self.pending) or batch > 0 or epoch != self._kept_epoch

    def _time_to_keep(self) -> bool:
        return time.monotonic() - self._kept_at >= self._every_s

    def succeed(
        self,
        model: ledger.NewModel | None,
        metrics: dict[str, float],
        best_epoch: int,
        predictions: ledger.Predictions | None = None,
    ) -> None:
        """The job is done."""
        self._write(
            lambda: ledger.succeed(
                self._database,
                self._claim,
                model,
                metrics=metrics,
                best_epoch=best_epoch,
                findings=self.findings,
                predictions=predictions,
            )
        )

    def fail(self, reason: str, message: str, findings: Sequence[tables_pb2.Finding] = ()) -> None:
        """The job has failed; the epochs that wait become part of its history."""
        self._write(
            lambda: ledger.fail(self._database, self._claim, reason, message, epochs=self.pending, findings=findings)
        )

    def _write(self, write: Callable[[], T]) -> T:
        deadline, pause = time.monotonic() + self._lease_s, FIRST_PAUSE_S
        while True:
            try:
                return write()
            except DatabaseUnavailable:
                if time.monotonic() + pause > deadline:
                    raise
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)


def _same(one: float, other: float) -> bool:
    """Whether two figures are the same; NaN is the same as NaN."""
    return one == other or (math.isnan(one) and math.isnan(other))
