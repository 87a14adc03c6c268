"""`traind compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from traind.cli.session import client, find_job, output_option, show, show_table
from traind.comparison import compare as compare_jobs
from traind.display import figure, sparkline

if TYPE_CHECKING:
    from traind.comparison import Comparison

CURVE = 12


@click.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@output_option
def compare(ids: tuple[str, ...], output: str) -> None:
    """Put jobs beside each other: the parameters in which they differ, their figures, their losses."""
    server = client()
    jobs = [find_job(server, given).refresh() for given in ids]
    found = compare_jobs(jobs, [job.history() for job in jobs])
    show(output, found.records(), table=lambda: _show(found), ids=[one.name for one in jobs], several=True)


def _show(found: Comparison) -> None:
    rows = [["state", *found.states]]
    rows += [[path, *map(_text, values)] for path, values in found.parameters.items()]
    rows += [[name, *map(_text, values)] for name, values in found.metrics.items()]
    rows.append(["loss curve", *(sparkline(losses, CURVE) for losses in found.losses)])
    show_table(["", *(job[:8] for job in found.jobs)], rows)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return "yes"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return figure(value) if isinstance(value, float) else str(value)
