"""`traind job`."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING

import click

from traind import errors
from traind.cli.session import (
    as_json,
    client,
    find_job,
    hint,
    output_option,
    show_fields,
    show_json,
    show_table,
)
from traind.cli.watching import end_code, follow_job, show_result
from traind.display import figure
from traind.progress import short_name

if TYPE_CHECKING:
    from traind.jobs import Job

_STATES = ("QUEUED", "RUNNING", "PAUSING", "PAUSED", "CANCELLING", "SUCCEEDED", "FAILED", "CANCELLED")


@click.group(name="job")
def job() -> None:
    """List, show and steer jobs. An ID may be its beginning, or @last."""


@job.command(name="list")
@click.option("--state", "states", multiple=True, type=click.Choice(_STATES, case_sensitive=False), help="Only these.")
@click.option("-n", "--limit", default=20, show_default=True, type=click.IntRange(min=0), help="At most; 0 = all.")
@output_option
def list_(states: tuple[str, ...], limit: int, output: str) -> None:
    """List jobs, newest first."""
    found: list[Job] = []
    for one in client().jobs.list(states, page_size=limit):
        if limit and len(found) == limit:
            hint(f"these are the newest {limit}; all with: traind job list -n 0")
            break
        found.append(one)
    if output == "json":
        show_json([as_json(one.message) for one in found])
        return
    show_table(("ID", "STATE", "NAME", "DATASET", "MODEL", "EPOCH", "LOSS", "CREATED"), map(_row, found))


@job.command()
@click.argument("id_", metavar="ID")
@output_option
def show(id_: str, output: str) -> None:
    """Tell everything about a job."""
    one = find_job(client(), id_).refresh()
    if output == "json":
        show_json(as_json(one.message))
        return
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
            ("attempt", str(one.message.attempt or "")),
            ("created", f"{one.create_time:%Y-%m-%d %H:%M:%S} UTC"),
            *((name, figure(value)) for name, value in one.metrics.items()),
        ]
    )


@job.command()
@click.argument("id_", metavar="ID")
@output_option
def watch(id_: str, output: str) -> int:
    """Show how a job learns until its end; Ctrl-C leaves it running."""
    return follow_job(find_job(client(), id_), output)


@job.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Wait so long; exit 8.")
@output_option
def wait(ids: tuple[str, ...], timeout: float | None, output: str) -> int:
    """Wait for jobs in silence; the exit code is the worst of them."""
    server = client()
    codes = []
    for one in [find_job(server, given) for given in ids]:
        try:
            one.wait(timeout, raise_on_failure=False)
        except KeyboardInterrupt:
            hint(f"\nleft; the job goes on\nnext  traind job wait {one.id[:8]}")
            return 130
        show_result(one, output)
        if one.state == "FAILED":
            hint(str(errors.JobFailed(one)))
        codes.append(end_code(one))
    return max(codes)


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
@click.argument("id_", metavar="ID")
@click.option("-o", "--output", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
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
        return
    by_epoch = {name: dict(zip(*series, strict=True)) for name, series in found.items()}
    epochs = sorted({epoch for values in by_epoch.values() for epoch in values})
    text = figure if output == "table" else repr
    rows = [
        [str(epoch), *(text(values[epoch]) if epoch in values else "" for values in by_epoch.values())]
        for epoch in epochs
    ]
    if output == "csv":
        csv.writer(sys.stdout, lineterminator="\n").writerows([["epoch", *by_epoch], *rows])
    else:
        show_table(["EPOCH", *by_epoch], rows)


def _json_number(value: float) -> float | str:
    if value != value:  # noqa: PLR0124 - only NaN differs from itself
        return "NaN"
    return value if value not in {float("inf"), float("-inf")} else ("Infinity" if value > 0 else "-Infinity")


def _show_moved(moved: list[Job], output: str) -> None:
    if output == "json":
        show_json([as_json(one.message) for one in moved])
    else:
        show_table(("ID", "STATE"), [(one.id, one.state) for one in moved])


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
