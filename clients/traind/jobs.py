# Written by proto/unasync_client.py from aio/jobs.py; change that one, then run make proto.
"""Jobs: `client.jobs`."""

from __future__ import annotations

import sys
import time
import uuid
from typing import TYPE_CHECKING, Any, Self, TextIO, overload

from traind import methods
from traind.errors import JobCancelled, JobFailed
from traind.history import History
from traind.job_view import JobView
from traind.listing import Listing
from traind.names import name_of
from traind.progress import Progress
from traind.specs import build_job, build_learn
from traind.v1 import jobs_pb2
from traind.watching import Watch, read_log

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

    from traind.datasets import Dataset
    from traind.errors import TraindError
    from traind.events import Event
    from traind.models import Model, Models
    from traind.transport import Transport
    from traind.v1 import learning_pb2, specs_pb2

# In the class itself `list` is the verb.
_Jobs = list["Job"]
_Entries = list[jobs_pb2.QueueEntry]


class Job(JobView):
    """A job as it was when it was last asked for; `refresh` asks again."""

    def __init__(self, message: jobs_pb2.Job, jobs: Jobs) -> None:
        super().__init__(message)
        self._jobs = jobs

    @property
    def model(self) -> Model | None:
        """The model that came out; None where there is none (yet)."""
        made = self.message.model_version
        return self._jobs.models.get(made) if made else None

    def refresh(self) -> Self:
        """Ask the server for it again."""
        self.message = (self._jobs.get(self.name)).message
        return self

    def wait(self, timeout: float | None = None, *, raise_on_failure: bool = True) -> Self:
        """See Jobs.wait; this object is refreshed."""
        self.message = (self._jobs.wait(self, timeout, raise_on_failure=raise_on_failure)).message
        return self

    def watch(self, from_seq: int = 0, *, on_break: Callable[[TraindError], None] | None = None) -> Generator[Event]:
        """See Jobs.watch."""
        return self._jobs.watch(self, from_seq, on_break=on_break)

    def follow(self, stream: TextIO | None = None, *, timeout: float | None = None) -> Self:
        """See Jobs.follow; this object is refreshed."""
        self.message = (self._jobs.follow(self, stream, timeout=timeout)).message
        return self

    def logs(
        self,
        *,
        follow: bool = True,
        tail: int | None = None,
        on_break: Callable[[TraindError], None] | None = None,
    ) -> Generator[str]:
        """See Jobs.logs."""
        return self._jobs.logs(self, follow=follow, tail=tail, on_break=on_break)

    def cancel(self) -> Self:
        """End it; its history stays. Raises Conflict if it has ended otherwise."""
        self.message = (self._jobs.cancel(self)).message
        return self

    def pause(self) -> Self:
        """Stop it after its last checkpoint and free its place."""
        self.message = (self._jobs.pause(self)).message
        return self

    def resume(self) -> Self:
        """Queue it again; it goes on from its checkpoint."""
        self.message = (self._jobs.resume(self)).message
        return self

    def retry(self) -> Job:
        """See Jobs.retry."""
        return self._jobs.retry(self)

    def fork(self, learn: Mapping[str, Any] | learning_pb2.Learn, **options: Any) -> Job:
        """See Jobs.fork."""
        return self._jobs.fork(self, learn, **options)

    def history(self) -> History:
        """See Jobs.history."""
        self.seen_history = self._jobs.history(self)
        return self.seen_history

    def plot(self, kind: str = "loss", **options: Any) -> Any:
        """Draw its history: see History.plot. Answers matplotlib's Axes; needs the extra `plot`."""
        return (self.history()).plot(kind, **options)


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
        predict: Mapping[str, Any] | jobs_pb2.PredictSpec | None = None,
        webhooks: Sequence[str] = (),
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> Job:
        """Submit a job: a dictionary, a Job message, the path of a .json or .toml file, or the keywords alone.

        `webhooks` names those who hear of its end. The call is safe to repeat: every try carries one `request_id`, and
        the server takes the job once. With `validate_only` nothing is stored; the answer has the resolved spec and the
        number of parameters. Raises
        InvalidSpec naming the field, NotFound (the data set), TooLarge.
        """
        built = build_job(
            job,
            dataset=name_of(dataset) if dataset else "",
            model=model,
            display_name=display_name,
            train=train,
            evaluate=evaluate,
            predict=predict,
            webhooks=webhooks,
        )
        request = jobs_pb2.CreateJobRequest(
            job=built, request_id=request_id or str(uuid.uuid4()), validate_only=validate_only
        )
        return Job(self._transport().call(methods.CREATE_JOB, request), self)

    def predict(
        self,
        model: str | Model,
        dataset: str | Dataset,
        *,
        output: str = "",
        keep_columns: Sequence[str] = (),
        probabilities: bool = True,
        max_seconds: float | None = None,
        display_name: str = "",
        webhooks: Sequence[str] = (),
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> Job:
        """Submit a job that predicts for every row of a data set, of any size.

        When it has succeeded, `output_dataset` names the predictions: `row`, the columns of `keep_columns`,
        `predicted_{target}`, and with `probabilities` `p_{class}`. Rows that the model cannot take are in
        `rejected_dataset`, with the reason of each. `output` is the id of the first, by default the data set's with
        `-predictions` behind it. Safe to repeat, as `create` is. Raises InvalidSpec naming the field, NotFound,
        Conflict (the model is not made yet).
        """
        task = jobs_pb2.PredictSpec(
            model=name_of(model),
            output=output,
            keep_columns=keep_columns,
            probabilities=probabilities,
            max_seconds=max_seconds,
        )
        return self.create(
            dataset=dataset,
            predict=task,
            display_name=display_name,
            webhooks=webhooks,
            request_id=request_id,
            validate_only=validate_only,
        )

    def get(self, job: str) -> Job:
        """One job by its UUID. Raises NotFound."""
        return Job(self._transport().call(methods.GET_JOB, jobs_pb2.GetJobRequest(name=job)), self)

    def list(self, states: Sequence[str] = (), *, page_size: int = 0) -> Listing[Job]:
        """The caller's jobs, newest first, of some states only; pages are fetched as they are needed."""
        wanted = [jobs_pb2.Job.State.Value(state) for state in states]

        def fetch(token: str) -> tuple[_Jobs, str]:
            request = jobs_pb2.ListJobsRequest(page_size=page_size, page_token=token, states=wanted)
            page = self._transport().call(methods.LIST_JOBS, request)
            return [Job(message, self) for message in page.jobs], page.next_page_token

        return Listing(fetch, "jobs")

    def queue(self, *, page_size: int = 0) -> _Entries:
        """Who holds the server's slots, and who waits and why, in the order in which they are served."""
        found: _Entries = []
        token = ""
        while True:
            request = jobs_pb2.ListQueueRequest(page_size=page_size, page_token=token)
            page = self._transport().call(methods.LIST_QUEUE, request)
            found += page.entries
            token = page.next_page_token
            if not token:
                return found

    def cancel(self, job: str | Job) -> Job:
        """End a job; its history stays. Raises Conflict if it has ended otherwise."""
        request = jobs_pb2.CancelJobRequest(name=name_of(job))
        return Job(self._transport().call(methods.CANCEL_JOB, request), self)

    def pause(self, job: str | Job) -> Job:
        """Stop a job after its last checkpoint and free its place. Raises Conflict if it has ended."""
        request = jobs_pb2.PauseJobRequest(name=name_of(job))
        return Job(self._transport().call(methods.PAUSE_JOB, request), self)

    def resume(self, job: str | Job) -> Job:
        """Queue a paused job again. Raises Conflict if it is not paused."""
        request = jobs_pb2.ResumeJobRequest(name=name_of(job))
        return Job(self._transport().call(methods.RESUME_JOB, request), self)

    def retry(self, job: str | Job, *, request_id: str | None = None) -> Job:
        """Submit a job that FAILED or was CANCELLED once more; answers the new job, which names it as its parent.

        It goes on from the checkpoint that was kept, where what ended the job was not its spec or data. Safe to repeat,
        as `create` is. Raises NotFound, Conflict (it succeeded, or has not ended).
        """
        request = jobs_pb2.RetryJobRequest(name=name_of(job), request_id=request_id or str(uuid.uuid4()))
        return Job(self._transport().call(methods.RETRY_JOB, request), self)

    def fork(
        self,
        job: str | Job,
        learn: Mapping[str, Any] | learning_pb2.Learn,
        *,
        display_name: str = "",
        model: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> Job:
        """Submit a job that goes on from another's last checkpoint and learns on in a changed way.

        `learn` holds what changes, `{"gradient": {"epochs": 300}}`: epochs count those of the parent too. Everything
        else is the parent's. Safe to repeat, as `create` is. Raises NotFound, Conflict (it has no checkpoint),
        InvalidSpec naming the field.
        """
        request = jobs_pb2.ForkJobRequest(
            name=name_of(job),
            learn=build_learn(learn),
            display_name=display_name,
            model=model,
            request_id=request_id or str(uuid.uuid4()),
            validate_only=validate_only,
        )
        return Job(self._transport().call(methods.FORK_JOB, request), self)

    def history(self, job: str | Job) -> History:
        """Every metric of a job, exact: epochs and values by name; NaN and Inf are kept."""
        request = jobs_pb2.GetHistoryRequest(name=name_of(job))
        return History(self._transport().call(methods.GET_HISTORY, request))

    @overload
    def wait(self, jobs: str | Job, timeout: float | None = None, *, raise_on_failure: bool = True) -> Job: ...

    @overload
    def wait(
        self,
        jobs: _Jobs | tuple[str | Job, ...] | frozenset[str],
        timeout: float | None = None,
        *,
        raise_on_failure: bool = True,
    ) -> _Jobs: ...

    def wait(
        self,
        jobs: str | Job | Iterable[str | Job],
        timeout: float | None = None,
        *,
        raise_on_failure: bool = True,
    ) -> Job | _Jobs:
        """Wait for the end of a job, or of each of several, and answer it or them, ended.

        Raises JobFailed and JobCancelled for the first that did not succeed, after all have ended, unless
        `raise_on_failure` is false; WaitTimeout after `timeout` seconds in all.
        """
        wanted = [jobs] if isinstance(jobs, str | Job) else [*jobs]
        limit = None if timeout is None else time.monotonic() + timeout
        ended = []
        for name in map(name_of, wanted):
            left = None if limit is None else max(limit - time.monotonic(), 0.0)
            watch = Watch(self._transport, name, 0, timeout=left, told=timeout)
            for _ in watch.events():
                pass
            ended.append(Job(watch.ended_job(), self))
        for job in ended if raise_on_failure else ():
            if job.state == "FAILED":
                raise JobFailed(job)
            if job.state == "CANCELLED":
                raise JobCancelled(job)
        return ended[0] if isinstance(jobs, str | Job) else ended

    def watch(
        self,
        job: str | Job,
        from_seq: int = 0,
        *,
        on_break: Callable[[TraindError], None] | None = None,
        timeout: float | None = None,
    ) -> Generator[Event]:
        """Yield a job's events, those of the past first, until its end; none is lost or comes twice.

        When the connection breaks it is made again, going on after the last event; `on_break` hears of each break.
        Closing the iterator ends the call. Raises NotFound, WaitTimeout after `timeout` seconds, ConnectionFailed (also
        after ten minutes without server).
        """
        return Watch(self._transport, name_of(job), from_seq, on_break=on_break, timeout=timeout).events()

    def follow(self, job: str | Job, stream: TextIO | None = None, *, timeout: float | None = None) -> Job:
        """Show how a job learns until it ends, on a terminal as one line, and answer it, ended.

        `stream` is stderr unless it is given. Errors of the job are not raised. Raises NotFound, WaitTimeout after
        `timeout` seconds, ConnectionFailed.
        """
        begun = self.get(job) if isinstance(job, str) else job
        progress = Progress(begun.epochs, stream or sys.stderr)
        if begun.state == "QUEUED":
            ahead = f", {begun.queue_position} ahead" if begun.queue_position else ""
            progress.status(f"queued{ahead}")
        watch = Watch(self._transport, name_of(begun), 0, on_break=progress.broke, timeout=timeout)
        try:
            for event in watch.events():
                progress.show(event)
            ended = Job(watch.ended_job(), self)
        finally:
            progress.close()
        progress.result(ended)
        return ended

    def logs(
        self,
        job: str | Job,
        *,
        follow: bool = True,
        tail: int | None = None,
        on_break: Callable[[TraindError], None] | None = None,
    ) -> Generator[str]:
        """Yield the lines that a job's workers wrote, those of the past first, as they come until the job's end.

        Without `follow` only those that are stored now; with `tail` only so many of these, 0 = none. A line neither is
        lost nor comes twice when the connection breaks, as with `watch`. Raises ValueError (`tail` is negative),
        NotFound, ConnectionFailed.
        """
        return read_log(self._transport, name_of(job), follow=follow, tail=tail, on_break=on_break)
