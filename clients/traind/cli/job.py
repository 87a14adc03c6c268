"""`traind job`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from traind import errors
from traind.cli.output import output_of
from traind.cli.session import (
    as_json,
    client,
    find_job,
    hint,
    output_option,
    show,
    show_fields,
    show_json,
    show_objects,
    show_table,
)
from traind.cli.watching import end_code, follow_job, show_results
from traind.display import figure
from traind.names import short_name
from traind.specs import change_spec

if TYPE_CHECKING:
    from traind.jobs import Job

# How often it is looked whether one of several jobs has ended.
LOOK_S = 0.5
_STATES = ("QUEUED", "RUNNING", "PAUSING", "PAUSED", "CANCELLING", "SUCCEEDED", "FAILED", "CANCELLED")


@click.group(name="job")
def job() -> None:
    """Show and steer jobs. An ID may be its beginning, or @last; `traind jobs` lists them.

    With --json one ID gives one document, several give a list.
    """


@click.command(name="jobs")
@click.option("--state", "states", multiple=True, type=click.Choice(_STATES, case_sensitive=False), help="Only these.")
@click.option("-n", "--limit", default=20, show_default=True, type=click.IntRange(min=0), help="At most; 0 = all.")
@output_option
def jobs(states: tuple[str, ...], limit: int, output: str) -> None:
    """List jobs, newest first."""
    found: list[Job] = []
    for one in client().jobs.list(states, page_size=limit):
        if limit and len(found) == limit:
            hint(f"these are the newest {limit}; all with: traind jobs -n 0")
            break
        found.append(one)
    header = ("ID", "STATE", "NAME", "DATASET", "MODEL", "EPOCH", "LOSS", "CREATED")
    show_objects(
        output,
        found,
        lambda: show_table(header, map(_row, found), keep=("ID", "STATE", "DATASET", "MODEL"), spare=("CREATED",)),
    )


job.add_command(jobs, "list")


@job.command(name="show")
@click.argument("id_", metavar="ID")
@output_option
def show_(id_: str, output: str) -> None:
    """Tell everything about a job."""
    one = find_job(client(), id_).refresh()
    show(output, [as_json(one.message)], table=lambda: _show(one), ids=[one.name], records=[one.record()])


def _show(one: Job) -> None:
    failure = one.failure
    waits = f"{one.queue_position} ahead" if one.state == "QUEUED" else ""
    show_fields(
        [
            ("id", one.id),
            ("name", one.message.display_name),
            ("state", one.state),
            ("queue", waits),
            ("failure", f"{failure.reason}: {failure.message}" if failure else ""),
            *((f.code, f.message) for f in one.findings if failure is None or f.message != failure.message),
            ("dataset", one.dataset),
            ("model", one.message.model_version),
            ("epoch", f"{one.epoch} of {one.epochs}" if one.epochs else ""),
            ("best epoch", str(one.best_epoch or "")),
            ("parameters", str(one.parameter_count or "")),
            ("memory", f"about {one.memory_bytes / (1 << 20):,.0f} MiB" if one.memory_bytes else ""),
            ("parent", one.parent),
            ("attempt", str(one.message.attempt or "")),
            ("trained in", one.message.origin.job),
            ("trained by", one.message.origin.user),
            ("created", f"{one.create_time:%Y-%m-%d %H:%M:%S} UTC"),
            *((name, figure(value)) for name, value in one.metrics.items()),
        ]
    )


@job.command()
@click.argument("id_", metavar="ID")
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Watch so long; exit 8."
)
@output_option
def watch(id_: str, timeout: float | None, output: str) -> int:
    """Show how a job learns until its end; Ctrl-C leaves it running."""
    return follow_job(find_job(client(), id_), output, timeout)


@job.command()
@click.argument("id_", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job's end, which is the exit code.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Of the lines there are only the last N.")
def logs(id_: str, follow: bool, tail: int | None) -> int:
    """Print the lines of a job's log; Ctrl-C leaves the job running."""
    one = find_job(client(), id_)
    try:
        for line in one.logs(follow=follow, tail=tail, on_break=_tell_break):
            click.echo(line)
    except KeyboardInterrupt:
        hint(f"\nleft; the job goes on\nnext  traind job logs {one.id[:8]} -f")
        return 130
    return _told_end(one.refresh()) if follow else 0


def _tell_break(_: errors.TraindError) -> None:
    hint("note  the connection broke; reading again, the job goes on")


def _told_end(ended: Job) -> int:
    """The exit code of a job that has ended; why it FAILED goes to stderr."""
    if ended.state == "FAILED":
        hint(str(errors.JobFailed(ended)))
    return end_code(ended)


@job.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Wait so long; exit 8.")
@click.option("--any/--all", "first", help="Until the first of them has ended, or until all have (the default).")
@output_option
def wait(ids: tuple[str, ...], timeout: float | None, first: bool, output: str) -> int:
    """Wait for jobs in silence; the exit code is the worst of those that ended.

    With --json one ID gives one document, several give a list, with --any too.
    """
    server = client()
    waited = [find_job(server, given) for given in ids]
    try:
        jobs = server.jobs
        ended = [_first_to_end(waited, timeout)] if first else jobs.wait(waited, timeout, raise_on_failure=False)
    except KeyboardInterrupt:
        hint(f"\nleft; the jobs go on\nnext  traind job wait {' '.join(one.id[:8] for one in waited)}")
        return 130
    show_results(ended, output, several=len(waited) > 1)
    return max([_told_end(one) for one in ended])


def _first_to_end(jobs: list[Job], timeout: float | None) -> Job:
    """The first of several jobs to end. Raises WaitTimeout."""
    limit = None if timeout is None else time.monotonic() + timeout
    while True:
        for one in jobs:
            if one.refresh().done:
                return one
        if limit is not None and time.monotonic() > limit:
            raise errors.WaitTimeout(f"none of {len(jobs)} jobs has ended within {timeout:g} s; they go on")
        time.sleep(LOOK_S)


@job.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@output_option
def cancel(ids: tuple[str, ...], output: str) -> None:
    """End jobs; their history stays."""
    server = client()
    _show_moved([find_job(server, given).cancel() for given in ids], output)


@job.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@output_option
def pause(ids: tuple[str, ...], output: str) -> None:
    """Stop jobs after their last checkpoint and free their places."""
    server = client()
    _show_moved([find_job(server, given).pause() for given in ids], output)


@job.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@output_option
def resume(ids: tuple[str, ...], output: str) -> None:
    """Queue paused jobs again; they go on from their checkpoints."""
    server = client()
    _show_moved([find_job(server, given).resume() for given in ids], output)


@job.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@output_option
def retry(ids: tuple[str, ...], output: str) -> None:
    """Submit jobs that FAILED or were CANCELLED once more, as new jobs; from their checkpoints where that helps."""
    server = client()
    _show_taken([find_job(server, given).retry() for given in ids], output)


@job.command()
@click.argument("id_", metavar="ID")
@click.option(
    "--set",
    "changes",
    multiple=True,
    required=True,
    metavar="PATH=VALUE",
    help="What changes: learn.gradient.epochs=50.",
)
@click.option("--name", "display_name", default="", help="What people call the new job; else as the old one.")
@click.option("--model", default="", help="Another id for the model; else its next version.")
@output_option
def fork(id_: str, changes: tuple[str, ...], display_name: str, model: str, output: str) -> None:
    """Submit a new job that goes on from a job's checkpoint and learns on in a changed way."""
    spec: dict[str, Any] = {}
    for change in changes:
        change_spec(spec, change)
    if [*spec] != ["train"] or [*spec["train"]] != ["learn"]:
        raise errors.InvalidSpec(
            "a fork changes only how is learned", field="learn", fix="begin the paths of --set with learn."
        )
    server = client()
    made = find_job(server, id_).fork(spec["train"]["learn"], display_name=display_name, model=model)
    _show_taken([made], output)


@job.command()
@click.argument("id_", metavar="ID")
@output_of("table", "json", "csv")
def history(id_: str, output: str) -> None:
    """Every metric of a job, epoch by epoch, exact in json and csv."""
    server = client()
    found = server.jobs.history(find_job(server, id_))
    if output == "json":
        # Written as the API does: JSON has no NaN.
        exact = {
            name: {"steps": steps, "values": list(map(_json_number, values))} for name, (steps, values) in found.items()
        }
        show_json(exact)
    elif output == "csv":
        click.echo(found.to_csv(), nl=False)
    else:
        rows = [["" if value is None else _figure(value) for value in row] for row in found.rows()]
        show_table(["EPOCH", *found], rows)


def _figure(value: float) -> str:
    return figure(value) if isinstance(value, float) else str(value)


def _json_number(value: float) -> float | str:
    if value != value:  # noqa: PLR0124 - only NaN differs from itself
        return "NaN"
    return value if value not in {float("inf"), float("-inf")} else ("Infinity" if value > 0 else "-Infinity")


def _show_taken(taken: list[Job], output: str) -> None:
    _show_moved(taken, output)
    hint(f"next  traind job watch {taken[-1].id[:8]}")


def _show_moved(moved: list[Job], output: str) -> None:
    show(
        output,
        [as_json(one.message) for one in moved],
        table=lambda: show_table(("ID", "STATE"), [(one.id, one.state) for one in moved]),
        ids=[one.name for one in moved],
        records=[one.record() for one in moved],
        several=len(moved) > 1,
    )


def _row(one: Job) -> tuple[str, ...]:
    made = one.message.model_version
    metrics = one.metrics
    loss = metrics.get("val_loss", metrics.get("train_loss"))
    return (
        one.id[:8],
        one.state,
        one.message.display_name,
        short_name(one.dataset),
        short_name(made) if made else one.message.model,
        f"{one.epoch}/{one.epochs}" if one.epochs else "",
        "" if loss is None else figure(loss),
        f"{one.create_time:%Y-%m-%d %H:%M}",
    )
