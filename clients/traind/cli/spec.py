"""`traind spec`."""

from __future__ import annotations

import pathlib
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from traind.cli.output import output_of
from traind.cli.session import client, hint, show_json
from traind.display import printable
from traind.errors import ConnectionFailed, InvalidSpec, NotFound, TooLarge
from traind.names import short_name
from traind.spec_checks import find_errors
from traind.spec_places import line_of
from traind.spec_schema import spec_schema
from traind.specs import load_spec, parse_job, plain, settled
from traind.v1 import jobs_pb2

if TYPE_CHECKING:
    from traind.jobs import Job

_AT = re.compile(r"\bline (\d+)")
_file = click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=pathlib.Path))
_dataset = click.option("--dataset", default="", help="Another data set than the spec names.")


@dataclass(frozen=True)
class Problem:
    """Something wrong in a spec, and on which line of its file."""

    file: str
    line: int
    field: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        told = f"{self.file}:{self.line}: {self.field + ': ' if self.field else ''}{self.message}"
        return printable(told + (f"; {self.fix}" if self.fix else ""))


@click.group()
def spec() -> None:
    """Check a spec, fill in its defaults, print the JSON Schema of specs."""


@spec.command()
@_file
@_dataset
@click.option("--offline", is_flag=True, help="Fields and types only; ask no server.")
@output_of("table", "json")
def check(file: pathlib.Path, dataset: str, offline: bool, output: str) -> int:
    """Tell everything that is wrong in the job of FILE, a .json or .toml file, by line; nothing is stored.

    Exit code 2 if something is.
    """
    problems, job = _own_problems(file)
    if not problems and not offline:
        problems = _server_problems(file, job, dataset)
    if output == "json":
        show_json([asdict(problem) for problem in problems])
    else:
        for problem in problems:
            click.echo(str(problem))
    if problems:
        hint(f"{len(problems)} wrong in {file}")
        return 2
    hint(f"{file} has good fields and types; the server has not been asked" if offline else f"{file} is good")
    return 0


@spec.command()
@_file
@_dataset
def render(file: pathlib.Path, dataset: str) -> None:
    """Print the job of FILE as it would run, every default filled in; nothing is stored."""
    made = client().jobs.create(load_spec(file), dataset=dataset, validate_only=True)
    said = {"model": made.message.model, "displayName": made.message.display_name}
    job: dict[str, Any] = {"dataset": short_name(made.dataset)} | {name: text for name, text in said.items() if text}
    if made.message.HasField("resolved"):
        job["train"] = plain(made.resolved)
    else:
        task = made.message.WhichOneof("task") or ""
        job[task] = plain(getattr(made.message, task))
    show_json(job)
    _tell_findings(made)


@spec.command()
def schema() -> None:
    """Print the JSON Schema of a job, by which editors complete and check .json and .toml files.

    Save it, and name it in the first line of a spec: "$schema": "traind.schema.json" in JSON, #:schema
    traind.schema.json in TOML.
    """
    show_json(spec_schema())


def _own_problems(file: pathlib.Path) -> tuple[list[Problem], dict[str, Any]]:
    """What can be seen without a server, and the job as it was read."""
    try:
        read = load_spec(file)
    except InvalidSpec as error:
        at = _AT.search(error.message)
        message = error.message.removeprefix(f"{file} ")
        return [Problem(str(file), int(at[1]) if at else 1, "", message, error.fix)], {}
    try:
        found = list(find_errors(settled(read), jobs_pb2.Job.DESCRIPTOR, "job"))
        if not found:
            parse_job(read)
    except InvalidSpec as error:
        found = [error]
    text = file.read_text(encoding="utf-8")
    return [_at(file, text, error.field, error.message, error.fix) for error in found], read


def _server_problems(file: pathlib.Path, job: dict[str, Any], dataset: str) -> list[Problem]:
    """What the server says that would have to take the job."""
    text = file.read_text(encoding="utf-8")
    try:
        made = client().jobs.create(job, dataset=dataset, validate_only=True)
    except (InvalidSpec, TooLarge) as error:
        if error.violations:
            return [_at(file, text, v.field, v.description, "") for v in error.violations]
        return [_at(file, text, error.field, error.message, error.fix)]
    except ConnectionFailed:
        hint(f"{file} has good fields and types; what only a server knows was not checked (--offline asks none)")
        raise
    except NotFound as error:
        task = next((name for name in ("evaluate", "predict") if name in job), "")
        field = f"job.{task}.model" if task and "models/" in error.message else "job.dataset"
        return [_at(file, text, field, error.message, error.fix)]
    hint(f"{short_name(made.dataset)}, {made.parameter_count} parameters, {made.epochs or 'no'} epochs")
    _tell_findings(made)
    return []


def _at(file: pathlib.Path, text: str, field: str, message: str, fix: str) -> Problem:
    return Problem(str(file), line_of(text, file.suffix, field), field, message, fix)


def _tell_findings(made: Job) -> None:
    for finding in made.findings:
        hint(f"note  {finding.message}")
