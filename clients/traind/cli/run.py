"""`traind run`."""

from __future__ import annotations

import json
import pathlib
import sys

import click

from traind.cli.session import as_json, client, hint, output_option, show_fields, show_json
from traind.cli.watching import follow_job
from traind.errors import InvalidSpec
from traind.specs import change_spec, load_spec


@click.command()
@click.argument("spec", type=click.Path(allow_dash=True, path_type=pathlib.Path))
@click.option("--set", "changes", multiple=True, metavar="PATH=VALUE", help="Change it: learn.gradient.epochs=50.")
@click.option("--dataset", default="", help="Another data set than the spec names.")
@click.option("--model", default="", help="Another id for the model.")
@click.option("--name", "display_name", default="", help="What people call the job.")
@click.option("--detach", is_flag=True, help="Do not watch: print the job's name and leave.")
@click.option("--dry-run", is_flag=True, help="Check only; store nothing.")
@output_option
def run(
    spec: pathlib.Path,
    changes: tuple[str, ...],
    dataset: str,
    model: str,
    display_name: str,
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
    server = client()
    made = server.jobs.create(job, dataset=dataset, model=model, display_name=display_name, validate_only=dry_run)
    if dry_run:
        if output == "json":
            show_json(as_json(made.message))
        else:
            epochs = str(made.epochs or "")
            fields = [("dataset", made.dataset), ("parameters", str(made.parameter_count)), ("epochs", epochs)]
            show_fields([*fields, *((finding.code, finding.message) for finding in made.findings)])
        hint("the spec is good; nothing was stored")
        return 0
    hint(f"job   {made.id}")
    if detach:
        show_json(as_json(made.message)) if output == "json" else click.echo(made.name)
        hint(f"next  traind job watch {made.id[:8]}")
        return 0
    return follow_job(made, output)


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
