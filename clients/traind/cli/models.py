"""`traind models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from traind.cli.csv_lines import show_lines
from traind.cli.output import output_of
from traind.cli.session import (
    as_json,
    client,
    find_model,
    hint,
    output_option,
    show,
    show_fields,
    show_json,
    show_objects,
    show_table,
)
from traind.display import figure
from traind.names import short_name

if TYPE_CHECKING:
    from traind.measured import Confusion
    from traind.model_view import Evaluation
    from traind.models import Model


# Digits of a hash for people; -o json has all of them.
SHOWN_HASH = 12


@click.group(name="models")
def models() -> None:
    """Models that jobs made. A MODEL is churn, churn:3, churn@champion or kim.churn:3."""


@models.command(name="list")
@output_option
def list_(output: str) -> None:
    """List every version of every model, newest first."""
    found = list(client().models.list())
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
    show_objects(output, found, lambda: show_table(("MODEL", "DATASET", "PARAMETERS", "METRICS", "CREATED"), rows))


@models.command(name="show")
@click.argument("model")
@output_option
def show_(model: str, output: str) -> None:
    """Tell everything about a model; @last is the one that came out last."""
    server = client()
    found = server.models.get(find_model(server, model))
    told = [as_json(found.message)]
    show(output, told, table=lambda: _show(found), ids=[found.name], records=[found.record()])


def _show(found: Model) -> None:
    show_fields(
        [
            ("name", found.name),
            ("display name", found.message.display_name),
            ("aliases", ", ".join(found.aliases)),
            ("job", found.job),
            ("dataset", found.dataset),
            ("network", found.message.spec.network.WhichOneof("kind") or ""),
            ("parameters", str(found.parameter_count)),
            ("best epoch", str(found.best_epoch or "")),
            *((f"input {name}", kind) for name, kind in found.inputs.items()),
            *((f"output {name}", kind) for name, kind in found.outputs.items()),
            *((name, figure(value)) for name, value in found.metrics.items()),
            *((finding.code, finding.message) for finding in found.findings),
            ("weights", f"sha256 {found.weights_sha256[:SHOWN_HASH]}…"),
            ("engine", found.message.engine),
            ("created", f"{found.create_time:%Y-%m-%d %H:%M:%S} UTC"),
            *_origin(found),
        ]
    )
    for split, confusion in found.confusion.items():
        show_confusion(confusion, split)


@models.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
def rm(models: tuple[str, ...]) -> None:
    """Remove versions, each named like churn:3. One that an alias points to stays, and so do jobs."""
    server = client()
    for one in models:
        server.models.delete(find_model(server, one))
        hint(f"removed {one}")


@models.command()
@click.argument("model")
@click.argument("alias")
@click.option("--etag", default="", help="Only if the alias has this etag still; see traind models aliases.")
def alias(model: str, alias: str, etag: str) -> None:
    """Point ALIAS to a version, churn:3, or to the newest of churn; callers then write churn@ALIAS."""
    server = client()
    found = server.models.get(find_model(server, model))
    made = found.set_alias(alias, etag=etag)
    click.echo(made.message.name)
    hint(f"      {made.name} is {short_name(made.model)}")


@models.command()
@click.argument("model")
@output_option
def aliases(model: str, output: str) -> None:
    """List where the aliases of a model point, with their etags."""
    server = client()
    found = server.models.aliases(find_model(server, model))
    rows = [(one.name, short_name(one.model), one.etag, f"{one.update_time:%Y-%m-%d %H:%M}") for one in found]
    show(
        output,
        [as_json(one.message) for one in found],
        table=lambda: show_table(("ALIAS", "MODEL", "ETAG", "SET"), rows),
        ids=[one.message.name for one in found],
        records=[one.record() for one in found],
        several=True,
    )


@models.command()
@click.argument("model")
@click.argument("alias")
@click.option("--etag", default="", help="Only if the alias has this etag still.")
def unalias(model: str, alias: str, etag: str) -> None:
    """Delete ALIAS of a model; its version stays."""
    server = client()
    server.models.delete_alias(find_model(server, model), alias, etag=etag)
    hint(f"deleted {alias}")


def _origin(found: Model) -> list[tuple[str, str]]:
    """Where an imported model was trained."""
    if found.origin is None:
        return []
    told = found.origin
    return [("trained as", told.model), ("trained by", told.user), ("trained in", told.job)]


def show_confusion(confusion: Confusion, split: str) -> None:
    """Right classes as rows, answers as columns; the shares on the diagonal are what was right."""
    click.echo()
    header = (f"{split} right \\ answer".strip(), *confusion.classes)
    rows = [(name, *map(str, counts)) for name, counts in zip(confusion.classes, confusion.counts, strict=True)]
    show_table(header, rows)


@models.command()
@click.argument("model")
@output_of("csv", "json")
def split(model: str, output: str) -> None:
    """Tell which rows a model was trained with and which were held out; rows count from 0 below the header."""
    server = client()
    found = server.models.split(find_model(server, model))
    if output == "json":
        show_json({"dataset": found.dataset, "rowCount": found.row_count, "train": found.train, "val": found.val})
        return
    parts = sorted([(row, "train") for row in found.train] + [(row, "val") for row in found.val])
    show_lines([("row", "split"), *parts])


@models.command()
@click.argument("model")
def weights(model: str) -> None:
    """A model's weights as JSON: nested lists by name."""
    server = client()
    show_json(server.models.weights(find_model(server, model)))


@models.command()
@click.argument("model")
@click.argument("dataset")
@click.option(
    "--loss",
    metavar="LOSS",
    help="mse, mae, huber, bce, cross_entropy or gaussian_nll; else the one it was trained with.",
)
@click.option("--dof", type=click.IntRange(min=1), help="Degrees of freedom of residual_mse; else rows - parameters.")
@output_of("table", "json", "csv")
def evaluate(model: str, dataset: str, loss: str | None, dof: int | None, output: str) -> None:
    """Measure MODEL on every row of DATASET."""
    server = client()
    found = server.models.evaluate(find_model(server, model), dataset, loss, dof)
    records = [{"metric": name, "value": value} for name, value in found.metrics.items()]
    show(output, [as_json(found.message)], table=lambda: _show_evaluation(found), records=records)
    for finding in found.findings:
        hint(f"note  {finding.message}")


def _show_evaluation(found: Evaluation) -> None:
    show_table(("METRIC", "VALUE"), [(name, figure(value)) for name, value in found.metrics.items()])
    if found.confusion is not None:
        show_confusion(found.confusion, "")
