"""`traind models`."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING

import click

from traind.cli.session import as_json, client, hint, output_option, show_fields, show_json, show_table
from traind.display import figure
from traind.progress import short_name

if TYPE_CHECKING:
    from traind.measured import Confusion


@click.group(name="models")
def models() -> None:
    """Models that jobs made. A MODEL is churn, churn:3 or kim.churn:3."""


@models.command(name="list")
@output_option
def list_(output: str) -> None:
    """List every version of every model, newest first."""
    found = list(client().models.list())
    if output == "json":
        show_json([as_json(model.message) for model in found])
        return
    rows = [
        (
            short_name(model.name),
            short_name(model.dataset),
            str(model.parameter_count),
            "  ".join(f"{name} {figure(value)}" for name, value in list(model.metrics.items())[:4]),
            f"{model.create_time:%Y-%m-%d %H:%M}",
        )
        for model in found
    ]
    show_table(("MODEL", "DATASET", "PARAMETERS", "METRICS", "CREATED"), rows)


@models.command()
@click.argument("model")
@output_option
def show(model: str, output: str) -> None:
    """Tell everything about a model."""
    found = client().models.get(model)
    if output == "json":
        show_json(as_json(found.message))
        return
    show_fields(
        [
            ("name", found.name),
            ("display name", found.message.display_name),
            ("job", found.job),
            ("dataset", found.dataset),
            ("network", found.message.spec.network.WhichOneof("kind") or ""),
            ("parameters", str(found.parameter_count)),
            ("best epoch", str(found.best_epoch or "")),
            *((f"input {name}", kind) for name, kind in found.inputs.items()),
            *((f"output {name}", kind) for name, kind in found.outputs.items()),
            *((name, figure(value)) for name, value in found.metrics.items()),
            *((finding.code, finding.message) for finding in found.findings),
            ("weights", f"sha256 {found.weights_sha256}"),
            ("engine", found.message.engine),
            ("created", f"{found.create_time:%Y-%m-%d %H:%M:%S} UTC"),
        ]
    )
    for split, confusion in found.confusion.items():
        show_confusion(confusion, split)


def show_confusion(confusion: Confusion, split: str) -> None:
    """Right classes as rows, answers as columns; the shares on the diagonal are what was right."""
    click.echo()
    header = (f"{split} right \\ answer".strip(), *confusion.classes)
    rows = [(name, *map(str, counts)) for name, counts in zip(confusion.classes, confusion.counts, strict=True)]
    show_table(header, rows)


@models.command()
@click.argument("model")
@click.option("-o", "--output", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
def split(model: str, output: str) -> None:
    """Tell which rows a model was trained with and which were held out; rows count from 0 below the header."""
    found = client().models.split(model)
    if output == "json":
        show_json({"dataset": found.dataset, "rowCount": found.row_count, "train": found.train, "val": found.val})
        return
    parts = sorted([(row, "train") for row in found.train] + [(row, "val") for row in found.val])
    csv.writer(sys.stdout, lineterminator="\n").writerows([("row", "split"), *parts])


@models.command()
@click.argument("model")
def weights(model: str) -> None:
    """A model's weights as JSON: nested lists by name."""
    show_json(client().models.weights(model))


@models.command()
@click.argument("model")
@click.argument("dataset")
@click.option(
    "--loss",
    metavar="LOSS",
    help="mse, mae, huber, bce, cross_entropy or gaussian_nll; else the one it was trained with.",
)
@click.option("--dof", type=click.IntRange(min=1), help="Degrees of freedom of residual_mse; else rows - parameters.")
@output_option
def evaluate(model: str, dataset: str, loss: str | None, dof: int | None, output: str) -> None:
    """Measure MODEL on every row of DATASET."""
    found = client().models.evaluate(model, dataset, loss, dof)
    if output == "json":
        show_json(as_json(found.message))
        return
    show_table(("METRIC", "VALUE"), [(name, figure(value)) for name, value in found.metrics.items()])
    if found.confusion is not None:
        show_confusion(found.confusion, "")
    for finding in found.findings:
        hint(f"note  {finding.message}")
