"""What callers do with jobs: submit, look, list, cancel, pause, resume, and read the history."""

import hashlib
import json
from typing import assert_never

from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from service import datasets, ledger, models, references
from service.app import App, Caller
from service.errors import RequestIdReused, TooManyParameters
from service.modelling import networks, specs
from service.store import events as event_store
from service.store import jobs as job_store
from service.store import metrics as metric_store
from service.store.database import Connection
from service.store.records import DatasetRow, EventRow, JobRow
from traind.v1 import jobs_pb2, specs_pb2, tables_pb2


def create_job(app: App, caller: Caller, request: jobs_pb2.CreateJobRequest) -> jobs_pb2.Job:
    """Check all that can be known now, store one QUEUED row, and only then let a ticket be sent."""
    request_hash = hashlib.sha256(request.job.SerializeToString(deterministic=True)).hexdigest()
    if request.request_id and not request.validate_only:
        with app.database.read() as connection:
            earlier = job_store.find_by_request(connection, caller.user_id, request.request_id)
        if earlier:
            return _answer_again(app, earlier, request_hash, request.request_id)
    dataset = datasets.find_dataset(app, caller, request.job.dataset, "job.dataset")
    job = _resolve(app, caller, request.job, dataset)
    if request.validate_only:
        return job
    row = _store(app, caller, job, dataset, request, request_hash)
    app.job_queued()
    return row


def get_job(app: App, caller: Caller, request: jobs_pb2.GetJobRequest) -> jobs_pb2.Job:
    """One job as it stands."""
    with app.database.read() as connection:
        row = _find(connection, caller, request.name)
        return _describe(connection, row)


def list_jobs(app: App, caller: Caller, request: jobs_pb2.ListJobsRequest) -> jobs_pb2.ListJobsResponse:
    """A page of the caller's jobs, newest first."""
    limit = references.page_limit(request.page_size)
    before = references.decode_page_token(request.page_token)
    states = [jobs_pb2.Job.State.Name(state) for state in request.states]
    with app.database.read() as connection:
        rows = job_store.list_page(connection, caller.user_id, limit + 1, before, states)
        jobs = [_describe(connection, row) for row in rows[:limit]]
    more = references.encode_page_token(rows[limit - 1].created_at, rows[limit - 1].id) if len(rows) > limit else ""
    return jobs_pb2.ListJobsResponse(jobs=jobs, next_page_token=more)


def cancel_job(app: App, caller: Caller, request: jobs_pb2.CancelJobRequest) -> jobs_pb2.Job:
    """End a job; one that runs passes through CANCELLING."""
    return _moved(app, request.name, ledger.cancel(app.database, caller.user_id, _id(request.name)))


def pause_job(app: App, caller: Caller, request: jobs_pb2.PauseJobRequest) -> jobs_pb2.Job:
    """Stop a job after its last checkpoint; one that runs passes through PAUSING."""
    return _moved(app, request.name, ledger.pause(app.database, caller.user_id, _id(request.name)))


def resume_job(app: App, caller: Caller, request: jobs_pb2.ResumeJobRequest) -> jobs_pb2.Job:
    """Queue a paused job again."""
    job = _moved(app, request.name, ledger.resume(app.database, caller.user_id, _id(request.name)))
    app.job_queued()
    return job


def get_history(app: App, caller: Caller, request: jobs_pb2.GetHistoryRequest) -> jobs_pb2.History:
    """Every metric of a job; at most `max_points` points of each where that is asked for."""
    with app.database.read() as connection:
        row = _find(connection, caller, request.name)
        found = metric_store.history(connection, row.id, request.max_points)
    return jobs_pb2.History(
        series=[jobs_pb2.Series(name=s.name, split=s.split, steps=s.steps, values=s.values) for s in found]
    )


def find_for_watch(app: App, caller: Caller, name: str) -> JobRow:
    """The job that a watcher means."""
    with app.database.read() as connection:
        return _find(connection, caller, name)


def encode_event(row: EventRow, figures: dict[str, float]) -> jobs_pb2.JobEvent:
    """An event as watchers see it; `figures` are the metrics of the epoch that it points at."""
    event = jobs_pb2.JobEvent(seq=row.seq, attempt=row.attempt, time=_timestamp(row.time))
    match row.kind:
        case "state":
            json_format.Parse(row.body_json, event.state)
        case "finding":
            json_format.Parse(row.body_json, event.finding)
        case "log":
            json_format.Parse(row.body_json, event.log)
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


def _resolve(app: App, caller: Caller, asked: jobs_pb2.Job, dataset: DatasetRow) -> jobs_pb2.Job:
    """The job as it would be stored: defaults filled in, size counted, names canonical."""
    job = jobs_pb2.Job()
    job.CopyFrom(asked)
    job.dataset = references.version_name("datasets", dataset.owner_name, dataset.slug, dataset.version)
    job.model = asked.model or dataset.slug
    task = asked.WhichOneof("task")
    match task:
        case "train":
            columns = datasets.columns_of(dataset)
            device = "cuda" if "cuda" in app.settings.devices else "cpu"
            job.resolved.CopyFrom(specs.resolve(asked.train, columns, dataset.row_count, device))
            job.epochs = specs.epochs_of(job.resolved)
            job.parameter_count = _count_parameters(app, job.resolved, columns)
        case "evaluate":
            model = models.find_model(app, caller, asked.evaluate.model, "job.evaluate.model")
            job.evaluate.model = references.version_name("models", model.owner_name, model.slug, model.version)
            models.check_fit(model, dataset, asked.evaluate.loss, "job.evaluate")
            job.model = ""
            job.parameter_count = model.parameter_count
        case None:
            raise AssertionError("the contract requires a task")
        case _:
            assert_never(task)
    return job


def _count_parameters(app: App, resolved: specs_pb2.TrainSpec, columns: list[tables_pb2.Column]) -> int:
    """Weights and biases of the network; refused above the server's limit before anything is built."""
    inputs, outputs = specs.widths(resolved, columns)
    count = networks.count_parameters(resolved.network, inputs, outputs)
    limit = app.settings.max_parameters
    if count > limit:
        raise TooManyParameters(
            f"job.train.network has {count:,} parameters; this server allows {limit:,}: make the layers narrower",
            metadata={"parameters": str(count), "limit": str(limit)},
        )
    return count


def _store(
    app: App,
    caller: Caller,
    job: jobs_pb2.Job,
    dataset: DatasetRow,
    request: jobs_pb2.CreateJobRequest,
    request_hash: str,
) -> jobs_pb2.Job:
    """Store the row, or answer the one that came with the same request id meanwhile."""
    kind = job.WhichOneof("task")
    task = job.train if kind == "train" else job.evaluate
    with app.database.write() as connection:
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
            epochs=job.epochs,
            request_id=request.request_id or None,
            request_hash=request_hash,
        )
        if row:
            return _describe(connection, row)
    with app.database.read() as connection:
        earlier = job_store.find_by_request(connection, caller.user_id, request.request_id)
    if earlier is None:
        raise AssertionError("a request id that was taken has no job")
    return _answer_again(app, earlier, request_hash, request.request_id)


def _answer_again(app: App, row: JobRow, request_hash: str, request_id: str) -> jobs_pb2.Job:
    """The job that the same request made before."""
    if row.request_hash != request_hash:
        raise RequestIdReused(
            f"request_id {request_id} came before with another job (jobs/{row.id}): send a new UUID for a new job",
            metadata={"request_id": request_id, "job": f"jobs/{row.id}"},
        )
    with app.database.read() as connection:
        return _describe(connection, row)


def _id(name: str) -> str:
    return references.parse_id("jobs", name, "name")


def _find(connection: Connection, caller: Caller, name: str) -> JobRow:
    row = job_store.find(connection, caller.user_id, _id(name))
    if row is None:
        raise references.not_found("jobs", name)
    return row


def _moved(app: App, name: str, row: JobRow | None) -> jobs_pb2.Job:
    if row is None:
        raise references.not_found("jobs", name)
    with app.database.read() as connection:
        return _describe(connection, row)


def _describe(connection: Connection, row: JobRow) -> jobs_pb2.Job:
    """A row as callers see it, with its findings and its place in the queue."""
    job = _encode(row)
    for event in event_store.of_kind(connection, row.id, "finding"):
        json_format.Parse(event.body_json, job.findings.add())
    if row.state == "QUEUED":
        job.queue_position = job_store.queue_position(connection, row)
    return job


def _encode(row: JobRow) -> jobs_pb2.Job:
    job = jobs_pb2.Job(
        name=f"jobs/{row.id}",
        display_name=row.display_name,
        dataset=row.dataset_name,
        model=row.model_slug,
        parent=f"jobs/{row.parent_id}" if row.parent_id else "",
        state=jobs_pb2.Job.State.Value(row.state),
        done=row.ended,
        attempt=row.attempt,
        epoch=row.epoch,
        epochs=row.epochs,
        best_epoch=row.best_epoch,
        metrics=encode_metrics(row.metrics),
        parameter_count=row.parameter_count,
        model_version=row.model_name,
        create_time=_timestamp(row.created_at),
        start_time=_timestamp(row.started_at),
        end_time=_timestamp(row.ended_at),
    )
    json_format.Parse(row.task_json, job.train if row.kind == "train" else job.evaluate)
    if row.resolved_json:
        json_format.Parse(row.resolved_json, job.resolved)
    if row.failure_reason:
        job.failure.reason = jobs_pb2.Failure.Reason.Value(row.failure_reason)
        job.failure.message = row.failure_message or ""
    return job


def _timestamp(seconds: float | None) -> Timestamp | None:
    if seconds is None:
        return None
    moment = Timestamp()
    moment.FromMicroseconds(round(seconds * 1_000_000))
    return moment
