"""A new job, submitted, retried or forked: admitted, stored as one QUEUED row, and only then let run."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from google.protobuf import json_format
from google.protobuf.message import Message

from service import admission, batches, datasets, models, references
from service.app import App
from service.callers import Caller
from service.calling.methods import MOST_MESSAGE_BYTES
from service.errors import QueueFull, RequestIdReused, TooLarge, WrongState
from service.job_messages import describe
from service.modelling import specs
from service.points import point
from service.store import events as event_store
from service.store import jobs as job_store
from service.store import queue as queue_store
from service.store.database import Connection
from service.store.records import DatasetRow
from traind.v1 import jobs_pb2, specs_pb2

# Of what a job tells when it is new; findings, metrics and the like come to it.
MOST_TOLD_BYTES = MOST_MESSAGE_BYTES - (256 << 10)


@dataclass(frozen=True)
class Request:
    """How a new job is asked for, beside what it is."""

    # Empty = the call is not safe to repeat.
    request_id: str
    # Of what is asked for: the same id with another hash is refused.
    request_hash: str
    validate_only: bool

    @classmethod
    def of(cls, message: Message, request_id: str, *, validate_only: bool = False) -> "Request":
        """The request that a message describes."""
        described = message.SerializeToString(deterministic=True)
        return cls(request_id, hashlib.sha256(described).hexdigest(), validate_only)


@dataclass(frozen=True)
class Parent:
    """The job that a new one is retried or forked from."""

    job_id: str
    # Whether it goes on where that one stands.
    checkpoint: bool
    # Raises where the new job cannot go on from the checkpoint of that id: asked of the one that it will hold.
    check: Callable[[Connection, str], None] | None = None
    # Lines with which the new job's log begins.
    told: tuple[str, ...] = ()


def answer_earlier(app: App, caller: Caller, asked: Request) -> jobs_pb2.Job | None:
    """The job that the same request made before; None if there is none. Raises RequestIdReused."""
    if asked.validate_only or not asked.request_id:
        return None
    with app.database.read() as connection:
        row = job_store.find_by_request(connection, caller.user_id, asked.request_id)
        if row is not None and row.request_hash == asked.request_hash:
            return describe(connection, row)
    if row is None:
        return None
    raise RequestIdReused(
        f"request_id {asked.request_id} came before with another job (jobs/{row.id}); send a new UUID for a new job",
        metadata={"request_id": asked.request_id, "job": f"jobs/{row.id}"},
    )


def admit(app: App, caller: Caller, job: jobs_pb2.Job, dataset: DatasetRow) -> None:
    """Count the epochs, the parameters and the memory of a job whose spec is resolved, and hold them against today's
    limits; the name of a model that it measures becomes canonical.

    Raises TooManyParameters; NotFound, WrongState and InvalidField too where the model is not there or does not fit.
    """
    task, columns = job.WhichOneof("task"), datasets.columns_of(dataset)
    match task:
        case "train":
            job.epochs = specs.epochs_of(job.resolved)
            admission.admit_training(app.settings, job, columns, dataset)
        case "evaluate":
            model = models.require_model(app, caller, job.evaluate.model, "job.evaluate.model")
            job.evaluate.model = references.version_name("models", model.owner_name, model.slug, model.version)
            models.check_fit(model, dataset, job.evaluate.loss, "job.evaluate")
            job.model = ""
            job.parameter_count = model.parameter_count
            spec = json_format.Parse(model.spec_json, specs_pb2.TrainSpec())
            admission.admit_evaluation(app.settings, job, spec, columns, dataset)
        case "predict":
            batches.admit(app, caller, job, dataset)
        case None:
            raise AssertionError("the contract requires a task")
        case _:
            assert_never(task)


def take(
    app: App, caller: Caller, job: jobs_pb2.Job, dataset: DatasetRow, asked: Request, parent: Parent | None = None
) -> jobs_pb2.Job:
    """Store a job that was checked as one QUEUED row, and only then let a ticket be sent; or, with `validate_only`,
    answer it as it would be stored. Answers the one that came with the same request id meanwhile.

    Raises TooLarge, QueueFull.
    """
    _check_told(job)
    if asked.validate_only:
        with app.database.read() as connection:
            admission.admit_to_queue(connection, app.settings, caller.user_id, lock=False)
            job.queue_position = queue_store.count_waiting(connection)
        return job
    taken = _store(app, caller, job, dataset, asked, parent)
    point("C2")
    app.job_queued()
    return taken


def _check_told(job: jobs_pb2.Job) -> None:
    """Refuse a job that no answer could tell."""
    size = job.ByteSize()
    if size > MOST_TOLD_BYTES:
        raise TooLarge(
            f"job: its description has {size:,} bytes, for its spec is told as it was asked for and with every default "
            f"filled in; at most {MOST_TOLD_BYTES:,} fit into an answer: name fewer columns, or shorter ones, or give "
            "fewer weights",
            metadata={"field": "job", "bytes": str(size), "limit": str(MOST_TOLD_BYTES)},
        )


def _store(
    app: App, caller: Caller, job: jobs_pb2.Job, dataset: DatasetRow, asked: Request, parent: Parent | None
) -> jobs_pb2.Job:
    kind = job.WhichOneof("task")
    task = getattr(job, kind or "")
    with app.database.write() as connection:
        row = None
        if _take_place(app, connection, caller, asked):
            held = _hold_checkpoint(connection, parent)
            row = job_store.add(
                connection,
                owner_id=caller.user_id,
                dataset_id=dataset.id,
                dataset_name=job.dataset,
                kind=kind or "",
                display_name=job.display_name,
                model_slug=job.model,
                task_json=json_format.MessageToJson(task, indent=None),
                resolved_json=json_format.MessageToJson(job.resolved, indent=None) if kind == "train" else "",
                parameter_count=job.parameter_count,
                memory_bytes=job.memory_bytes,
                epochs=job.epochs,
                request_id=asked.request_id or None,
                request_hash=asked.request_hash,
                parent_id=parent.job_id if parent else None,
                checkpoint_id=held,
                webhooks=",".join(job.webhooks),
            )
        if row:
            _tell(connection, row.id, parent.told if parent else ())
            point("C1")
            return describe(connection, row)
    earlier = answer_earlier(app, caller, asked)
    if earlier is None:
        raise AssertionError("a request id that was taken has no job")
    return earlier


def _tell(connection: Connection, job_id: str, lines: tuple[str, ...]) -> None:
    """Begin the log of a new job with these lines."""
    bodies = [json_format.MessageToJson(jobs_pb2.LogLine(message=line), indent=None) for line in lines]
    if bodies:
        event_store.append_all(connection, job_id, 0, [("log", body) for body in bodies])


def _take_place(app: App, connection: Connection, caller: Caller, asked: Request) -> bool:
    """Take a place in the queue; False where none is left, but the same request has taken one meanwhile.

    Raises QueueFull.
    """
    try:
        admission.admit_to_queue(connection, app.settings, caller.user_id, lock=True)
    except QueueFull:
        if not asked.request_id or job_store.find_by_request(connection, caller.user_id, asked.request_id) is None:
            raise
        return False
    return True


def _hold_checkpoint(connection: Connection, parent: Parent | None) -> str | None:
    """The checkpoint that the new job goes on from, held until the transaction ends. Raises WrongState, and as the
    parent's check does.
    """
    if parent is None or not parent.checkpoint:
        return None
    held = job_store.hold_checkpoint(connection, parent.job_id)
    if held is None:
        raise no_checkpoint(parent.job_id)
    if parent.check is not None:
        parent.check(connection, held)
    return held


def no_checkpoint(job_id: str) -> WrongState:
    """There is nothing to go on from."""
    return WrongState(
        f"jobs/{job_id} has no checkpoint: none is kept yet, it was dropped after its time, or the job learned without "
        "epochs; submit a job of its spec instead",
        metadata={"resource": f"jobs/{job_id}"},
    )
