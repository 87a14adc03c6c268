"""What the message of a job tells, in Python's words; jobs.py has its verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from traind.events import ENDS, decode_failure, decode_finding, decode_metrics, decode_state, decode_time

if TYPE_CHECKING:
    import datetime as dt

    from traind.events import Failure, Finding
    from traind.history import History
    from traind.v1 import jobs_pb2, specs_pb2


class JobView:
    """A job as it was when it was last asked for."""

    def __init__(self, message: jobs_pb2.Job) -> None:
        self.message = message
        # Its history, once it was asked for.
        self.seen_history: History | None = None

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
    def parent(self) -> str:
        """The job that it was retried or forked from: `jobs/{uuid}`; empty where there is none."""
        return self.message.parent

    @property
    def dataset(self) -> str:
        """The data set, with its version."""
        return self.message.dataset

    @property
    def output_dataset(self) -> str:
        """The data set of predictions that came out, with its version; empty where there is none (yet)."""
        return self.message.output_dataset

    @property
    def rejected_dataset(self) -> str:
        """The data set of the rows that have no prediction; empty where every row has one."""
        return self.message.rejected_dataset

    @property
    def epoch(self) -> int:
        """Epochs that are done and stored; slices of a job that predicts."""
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
    def memory_bytes(self) -> int:
        """About how much memory it needs; 0 where that is not known."""
        return self.message.memory_bytes

    @property
    def create_time(self) -> dt.datetime:
        """When it was taken."""
        return decode_time(self.message.create_time)

    def record(self) -> dict[str, Any]:
        """The line that tells of it in a table of jobs."""
        return {
            "id": self.id,
            "state": self.state,
            "display_name": self.message.display_name,
            "dataset": self.dataset,
            "model": self.message.model_version,
            "epoch": self.epoch,
            "epochs": self.epochs,
            "create_time": self.create_time,
            **self.metrics,
        }

    def _repr_html_(self) -> str:
        from traind.html import curve, fields_html

        told = [(name, value) for name, value in self.record().items() if value not in {"", 0}]
        failure = [(self.failure.reason, self.failure.message)] if self.failure else []
        notes = [(finding.code, finding.message) for finding in self.findings]
        seen = self.seen_history
        losses = {name: seen[name] for name in seen if name.endswith("loss")} if seen else {}
        return (curve(losses) if losses else "") + fields_html(f"job {self.id[:8]}", [*told, *failure, *notes])

    def __repr__(self) -> str:
        return f"<Job {self.id or '(not stored)'} {self.state}: epoch {self.epoch} of {self.epochs}>"
