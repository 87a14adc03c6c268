"""Jobs: `client.jobs`."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, TextIO

from traind import methods
from traind.datasets import name_of
from traind.errors import JobCancelled, JobFailed
from traind.events import (
    ENDS,
    decode_failure,
    decode_finding,
    decode_metrics,
    decode_state,
    decode_time,
)
from traind.specs import build_job
from traind.v1 import jobs_pb2
from traind.watching import Watch

if TYPE_CHECKING:
    import datetime as dt
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from traind.datasets import Dataset
    from traind.errors import TraindError
    from traind.events import Event, Failure, Finding
    from traind.models import Model, Models
    from traind.transport import Transport
    from traind.v1 import specs_pb2

# Epochs and values of each metric.
History = dict[str, tuple[list[int], list[float]]]


class Job:
    """A job as it was when it was last asked for; `refresh` asks again."""

    def __init__(self, message: jobs_pb2.Job, jobs: Jobs) -> None:
        self.message = message
        self._jobs = jobs

    @property
    def name(self) -> str:
        """`jobs/{uuid}`; empty after `validate_only`."""
        return self.message.name

    @property
    def id(self) -> str:
        """The UUID alone."""
        return self.message.name.removeprefix("jobs/")

    @property
    def state(self) -> str:
        """QUEUED, RUNNING, PAUSING, PAUSED, CANCELLING, SUCCEEDED, FAILED, CANCELLED."""
        return decode_state(self.message.state)

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.message.done or self.state in ENDS

    @property
    def dataset(self) -> str:
        """The data set, with its version."""
        return self.message.dataset

    @property
    def epoch(self) -> int:
        """Epochs that are done and stored."""
        return self.message.epoch

    @property
    def epochs(self) -> int:
        """Epochs that are asked for."""
        return self.message.epochs

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights the model has."""
        return self.message.best_epoch

    @property
    def metrics(self) -> dict[str, float]:
        """Figures of the last epoch, and at the end those of the model."""
        return decode_metrics(self.message.metrics)

    @property
    def failure(self) -> Failure | None:
        """Why it FAILED."""
        return decode_failure(self.message.failure) if self.message.HasField("failure") else None

    @property
    def findings(self) -> list[Finding]:
        """What a person should know."""
        return [decode_finding(finding) for finding in self.message.findings]

    @property
    def resolved(self) -> specs_pb2.TrainSpec:
        """The spec as it runs, with every default filled in."""
        return self.message.resolved

    @property
    def parameter_count(self) -> int:
        """Weights and biases of the network."""
        return self.message.parameter_count

    @property
    def queue_position(self) -> int:
        """Jobs that will be begun before it."""
        return self.message.queue_position

    @property
    def create_time(self) -> dt.datetime:
        """When it was taken."""
        return decode_time(self.message.create_time)

    @property
    def model(self) -> Model | None:
        """The model that came out; None where there is none (yet)."""
        made = self.message.model_version
        return self._jobs.models.get(made) if made else None

    def refresh(self) -> Job:
        """Ask the server for it again."""
        self.message = self._jobs.get(self.name).message
        return self

    def wait(self, timeout: float | None = None, *, raise_on_failure: bool = True) -> Job:
        """See Jobs.wait; this object is refreshed."""
        self.message = self._jobs.wait(self, timeout, raise_on_failure=raise_on_failure).message
        return self

    def watch(self, from_seq: int = 0, *, on_break: Callable[[TraindError], None] | None = None) -> Iterator[Event]:
        """See Jobs.watch."""
        return self._jobs.watch(self, from_seq, on_break=on_break)

    def follow(self, stream: TextIO | None = None) -> Job:
        """Show how it learns until it ends, on a terminal as one line; errors of the job are not raised."""
        from traind.progress import follow

        return follow(self, stream)

    def cancel(self) -> Job:
        """End it; its history stays. Raises Conflict if it has ended otherwise."""
        self.message = self._jobs.cancel(self).message
        return self

    def pause(self) -> Job:
        """Stop it after its last checkpoint and free its place."""
        self.message = self._jobs.pause(self).message
        return self

    def resume(self) -> Job:
        """Queue it again; it goes on from its checkpoint."""
        self.message = self._jobs.resume(self).message
        return self

    def history(self) -> History:
        """See Jobs.history."""
        return self._jobs.history(self)

    def __repr__(self) -> str:
        return f"<Job {self.id or '(not stored)'} {self.state}: epoch {self.epoch} of {self.epochs}>"


class Jobs:
    """The jobs of one server."""

    def __init__(self, transport: Callable[[], Transport], models: Models) -> None:
        self._transport = transport
        self.models = models

    def create(
        self,
        job: Mapping[str, Any] | jobs_pb2.Job | str | os.PathLike[str] | None = None,
        *,
        dataset: str | Dataset = "",
        model: str = "",
        display_name: str = "",
        train: Mapping[str, Any] | specs_pb2.TrainSpec | None = None,
        evaluate: Mapping[str, Any] | jobs_pb2.EvaluateSpec | None = None,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> Job:
        """Submit a job: a dictionary, a Job message, the path of a .json or .toml file, or the keywords alone.

        The call is safe to repeat: every try carries one `request_id`, and the server takes the job once. With
        `validate_only` nothing is stored; the answer has the resolved spec and the number of parameters. Raises
        InvalidSpec naming the field, NotFound (the data set), TooLarge.
        """
        built = build_job(
            job,
            dataset=name_of(dataset) if dataset else "",
            model=model,
            display_name=display_name,
            train=train,
            evaluate=evaluate,
        )
        request = jobs_pb2.CreateJobRequest(
            job=built, request_id=request_id or str(uuid.uuid4()), validate_only=validate_only
        )
        return Job(self._transport().call(methods.CREATE_JOB, request), self)

    def get(self, job: str) -> Job:
        """One job by its UUID. Raises NotFound."""
        return Job(self._transport().call(methods.GET_JOB, jobs_pb2.GetJobRequest(name=job)), self)

    def list(self, states: Sequence[str] = (), *, page_size: int = 0) -> Iterator[Job]:
        """The caller's jobs, newest first, of some states only; pages are fetched as they are needed."""
        wanted = [jobs_pb2.Job.State.Value(state) for state in states]
        token = ""
        while True:
            request = jobs_pb2.ListJobsRequest(page_size=page_size, page_token=token, states=wanted)
            page = self._transport().call(methods.LIST_JOBS, request)
            yield from (Job(message, self) for message in page.jobs)
            token = page.next_page_token
            if not token:
                return

    def cancel(self, job: str | Job) -> Job:
        """End a job; its history stays. Raises Conflict if it has ended otherwise."""
        return Job(self._transport().call(methods.CANCEL_JOB, jobs_pb2.CancelJobRequest(name=name_of(job))), self)

    def pause(self, job: str | Job) -> Job:
        """Stop a job after its last checkpoint and free its place. Raises Conflict if it has ended."""
        return Job(self._transport().call(methods.PAUSE_JOB, jobs_pb2.PauseJobRequest(name=name_of(job))), self)

    def resume(self, job: str | Job) -> Job:
        """Queue a paused job again. Raises Conflict if it is not paused."""
        return Job(self._transport().call(methods.RESUME_JOB, jobs_pb2.ResumeJobRequest(name=name_of(job))), self)

    def history(self, job: str | Job) -> History:
        """Every metric of a job, exact: epochs and values by name; NaN and Inf are kept."""
        answer = self._transport().call(methods.GET_HISTORY, jobs_pb2.GetHistoryRequest(name=name_of(job)))
        return {series.name: (list(series.steps), list(series.values)) for series in answer.series}

    def wait(self, job: str | Job, timeout: float | None = None, *, raise_on_failure: bool = True) -> Job:
        """Wait for a job's end and answer the ended job.

        Raises JobFailed and JobCancelled unless `raise_on_failure` is false, WaitTimeout after `timeout` seconds.
        """
        for _ in Watch(self._transport, name_of(job), 0, timeout=timeout).events():
            pass
        ended = self.get(name_of(job))
        if raise_on_failure and ended.state == "FAILED":
            raise JobFailed(ended)
        if raise_on_failure and ended.state == "CANCELLED":
            raise JobCancelled(ended)
        return ended

    def watch(
        self, job: str | Job, from_seq: int = 0, *, on_break: Callable[[TraindError], None] | None = None
    ) -> Iterator[Event]:
        """Yield a job's events, those of the past first, until its end; none is lost or comes twice.

        When the connection breaks it is made again, going on after the last event; `on_break` hears of each break.
        Closing the iterator ends the call. Raises NotFound, ConnectionFailed (also after ten minutes without server).
        """
        return Watch(self._transport, name_of(job), from_seq, on_break=on_break).events()
