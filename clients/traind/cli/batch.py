"""`traind batch`."""

from __future__ import annotations

import click

from traind.cli.session import as_json, client, find_model, hint, output_option, show, show_fields
from traind.cli.watching import follow_job


@click.command()
@click.argument("model")
@click.argument("dataset")
@click.option("--output-id", default="", help="The id of the predictions; else DATASET with -predictions behind it.")
@click.option("--keep", "keep_columns", multiple=True, metavar="COLUMN", help="A column that the predictions have too.")
@click.option("--no-proba", is_flag=True, help="No column of probabilities for each class.")
@click.option("--max-seconds", type=click.FloatRange(min=0, min_open=True), help="Fail with TIME_LIMIT after so long.")
@click.option("--name", "display_name", default="", help="What people call the job and its predictions.")
@click.option("--webhook", "webhooks", multiple=True, metavar="NAME", help="Who hears of its end.")
@click.option("--key", metavar="UUID", help="Sent again with the same key, the job is taken once.")
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Watch so long; exit 8."
)
@click.option("--detach", is_flag=True, help="Do not watch: print the job's name and leave.")
@click.option("--dry-run", is_flag=True, help="Tell slices, memory and place in the queue; store nothing.")
@output_option
def batch(
    model: str,
    dataset: str,
    output_id: str,
    keep_columns: tuple[str, ...],
    no_proba: bool,
    max_seconds: float | None,
    display_name: str,
    webhooks: tuple[str, ...],
    key: str | None,
    timeout: float | None,
    detach: bool,
    dry_run: bool,
    output: str,
) -> int:
    """Predict for every row of DATASET with MODEL, as a job; prints the data set of the predictions.

    Rows that the model cannot take go into a data set of their own, with the reason of each. Ctrl-C leaves the job
    running.
    """
    server = client()
    made = server.predict_job(
        find_model(server, model),
        dataset,
        output=output_id,
        keep_columns=keep_columns,
        probabilities=not no_proba,
        max_seconds=max_seconds,
        display_name=display_name,
        webhooks=webhooks,
        request_id=key,
        validate_only=dry_run,
    )
    told, record = [as_json(made.message)], made.record()
    if dry_run:
        fields = [
            ("dataset", made.dataset),
            ("model", made.message.predict.model),
            ("output", made.message.predict.output),
            ("slices", f"{made.epochs:,}"),
            ("memory", f"about {made.memory_bytes / (1 << 20):,.0f} MiB"),
            ("queue", f"{made.queue_position} ahead"),
        ]
        show(output, told, table=lambda: show_fields(fields), records=[record])
        hint("the job is good; nothing was stored")
        return 0
    hint(f"job   {made.id}")
    if detach:
        show(output, told, table=lambda: click.echo(made.name), ids=[made.name], records=[record])
        hint(f"next  traind job watch {made.id[:8]}")
        return 0
    return follow_job(made, output, timeout)
