"""One job from its row to its end: load, learn, save, finish; with the one try/except of the worker."""

import errno
import json
import logging
import re
import uuid
from typing import Protocol

import torch
from google.protobuf import json_format

from service import ledger
from service.data.objects import DISK_FULL
from service.errors import (
    DatabaseUnavailable,
    DataCorrupt,
    DiskFull,
    InvalidField,
    InvalidTable,
    NotFound,
    PredictionsChanged,
    TooLarge,
    TooManyParameters,
)
from service.modelling import measuring
from service.settings import Settings
from service.store.database import Database
from service.store.records import JobRow
from traind.v1 import jobs_pb2
from worker.checkpoints import NewerFormat
from worker.limits import allowed_bytes, make_room
from worker.predicting import Predicting, load_predictor
from worker.publishing import Publisher
from worker.training import Stopped, Training
from worker.training_data import open_table

MEMORY_CURE = "use narrower or fewer layers, fewer rows or columns, or a smaller batch_size"
# As PyTorch and the C++ library say it.
_NO_MEMORY = ("can't allocate memory", "bad_alloc", "out of memory")
# As PyTorch and NumPy tell what was asked for.
_ASKED = re.compile(r"(?:tried|Tried|Unable) to allocate ([0-9.]+) ?(bytes|[KMGT]i?B)")

logger = logging.getLogger("traind.worker")


class Stop(Protocol):
    """True when the job shall stop: it is paused or cancelled, or the worker drains. Asked before each batch."""

    def __call__(self) -> bool:
        """Whether to stop now."""


def run_job(settings: Settings, database: Database, claim: ledger.Claim, stop: Stop) -> str:
    """Run a claimed job and answer how it went: `done` (SUCCEEDED or FAILED is stored), `stopped`, `fenced`, or
    `left`: it goes on only at a worker of a newer version, and is as it was.

    Raises DatabaseUnavailable when the database did not answer for a lease; of the job's own faults none.
    """
    publisher = Publisher(database, claim, settings.lease_s)
    try:
        match claim.job.kind:
            case "train":
                Training(settings, database, claim, publisher, stop).run()
            case "predict":
                Predicting(settings, database, claim, publisher, stop).run()
            case _:
                evaluate(settings, database, claim, publisher)
    except Stopped:
        return "stopped"
    except NewerFormat as error:
        return leave(publisher, str(error))
    except ledger.Fenced:
        return "fenced"
    except DatabaseUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the job must reach an end
        make_room()
        reason, message = failure_of(error)
        if reason == "OUT_OF_MEMORY":
            message = memory_told(claim.job, allowed_bytes(settings, claim.job), error)
        try:
            publisher.fail(reason, message)
        except ledger.Fenced:
            return "fenced"
    return "done"


def leave(publisher: Publisher, why: str) -> str:
    """Tell why a job is left for another worker."""
    try:
        publisher.log(f"{why}: the job waits for a worker of that version")
    except ledger.Fenced:
        return "fenced"
    return "left"


def failure_of(error: Exception) -> tuple[str, str]:
    """The reason and the words by which a job fails; what nobody expected goes to the log, and only its id out."""
    match error:
        case InvalidField() | InvalidTable() | NotFound() | TooLarge() | TooManyParameters():
            return "INVALID_DATA", str(error)
        case DataCorrupt() | PredictionsChanged():
            return "CORRUPT", str(error)
        case DiskFull():
            return "STORAGE_FULL", f"{error}; free some space, then send the job again"
        case OSError() if error.errno in DISK_FULL:
            return "STORAGE_FULL", (
                "a file of the job needs more room than the server's disk has for it; use fewer rows or inputs, or ask "
                "the administrator to make room, then send the job again"
            )
        case _ if _out_of_memory(error):
            return "OUT_OF_MEMORY", f"the job needs more memory than it may have; {MEMORY_CURE}"
        case _:
            error_id = uuid.uuid4().hex[:12]
            logger.error("error %s", error_id, exc_info=error)
            return "INTERNAL", f"a defect of the server ended the job; its log tells more under error id {error_id}"


def memory_told(job: JobRow, allowed: int, error: Exception) -> str:
    """Why a job FAILED for lack of memory: what was expected, allowed and asked for, and what to change."""
    asked = _ASKED.search(str(error))
    more = f", and then {asked[1]} {asked[2]} more were asked for" if asked else ""
    gradient = json.loads(job.resolved_json or "{}").get("learn", {}).get("gradient")
    size = "" if gradient is None else f" (batch_size is {gradient.get('batchSize', 0) or 'all rows'})"
    return (
        f"the job needs more memory than it may have: {job.memory_bytes / 1e6:,.0f} MB were expected, "
        f"{allowed / 1e6:,.0f} MB are allowed{more}; {MEMORY_CURE}{size}"
    )


def _out_of_memory(error: Exception) -> bool:
    match error:
        case MemoryError() | torch.OutOfMemoryError():
            return True
        case OSError():  # a file that cannot be mapped
            return error.errno == errno.ENOMEM
        case RuntimeError():
            return any(words in str(error) for words in _NO_MEMORY)
        case _:
            return False


def evaluate(settings: Settings, database: Database, claim: ledger.Claim, publisher: Publisher) -> None:
    """Measure a model on the job's data set."""
    job = claim.job
    task = json_format.Parse(job.task_json, jobs_pb2.EvaluateSpec())
    predictor = load_predictor(database, claim, task.model)
    _, table = open_table(settings, database, claim, predictor.columns)
    publisher.log(f"{table.row_count} rows to measure {task.model} on")
    measured = measuring.evaluate(predictor, table, task.loss if task.HasField("loss") else None)
    publisher.findings = measured.findings
    publisher.succeed(None, measured.figures, 0)
