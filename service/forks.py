"""Jobs made of other jobs: retried as they were, or forked from a checkpoint to learn on in a changed way.

Nothing leaves an end: what comes out is a new job that names its parent.
"""

from google.protobuf import json_format

from service import datasets, jobs, references, submissions
from service.app import App
from service.callers import Caller
from service.errors import InvalidField, Violation, WrongState, invalid
from service.modelling import specs
from service.modelling.checkpoint_heads import HEAD_BYTES, read_head
from service.store import artifacts
from service.store.database import Connection
from service.store.records import DatasetRow, JobRow
from traind.v1 import jobs_pb2, specs_pb2

# Ends after which it makes sense to go on where the job stood; after the others the same would come of it.
_GOES_ON_AFTER = frozenset({"TIME_LIMIT", "WORKER_LOST", "STORAGE_FULL", "OUT_OF_MEMORY", "INTERNAL"})
_RETRIED = ("FAILED", "CANCELLED")


def retry_job(app: App, caller: Caller, request: jobs_pb2.RetryJobRequest) -> jobs_pb2.Job:
    """The same job once more, from its checkpoint where that helps."""
    described = jobs_pb2.RetryJobRequest(name=request.name)
    asked = submissions.Request.of(described, request.request_id)
    if earlier := submissions.answer_earlier(app, caller, asked):
        return earlier
    parent = _parent(app, caller, request.name)
    if parent.state not in _RETRIED:
        raise WrongState(
            f"jobs/{parent.id} is {parent.state} and cannot be retried: only jobs that FAILED or were CANCELLED can; "
            f"to learn on from its checkpoint send POST /v1/jobs/{parent.id}:fork",
            metadata={"resource": f"jobs/{parent.id}", "state": parent.state},
        )
    goes_on = parent.state == "CANCELLED" or parent.failure_reason in _GOES_ON_AFTER
    dataset = _dataset(app, caller, parent)
    job, told = _again(app, parent)
    submissions.admit(app, caller, job, dataset)
    from_there = goes_on and parent.checkpoint_id is not None
    return submissions.take(app, caller, job, dataset, asked, submissions.Parent(parent.id, from_there, told=told))


def fork_job(app: App, caller: Caller, request: jobs_pb2.ForkJobRequest) -> jobs_pb2.Job:
    """A job that goes on from another's checkpoint and learns on in a changed way."""
    described = jobs_pb2.ForkJobRequest()
    described.CopyFrom(request)
    described.request_id, described.validate_only = "", False
    asked = submissions.Request.of(described, request.request_id, validate_only=request.validate_only)
    if earlier := submissions.answer_earlier(app, caller, asked):
        return earlier
    parent = _parent(app, caller, request.name)
    if parent.checkpoint_id is None or parent.kind != "train":
        raise submissions.no_checkpoint(parent.id)
    dataset = _dataset(app, caller, parent)
    job, told = _again(app, parent)
    job.display_name = request.display_name or job.display_name
    job.model = request.model or job.model
    _change(job, request, dataset, "cuda" if "cuda" in app.settings.devices else "cpu")

    def check(connection: Connection, checkpoint_id: str) -> None:
        _check_epochs(connection, checkpoint_id, job, parent.id)

    with app.database.read() as connection:
        # A parent under way may have come on since.
        here = jobs.find(connection, caller, request.name).checkpoint_id
        if here is None:
            raise submissions.no_checkpoint(parent.id)
        check(connection, here)
    submissions.admit(app, caller, job, dataset)
    goes_on = submissions.Parent(parent.id, checkpoint=True, check=check, told=told)
    return submissions.take(app, caller, job, dataset, asked, goes_on)


def _check_epochs(connection: Connection, checkpoint_id: str, job: jobs_pb2.Job, parent_id: str) -> None:
    """Refuse a fork that has nothing to learn after its checkpoint. Raises InvalidField."""
    done = read_head(artifacts.beginning(connection, checkpoint_id, HEAD_BYTES)).epoch
    epochs = specs.epochs_of(job.resolved)
    if epochs <= done:
        raise invalid(
            f"learn.{job.resolved.learn.WhichOneof('way')}.epochs",
            f"is {epochs}, and the checkpoint of jobs/{parent_id} stands after epoch {done}, until where epochs count "
            f"too: ask for more than {done}",
        )


def _dataset(app: App, caller: Caller, parent: JobRow) -> DatasetRow:
    """The parent's data set. Raises NotFound, also where another one has its name since it was deleted."""
    dataset = datasets.find_dataset(app, caller, parent.dataset_name, "name")
    if dataset.id != parent.dataset_id:
        raise references.not_found("datasets", parent.dataset_name)
    return dataset


def _parent(app: App, caller: Caller, name: str) -> JobRow:
    with app.database.read() as connection:
        return jobs.find(connection, caller, name)


def _again(app: App, parent: JobRow) -> tuple[jobs_pb2.Job, tuple[str, ...]]:
    """The job as it was asked for, and as it ran; and what its owner shall be told of what is left out.

    Receivers that the administrator does not name any more are: they would never hear of it, and neither call can name
    others, so that a refusal would leave no way to go on from the checkpoint.
    """
    job = jobs_pb2.Job(display_name=parent.display_name, dataset=parent.dataset_name, model=parent.model_slug)
    wanted = list(filter(None, parent.webhooks.split(",")))
    job.webhooks.extend(name for name in wanted if name in app.webhooks)
    json_format.Parse(parent.task_json, getattr(job, parent.kind))
    if parent.resolved_json:
        json_format.Parse(parent.resolved_json, job.resolved)
    told = [
        f"webhook {name} of jobs/{parent.id} is left out: this server does not know it any more"
        for name in wanted
        if name not in app.webhooks
    ]
    return job, tuple(told)


def _change(job: jobs_pb2.Job, request: jobs_pb2.ForkJobRequest, dataset: DatasetRow, device: str) -> None:
    """Put what changes into the way to learn as it was asked for, and resolve that; nothing else of the spec moves.

    Raises InvalidField by paths of the request.
    """
    before, now = job.train.learn.WhichOneof("way"), request.learn.WhichOneof("way")
    if (before or "gradient") != now:
        raise invalid(
            "learn", f"is {now}, and jobs of a checkpoint go on in their own way: give {before or 'gradient'}"
        )
    job.train.learn.MergeFrom(request.learn)
    asked = specs_pb2.TrainSpec()
    asked.CopyFrom(job.resolved)
    asked.learn.CopyFrom(job.train.learn)
    try:
        resolved = specs.resolve(asked, datasets.columns_of(dataset), dataset.row_count, device)
    except InvalidField as error:
        violations = [Violation(v.field.removeprefix("job.train."), v.description) for v in error.violations]
        message = error.message.replace("job.train.learn", "learn")
        raise InvalidField(message, violations, error.metadata | {"field": violations[0].field}) from None
    job.resolved.learn.CopyFrom(resolved.learn)
