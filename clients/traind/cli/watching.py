"""Watching a job from the command line: its end becomes the exit code, Ctrl-C leaves it running."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from traind.cli.session import as_json, hint, show, show_table
from traind.display import figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traind.jobs import Job

_EXITS = {"SUCCEEDED": 0, "FAILED": 3, "CANCELLED": 9}


def follow_job(job: Job, output: str, timeout: float | None = None) -> int:
    """Show a job until its end on stderr, its result on stdout; answers the exit code. Raises WaitTimeout."""
    try:
        job.follow(timeout=timeout)
    except KeyboardInterrupt:
        hint(f"\nleft; the job goes on\nnext  traind job watch {job.id[:8]}  ·  traind job cancel {job.id[:8]}")
        return 130
    show_results([job], output, several=False)
    return end_code(job)


def show_results(jobs: Sequence[Job], output: str, *, several: bool) -> None:
    """What came out of jobs, as one document: the models, the predictions, or evaluations' figures.

    With `several` JSON is a list.
    """

    def show_made() -> None:
        for one in jobs:
            _show_made(one)

    show(
        output,
        [as_json(one.message) for one in jobs],
        table=show_made,
        ids=[one.message.model_version or one.output_dataset or one.name for one in jobs],
        records=[one.record() for one in jobs],
        several=several,
    )


def _show_made(job: Job) -> None:
    if job.message.model_version:
        click.echo(job.message.model_version)
    elif job.output_dataset:
        click.echo(job.output_dataset)
    elif job.state == "SUCCEEDED":
        show_table(("METRIC", "VALUE"), [(name, figure(value)) for name, value in job.metrics.items()])


def end_code(job: Job) -> int:
    """The exit code of an ended job."""
    return _EXITS.get(job.state, 1)
