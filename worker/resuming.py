"""Where a training goes on: the newest checkpoint that is whole, of an attempt before or of the job's parent."""

import logging
import time
from typing import Any

from service import ledger
from service.errors import DataCorrupt
from service.store import artifacts, metrics
from service.store.database import Database
from service.store.records import DatasetRow, JobRow
from worker import checkpoints, forking
from worker.checkpoints import LearnState, Origin
from worker.publishing import Publisher

logger = logging.getLogger("traind.worker")

# Epochs of another job's history that are copied in one transaction: others who write wait for no more than those.
EPOCHS_AT_ONCE = 1000


def load_checkpoint(database: Database, job: JobRow, dataset: DatasetRow) -> tuple[dict[str, Any] | None, str]:
    """The newest checkpoint that is whole, and why it is not the newest of all.

    Raises DataCorrupt when it is neither of this job nor of its parent, and NewerFormat when this version cannot read
    it, for an older one must not stand in for it: what was learned since would be lost.
    """
    damaged = ""
    for artifact_id in filter(None, (job.checkpoint_id, job.older_checkpoint_id)):
        try:
            captured = checkpoints.decode(artifacts.load(database, artifact_id))
        except DataCorrupt as error:
            logger.warning("job %s: a checkpoint is passed over: %s", job.id, error)
            damaged = f"a newer checkpoint is damaged: {error}"
            continue
        fitting = forking.is_of_parent(captured, job) or captured["spec"] == job.resolved_json
        if captured["dataset_sha256"] != dataset.table_sha256 or not fitting:
            raise DataCorrupt("the checkpoint is of another job: its data set or spec differ")
        return captured, damaged
    return None, damaged


def restore(
    state: LearnState,
    origin: Origin,
    captured: dict[str, Any] | None,
    damaged: str,
    publisher: Publisher,
    database: Database,
    job: JobRow,
) -> None:
    """Put the state where the checkpoint was, if there is one, and tell it; `damaged` is why it is not the newest."""
    if captured is None and not damaged:
        return
    other = [] if captured is None else checkpoints.different_bits(captured, origin)
    why = f"bits may differ from those of an unbroken run: {', '.join(other)}" if other else ""
    whence, same_way = "", True
    if captured is not None:
        if forking.is_of_parent(captured, job):
            captured, same_way = forking.adapted(captured, job)
            _inherit(captured, publisher, database, job)
            whence = f"goes on from jobs/{job.parent_id}" + ("" if same_way else " in a changed way")
        checkpoints.restore(state, captured)
    reason = "; ".join(filter(None, (damaged, whence, why)))
    publisher.going_on(state.epoch, state.batch, bitwise_equal=same_way and not other, reason=reason)


def _inherit(captured: dict[str, Any], publisher: Publisher, database: Database, job: JobRow) -> None:
    """The history until the checkpoint, of the job that wrote it, becomes this job's.

    Some epochs at a time, from the one after those that the job has, so that a copy that was cut off is gone on with.
    """
    if job.parent_id is None:
        return
    # A parent that never ran has no history: its checkpoint is one of its own parent.
    writer, until = captured["job"] or job.parent_id, captured["epoch"]
    for first in range(job.epoch + 1, until + 1, EPOCHS_AT_ONCE):
        last = min(first + EPOCHS_AT_ONCE - 1, until)
        with database.read() as connection:
            figures = metrics.between(connection, writer, first, last)
        epochs = [ledger.EpochFigures(epoch, figures.get(epoch, {})) for epoch in range(first, last + 1)]
        publisher.inherit(epochs, min(captured["best_epoch"], last))
        time.sleep(artifacts.PAUSE_S)
