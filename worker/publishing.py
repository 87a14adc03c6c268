"""What a trainer writes into the database, each write made again while the database does not answer."""

import json
import time
from collections.abc import Callable, Sequence

from google.protobuf import json_format
from google.protobuf.message import Message

from service import ledger
from service.errors import DatabaseUnavailable
from service.store.database import Database
from traind.v1 import tables_pb2
from worker.loop import EpochRecord

# Epochs that are done within so many seconds after a publication wait for the next one, so that commits do not bound
# a job whose epochs are short.
PUBLISH_EVERY_S = 0.05
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


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

    def epoch(self, record: EpochRecord, checkpoint: Callable[[], bytes], best_epoch: int, *, last: bool) -> None:
        """An epoch is done. It is published with its checkpoint if it is the first, the last, or it is time again."""
        self.pending.append(ledger.EpochFigures(record.epoch, record.metrics))
        if last or time.monotonic() - self._last >= PUBLISH_EVERY_S:
            self.flush(checkpoint, best_epoch)

    def flush(self, checkpoint: Callable[[], bytes], best_epoch: int) -> None:
        """Publish the epochs that wait, with the checkpoint of the last one."""
        if not self.pending:
            return
        epochs, data = self.pending, checkpoint()
        self._write(lambda: ledger.publish_epochs(self._database, self._claim, epochs, data, best_epoch))
        self.pending = []
        self._last = time.monotonic()

    def succeed(self, model: ledger.NewModel | None, metrics: dict[str, float], best_epoch: int) -> None:
        """The job is done."""
        self._write(
            lambda: ledger.succeed(
                self._database, self._claim, model, metrics=metrics, best_epoch=best_epoch, findings=self.findings
            )
        )

    def fail(self, reason: str, message: str, findings: Sequence[tables_pb2.Finding] = ()) -> None:
        """The job has failed; the epochs that wait become part of its history."""
        self._write(
            lambda: ledger.fail(self._database, self._claim, reason, message, epochs=self.pending, findings=findings)
        )

    def _write(self, write: Callable[[], object]) -> None:
        deadline, pause = time.monotonic() + self._lease_s, FIRST_PAUSE_S
        while True:
            try:
                write()
                return
            except DatabaseUnavailable:
                if time.monotonic() + pause > deadline:
                    raise
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)


def encode_messages(messages: Sequence[Message]) -> str:
    """Messages as one JSON array."""
    return json.dumps([json_format.MessageToDict(message) for message in messages], ensure_ascii=False)
