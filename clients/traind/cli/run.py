"""`traind run`."""

from __future__ import annotations

import json
import pathlib
import sys
from typing import TYPE_CHECKING

import click

from traind.cli.session import as_json, client, hint, output_option, show, show_fields
from traind.cli.watching import follow_job
from traind.errors import InvalidSpec
from traind.specs import change_spec, load_spec

if TYPE_CHECKING:
    from traind.jobs import Job


@click.command()
@click.argument("spec", type=click.Path(allow_dash=True, path_type=pathlib.Path))
@click.option("--set", "changes", multiple=True, metavar="PATH=VALUE", help="Change it: learn.gradient.epochs=50.")
@click.option("--dataset", default="", help="Another data set than the spec names.")
@click.option("--model", default="", help="Another id for the model.")
@click.option("--name", "display_name", default="", help="What people call the job.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Another seed than the spec names.")
@click.option("--webhook", "webhooks", multiple=True, metavar="NAME", help="Who hears of its end.")
@click.option("--key", metavar="UUID", help="Sent again with the same key, the job is taken once.")
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Watch so long; exit 8."
)
@click.option("--detach", is_flag=True, help="Do not watch: print the job's name and leave.")
@click.option("--dry-run", is_flag=True, help="Tell parameters, memory and place in the queue; store nothing.")
@output_option
def run(
    spec: pathlib.Path,
    changes: tuple[str, ...],
    dataset: str,
    model: str,
    display_name: str,
    seed: int | None,
    webhooks: tuple[str, ...],
    key: str | None,
    timeout: float | None,
    detach: bool,
    dry_run: bool,
    output: str,
) -> int:
    """Submit the job of SPEC, a .json or .toml file or - for JSON on stdin, and watch it learn.

    Prints the model that came out. Ctrl-C leaves the job running.
    """
    job = _read(spec)
    for change in changes:
        change_spec(job, change)
    if seed is not None:
        change_spec(job, f"seed={seed}")
    server = client()
    made = server.jobs.create(
        job,
        dataset=dataset,
        model=model,
        display_name=display_name,
        webhooks=webhooks,
        request_id=key,
        validate_only=dry_run,
    )
    told, record = [as_json(made.message)], made.record()
    if dry_run:
        record |= {"parameters": made.parameter_count, "memory_bytes": made.memory_bytes, "ahead": made.queue_position}
        show(output, told, table=lambda: _show_plan(made), records=[record])
        hint("the spec is good; nothing was stored")
        return 0
    hint(f"job   {made.id}")
    if detach:
        show(output, told, table=lambda: click.echo(made.name), ids=[made.name], records=[record])
        hint(f"next  traind job watch {made.id[:8]}")
        return 0
    return follow_job(made, output, timeout)


def _show_plan(made: Job) -> None:
    """What the job would be."""
    fields = [
        ("dataset", made.dataset),
        ("parameters", f"{made.parameter_count:,}"),
        ("memory", f"about {made.memory_bytes / (1 << 20):,.0f} MiB" if made.memory_bytes else ""),
        ("queue", f"{made.queue_position} ahead"),
        ("epochs", f"{made.epochs:,}" if made.epochs else ""),
    ]
    show_fields([*fields, *((finding.code, finding.message) for finding in made.findings)])


def _read(spec: pathlib.Path) -> dict[str, object]:
    if str(spec) != "-":
        return load_spec(spec)
    try:
        found = json.load(sys.stdin)
    except ValueError as error:
        raise InvalidSpec(f"stdin is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidSpec("stdin holds no job", fix='write {"dataset": ..., "model": ..., "train": {...}}')
    return found
