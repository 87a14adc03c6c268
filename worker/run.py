"""One job from its row to its end: load, learn, save, finish; with the one try/except of the worker."""

import logging
import uuid
from typing import Protocol

import torch
from google.protobuf import json_format

from service import ledger, references
from service.errors import (
    DatabaseUnavailable,
    DataCorrupt,
    DiskFull,
    InvalidField,
    InvalidTable,
    NotFound,
    TooManyParameters,
)
from service.modelling import measuring
from service.modelling.predictor import Predictor
from service.settings import Settings
from service.store import artifacts, models
from service.store.database import Database
from traind.v1 import jobs_pb2
from worker.publishing import Publisher
from worker.training import Stopped, Training
from worker.training_data import open_table

logger = logging.getLogger("traind.worker")


class Stop(Protocol):
    """True when the job shall stop: it is paused or cancelled, or the worker drains. Asked before each batch."""

    def __call__(self) -> bool:
        """Whether to stop now."""


def run_job(settings: Settings, database: Database, claim: ledger.Claim, stop: Stop) -> str:
    """Run a claimed job and answer how it went: `done` (SUCCEEDED or FAILED is stored), `stopped` or `fenced`.

    Raises DatabaseUnavailable when the database did not answer for a lease; of the job's own faults none.
    """
    publisher = Publisher(database, claim, settings.lease_s)
    try:
        if claim.job.kind == "train":
            Training(settings, database, claim, publisher, stop).run()
        else:
            evaluate(settings, database, claim, publisher)
    except Stopped:
        return "stopped"
    except ledger.Fenced:
        return "fenced"
    except DatabaseUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the job must reach an end
        reason, message = failure_of(error)
        try:
            publisher.fail(reason, message)
        except ledger.Fenced:
            return "fenced"
    return "done"


def failure_of(error: Exception) -> tuple[str, str]:
    """The reason and the words by which a job fails; what nobody expected goes to the log, and only its id out."""
    match error:
        case InvalidField() | InvalidTable() | NotFound() | TooManyParameters():
            return "INVALID_DATA", str(error)
        case DataCorrupt():
            return "CORRUPT", str(error)
        case DiskFull():
            return "STORAGE_FULL", f"{error}; free some space, then send the job again"
        case _ if _out_of_memory(error):
            return "OUT_OF_MEMORY", (
                "the job needs more memory than it may have; use fewer columns or rows, narrower layers or a smaller "
                "batch_size"
            )
        case _:
            error_id = uuid.uuid4().hex[:12]
            logger.error("error %s", error_id, exc_info=error)
            return "INTERNAL", f"a defect of the server ended the job; its log tells more under error id {error_id}"


def _out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def evaluate(settings: Settings, database: Database, claim: ledger.Claim, publisher: Publisher) -> None:
    """Measure a model on the job's data set."""
    job = claim.job
    task = json_format.Parse(job.task_json, jobs_pb2.EvaluateSpec())
    wanted = references.parse_reference("models", task.model, job.owner_name, "job.evaluate.model")
    with database.read() as connection:
        model = models.find(connection, job.owner_id, wanted.slug, wanted.version)
    if model is None or wanted.owner_name != job.owner_name:
        raise references.not_found("models", task.model)
    weights = artifacts.load(database, model.artifact_id)
    predictor = Predictor.from_stored(model.spec_json, model.preprocessing_json, weights)
    _, table = open_table(settings, database, claim, predictor.columns)
    publisher.log(f"{table.row_count} rows to measure {task.model} on")
    measured = measuring.evaluate(predictor, table, task.loss if task.HasField("loss") else None)
    publisher.findings = measured.findings
    publisher.succeed(None, measured.figures, 0)
