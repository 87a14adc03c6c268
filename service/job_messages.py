"""Rows of jobs and of their events as the contract has them."""

import json

from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from service.store import events as event_store
from service.store import jobs as job_store
from service.store.database import Connection
from service.store.records import EventRow, JobRow
from traind.v1 import jobs_pb2, tables_pb2


def describe(connection: Connection, row: JobRow) -> jobs_pb2.Job:
    """A row as callers see it, with its findings and its place in the queue."""
    job = _encode(row)
    for body in event_store.findings(connection, row.id):
        json_format.Parse(body, job.findings.add())
    if row.state == "QUEUED":
        job.queue_position = job_store.queue_position(connection, row)
    return job


def _encode(row: JobRow) -> jobs_pb2.Job:
    job = jobs_pb2.Job(
        name=f"jobs/{row.id}",
        display_name=row.display_name,
        dataset=row.dataset_name,
        model=row.model_slug,
        webhooks=filter(None, row.webhooks.split(",")),
        parent=f"jobs/{row.parent_id}" if row.parent_id else "",
        state=jobs_pb2.Job.State.Value(row.state),
        done=row.ended,
        attempt=row.attempt,
        epoch=row.epoch,
        epochs=row.epochs,
        best_epoch=row.best_epoch,
        metrics=encode_metrics(row.metrics),
        parameter_count=row.parameter_count,
        memory_bytes=row.memory_bytes,
        model_version=row.model_name,
        output_dataset=row.output_name,
        rejected_dataset=row.rejected_name,
        create_time=timestamp(row.created_at),
        start_time=timestamp(row.started_at),
        end_time=timestamp(row.ended_at),
    )
    # A kind of job is called as its task is in the contract.
    json_format.Parse(row.task_json, getattr(job, row.kind))
    if row.resolved_json:
        json_format.Parse(row.resolved_json, job.resolved)
    if row.origin_json:
        json_format.Parse(row.origin_json, job.origin)
    if row.failure_reason:
        job.failure.reason = jobs_pb2.Failure.Reason.Value(row.failure_reason)
        job.failure.message = row.failure_message or ""
    return job


def encode_event(row: EventRow, figures: dict[str, float]) -> jobs_pb2.JobEvent:
    """An event as watchers see it; `figures` are the metrics of the epoch that it points at."""
    event = jobs_pb2.JobEvent(seq=row.seq, attempt=row.attempt, time=timestamp(row.time))
    match row.kind:
        case "state":
            json_format.Parse(row.body_json, event.state)
        case "finding":
            json_format.Parse(row.body_json, event.finding)
        case "log":
            json_format.Parse(row.body_json, event.log)
        case "resumed":
            json_format.Parse(row.body_json, event.resumed)
        case "epoch":
            event.epoch.epoch = epoch_of(row)
            event.epoch.metrics.extend(encode_metrics(figures))
        case _:
            raise AssertionError(f"an event of kind {row.kind} is no part of the contract")
    return event


def epoch_of(row: EventRow) -> int:
    """The epoch that an event of kind `epoch` points at."""
    return int(json.loads(row.body_json)["epoch"])


def encode_metrics(figures: dict[str, float]) -> list[tables_pb2.Metric]:
    """Figures by name, in the order of names."""
    return [tables_pb2.Metric(name=name, value=figures[name]) for name in sorted(figures)]


def timestamp(seconds: float | None) -> Timestamp | None:
    """Seconds since 1970 as the contract has them; None stays absent."""
    if seconds is None:
        return None
    moment = Timestamp()
    moment.FromMicroseconds(round(seconds * 1_000_000))
    return moment
