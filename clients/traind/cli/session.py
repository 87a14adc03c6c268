"""What the commands share: the client of the options, ids that may be short, and how results are written."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click
from google.protobuf import json_format

from traind.cli.output import output_option, show, show_json
from traind.client import Client
from traind.display import table
from traind.errors import NotFound

__all__ = ["as_json", "client", "find_job", "find_model", "hint", "output_option", "show", "show_fields", "show_json"]
__all__ += ["show_objects", "show_table"]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from google.protobuf.message import Message

    from traind.datasets import Dataset
    from traind.jobs import Job
    from traind.models import Model

_STATE_COLOURS = {"SUCCEEDED": "green", "FAILED": "red", "CANCELLED": "yellow", "RUNNING": "cyan"}


def client() -> Client:
    """The client that `--url` and `--profile`, the environment and the profile file say."""
    options = click.get_current_context().obj or {}
    return Client(options.get("url"), profile=options.get("profile"))


def find_job(clients: Client, given: str) -> Job:
    """The job of an id, of a beginning of it that fits one job only, or of `@last`."""
    short = given.removeprefix("jobs/")
    if len(short) == 36:
        return clients.jobs.get(short)
    if short == "@last":
        newest = next(clients.jobs.list(page_size=1), None)
        if newest is None:
            raise NotFound("there is no job yet", fix="submit one with: traind run SPEC.json")
        return newest
    fitting = [job for job in clients.jobs.list(page_size=1000) if short and job.id.startswith(short)]
    if not fitting:
        raise NotFound(f"no job's id begins with {given!r}", fix="see yours with: traind jobs")
    if len(fitting) > 1:
        ids = ", ".join(job.id for job in fitting[:5])
        raise click.UsageError(f"{len(fitting)} jobs begin with {given!r}: {ids}; give more of the id")
    return fitting[0]


def find_model(clients: Client, given: str) -> str:
    """The name of a model; `@last` is the one that came out last."""
    if given != "@last":
        return given
    newest = next(clients.models.list(page_size=1), None)
    if newest is None:
        raise NotFound("there is no model yet", fix="train one with: traind run SPEC.json")
    return newest.name


def hint(text: str) -> None:
    """Something for the person, beside the data."""
    click.echo(text, err=True)


def show_table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    err: bool = False,
    whole: bool = False,
    keep: Sequence[str] = (),
    spare: Sequence[str] = (),
) -> None:
    """Rows on stdout, or with `err` beside the data; on a terminal no wider than it is, unless sentences are in it.

    There columns of `spare` are left out where those of `keep` would be cut otherwise.
    """
    stream = sys.stderr if err else sys.stdout
    width = shutil.get_terminal_size().columns if stream.isatty() and not whole else 0
    click.echo(table(header, list(rows), str if err else _coloured, width=width, keep=keep, spare=spare), err=err)


def show_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Names and values on stdout, without what is empty."""
    show_table(("FIELD", "VALUE"), [(name, value) for name, value in fields if value], whole=True)


def show_objects(output: str, found: Sequence[Dataset | Job | Model], table: Callable[[], None]) -> None:
    """A listing in the form that was asked for; `table` writes the one for people."""
    show(
        output,
        [as_json(one.message) for one in found],
        table=table,
        ids=[one.name for one in found],
        records=[one.record() for one in found],
        several=True,
    )


def as_json(message: Message) -> Any:
    """A message as the API writes it in JSON."""
    return json_format.MessageToDict(message, always_print_fields_with_no_presence=True)


def _coloured(cell: str) -> str:
    """A job's state in colour on a terminal that wants it; any other cell as it is."""
    colour = _STATE_COLOURS.get(cell)
    if colour is None or "NO_COLOR" in os.environ or not sys.stdout.isatty():
        return cell
    return click.style(cell, fg=colour)
