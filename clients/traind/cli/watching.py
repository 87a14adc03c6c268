"""Watching a job from the command line: its end becomes the exit code, Ctrl-C leaves it running."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from traind.cli.session import as_json, hint, show_json, show_table
from traind.display import figure
from traind.progress import follow

if TYPE_CHECKING:
    from traind.jobs import Job

_EXITS = {"SUCCEEDED": 0, "FAILED": 3, "CANCELLED": 9}


def follow_job(job: Job, output: str) -> int:
    """Show a job until its end on stderr, its result on stdout; answers the exit code."""
    try:
        follow(job)
    except KeyboardInterrupt:
        hint(f"\nleft; the job goes on\nnext  traind job watch {job.id[:8]}  ·  traind job cancel {job.id[:8]}")
        return 130
    show_result(job, output)
    return end_code(job)


def show_result(job: Job, output: str) -> None:
    """What came out: the model, or an evaluation's figures."""
    if output == "json":
        show_json(as_json(job.message))
    elif job.message.model_version:
        click.echo(job.message.model_version)
    elif job.state == "SUCCEEDED":
        show_table(("METRIC", "VALUE"), [(name, figure(value)) for name, value in job.metrics.items()])


def end_code(job: Job) -> int:
    """The exit code of an ended job."""
    return _EXITS.get(job.state, 1)
