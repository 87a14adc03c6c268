"""What callers do with jobs: submit, look, list, cancel, pause, resume, and read the history."""

from service import datasets, ledger, references, submissions
from service.app import App
from service.callers import Caller
from service.errors import invalid, shown
from service.job_messages import describe
from service.modelling import specs
from service.paging import page_of
from service.store import jobs as job_store
from service.store import metrics as metric_store
from service.store.database import Connection
from service.store.records import DatasetRow, JobRow
from traind.v1 import jobs_pb2


def create_job(app: App, caller: Caller, request: jobs_pb2.CreateJobRequest) -> jobs_pb2.Job:
    """Check all that can be known now, store one QUEUED row, and only then let a ticket be sent."""
    asked = submissions.Request.of(request.job, request.request_id, validate_only=request.validate_only)
    if earlier := submissions.answer_earlier(app, caller, asked):
        return earlier
    _check_webhooks(app, request.job)
    dataset = datasets.find_dataset(app, caller, request.job.dataset, "job.dataset")
    return submissions.take(app, caller, _resolve(app, caller, request.job, dataset), dataset, asked)


def get_job(app: App, caller: Caller, request: jobs_pb2.GetJobRequest) -> jobs_pb2.Job:
    """One job as it stands."""
    with app.database.read() as connection:
        row = find(connection, caller, request.name)
        return describe(connection, row)


def list_jobs(app: App, caller: Caller, request: jobs_pb2.ListJobsRequest) -> jobs_pb2.ListJobsResponse:
    """A page of the caller's jobs, newest first."""
    states = [jobs_pb2.Job.State.Name(state) for state in request.states]
    with app.database.read() as connection:
        jobs, more = page_of(
            request,
            lambda limit, before: job_store.list_page(connection, caller.user_id, limit, before, states),
            lambda row: describe(connection, row),
        )
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
        row = find(connection, caller, request.name)
        found = metric_store.history(connection, row.id, request.max_points)
    return jobs_pb2.History(
        series=[jobs_pb2.Series(name=s.name, split=s.split, steps=s.steps, values=s.values) for s in found]
    )


def find_for_watch(app: App, caller: Caller, name: str) -> JobRow:
    """The job that a watcher means."""
    with app.database.read() as connection:
        return find(connection, caller, name)


def find(connection: Connection, caller: Caller, name: str) -> JobRow:
    """The caller's job. Raises NotFound."""
    row = job_store.find(connection, caller.user_id, _id(name))
    if row is None:
        raise references.not_found("jobs", name)
    return row


def _moved(app: App, name: str, row: JobRow | None) -> jobs_pb2.Job:
    if row is None:
        raise references.not_found("jobs", name)
    with app.database.read() as connection:
        return describe(connection, row)


def _id(name: str) -> str:
    return references.parse_id("jobs", name, "name")


def _resolve(app: App, caller: Caller, asked: jobs_pb2.Job, dataset: DatasetRow) -> jobs_pb2.Job:
    """The job as it would be stored: defaults filled in, size counted, names canonical."""
    job = jobs_pb2.Job()
    job.CopyFrom(asked)
    job.dataset = references.version_name("datasets", dataset.owner_name, dataset.slug, dataset.version)
    job.model = asked.model or dataset.slug
    if asked.WhichOneof("task") == "train":
        device = "cuda" if "cuda" in app.settings.devices else "cpu"
        job.resolved.CopyFrom(specs.resolve(asked.train, datasets.columns_of(dataset), dataset.row_count, device))
    submissions.admit(app, caller, job, dataset)
    return job


def _check_webhooks(app: App, job: jobs_pb2.Job) -> None:
    for index, name in enumerate(job.webhooks):
        if name not in app.webhooks:
            known = ", ".join(sorted(app.webhooks)) or "none; the administrator names them by TRAIND_WEBHOOKS"
            raise invalid(f"job.webhooks[{index}]", f"{shown(name)} is no webhook of this server; there are: {known}")
