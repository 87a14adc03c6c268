"""`traind queue`."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import click

from traind.cli.session import as_json, client, hint, output_option, show, show_table
from traind.display import duration
from traind.events import decode_state, decode_time

if TYPE_CHECKING:
    from traind.v1 import jobs_pb2


@click.command()
@output_option
def queue(output: str) -> None:
    """Tell who holds the server's slots, and who waits and why."""
    server = client()
    entries = server.jobs.queue()
    header = ("POSITION", "STATE", "OWNER", "JOB", "EPOCH", "SINCE", "WHY IT WAITS")
    show(
        output,
        [as_json(entry) for entry in entries],
        table=lambda: show_table(header, map(_row, entries)),
        ids=[entry.job for entry in entries if entry.job],
        several=True,
    )
    info = server.server_info()
    hint(f"      slots {info.slots} · workers {info.workers} · jobs {len(entries)}")


def _row(entry: jobs_pb2.QueueEntry) -> tuple[str, ...]:
    since = entry.start_time if entry.HasField("start_time") else entry.create_time
    waited = (dt.datetime.now(dt.UTC) - decode_time(since)).total_seconds()
    name = entry.display_name or entry.job.removeprefix("jobs/")[:8]
    return (
        str(entry.position or ""),
        decode_state(entry.state),
        entry.owner,
        name or "(theirs)",
        f"{entry.epoch}/{entry.epochs}" if entry.epochs else "",
        duration(max(waited, 0.0)),
        entry.why_waiting,
    )
