"""What jobs report, as plain Python values: events, findings, failures."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from traind.v1 import jobs_pb2, tables_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.timestamp_pb2 import Timestamp

ENDS = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})


@dataclass(frozen=True)
class Finding:
    """Something a person should know about a job, with the figures it rests on."""

    code: str  # `NOT_SEPARABLE`, ...
    message: str
    figures: dict[str, float]


@dataclass(frozen=True)
class Failure:
    """Why a job FAILED."""

    reason: str  # `DIVERGED`, ...
    message: str


@dataclass(frozen=True)
class Event:
    """Something that happened to a job. `seq` is dense, so a watcher can go on after the last one it saw."""

    seq: int
    time: dt.datetime
    attempt: int
    kind: str  # `state`, `epoch`, `finding`, `log`, `resumed`; another word from a newer server
    state: str = ""  # with `state`: RUNNING, ...
    message: str = ""  # with `state`, `log` and `resumed`
    failure: Failure | None = None  # with the state FAILED
    model: str = ""  # with the state SUCCEEDED: `models/{owner}.{id}/versions/{n}`
    output: str = ""  # with the state SUCCEEDED: the predictions, `datasets/{owner}.{id}/versions/{n}`
    rejected: str = ""  # with the state SUCCEEDED: the rows that have none
    epoch: int = 0  # with `epoch`: 1, 2, 3, ...; with `resumed`: the epoch after which the job goes on
    metrics: dict[str, float] = field(default_factory=dict)  # with `epoch`
    finding: Finding | None = None  # with `finding`
    # With `resumed`: epochs that were told after `epoch` are taken back and come again.
    rewound: bool = False

    @property
    def ends(self) -> bool:
        """Whether the job has ended with it."""
        return self.state in ENDS


def decode_event(event: jobs_pb2.JobEvent) -> Event:
    """The event of a message."""
    kind = event.WhichOneof("kind")
    found = Event(event.seq, decode_time(event.time), event.attempt, kind or "unknown")
    match kind:
        case "state":
            change = event.state
            failure = decode_failure(change.failure) if change.HasField("failure") else None
            details = {
                "message": change.message,
                "failure": failure,
                "model": change.model_version,
                "output": change.output_dataset,
                "rejected": change.rejected_dataset,
            }
            return _with(found, state=decode_state(change.state), **details)
        case "epoch":
            return _with(found, epoch=event.epoch.epoch, metrics=decode_metrics(event.epoch.metrics))
        case "finding":
            return _with(found, finding=decode_finding(event.finding))
        case "log":
            return _with(found, message=event.log.message)
        case "resumed":
            went_on = event.resumed
            return _with(found, epoch=went_on.epoch, message=went_on.reason, rewound=went_on.rewound)
        case _:
            return found


def _with(event: Event, **changes: object) -> Event:
    return Event(**{**event.__dict__, **changes})


def decode_state(state: int) -> str:
    """The state's name; a number that this client does not know yet stays a number."""
    found = jobs_pb2.Job.State.DESCRIPTOR.values_by_number.get(state)
    return found.name if found else f"STATE_{state}"


def decode_failure(failure: jobs_pb2.Failure) -> Failure:
    """The failure of a message."""
    found = jobs_pb2.Failure.Reason.DESCRIPTOR.values_by_number.get(failure.reason)
    return Failure(found.name if found else f"REASON_{failure.reason}", failure.message)


def decode_finding(finding: tables_pb2.Finding) -> Finding:
    """The finding of a message."""
    found = tables_pb2.Finding.Code.DESCRIPTOR.values_by_number.get(finding.code)
    return Finding(found.name if found else f"CODE_{finding.code}", finding.message, dict(finding.figures))


def decode_metrics(metrics: Iterable[tables_pb2.Metric]) -> dict[str, float]:
    """Figures by name; NaN and Inf are kept."""
    return {metric.name: metric.value for metric in metrics}


def decode_time(stamp: Timestamp) -> dt.datetime:
    """A time in UTC."""
    return stamp.ToDatetime(tzinfo=dt.UTC)
