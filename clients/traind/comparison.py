"""Jobs beside each other: the parameters in which they differ, their figures, their curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from google.protobuf.message import Message

    from traind.history import History
    from traind.job_view import JobView


@dataclass(frozen=True)
class Comparison:
    """Each list has one entry for each job, in their order; None where a job has no such parameter or figure."""

    jobs: list[str]
    states: list[str]
    # By path, `network.mlp.hidden`; only those in which not all are equal.
    parameters: dict[str, list[Any]]
    metrics: dict[str, list[float | None]]
    # The training loss, epoch by epoch.
    losses: list[list[float]]

    def records(self) -> list[dict[str, Any]]:
        """A line a job."""
        return [
            {"job": job, "state": self.states[i]}
            | {path: values[i] for path, values in self.parameters.items()}
            | {name: values[i] for name, values in self.metrics.items()}
            for i, job in enumerate(self.jobs)
        ]


def compare(jobs: Sequence[JobView], histories: Sequence[History]) -> Comparison:
    """Put jobs beside each other; `histories` are theirs."""
    specs = [{"dataset": job.dataset} | dict(flatten(job.resolved)) for job in jobs]
    paths = dict.fromkeys(path for spec in specs for path in spec)
    parameters = {path: [spec.get(path) for spec in specs] for path in paths}
    names = dict.fromkeys(name for job in jobs for name in job.metrics)
    return Comparison(
        jobs=[job.id for job in jobs],
        states=[job.state for job in jobs],
        parameters={path: values for path, values in parameters.items() if any(v != values[0] for v in values)},
        metrics={name: [job.metrics.get(name) for job in jobs] for name in names},
        losses=[history["train_loss"][1] if "train_loss" in history else [] for history in histories],
    )


def flatten(message: Message) -> Iterator[tuple[str, Any]]:
    """Every value of a message by its path; a list is one value, a message that is set and empty is `{}`."""
    yield from _flat(json_format.MessageToDict(message, preserving_proto_field_name=True), "")


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict) or (path and not value):
        yield path, value
        return
    for name, part in value.items():
        yield from _flat(part, f"{path}.{name}" if path else name)
