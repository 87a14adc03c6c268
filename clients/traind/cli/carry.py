"""`traind export`, `traind import`: models from server to server, and to programs without traind."""

from __future__ import annotations

import pathlib

import click

from traind.cli.data import show_progress
from traind.cli.session import as_json, client, find_model, hint, output_option, show
from traind.display import figure
from traind.export_formats import ENDINGS
from traind.names import short_name


@click.command()
@click.argument("model")
@click.argument("file", type=click.Path(dir_okay=False, path_type=pathlib.Path), required=False)
@click.option(
    "--format",
    "kind",
    type=click.Choice(list(ENDINGS)),
    default="safetensors",
    help="safetensors, which `traind import` takes; onnx, a graph from the columns to the answers; script, a zip of a "
    "readable PyTorch script and its weights.",
)
@click.option("--force", is_flag=True, help="Write over FILE if it is there.")
@output_option
def export(model: str, file: pathlib.Path | None, kind: str, force: bool, output: str) -> None:
    """Write MODEL into FILE, else into one that is called as the model; @last is the newest.

    With its history, for `traind import` on any server, or in a format for programs without traind.
    """
    server = client()
    found = server.models.get(find_model(server, model))
    file = file or pathlib.Path(short_name(found.name).replace(":", "-") + ENDINGS[kind])
    try:
        server.models.export(found, file, format=kind, overwrite=force, progress=show_progress)
    except FileExistsError:
        raise click.UsageError(f"{file} is there already; give another name, or --force to write over it") from None
    except OSError as error:
        if error.errno is None:
            raise  # The server's, not the file's.
        raise click.FileError(str(file), error.strerror or "it cannot be written") from None
    size = file.stat().st_size
    told = {"model": found.name, "file": str(file), "sizeBytes": str(size), "weightsSha256": found.weights_sha256}
    path_alone = lambda: click.echo(str(file))  # noqa: E731 - what a table tells of it
    show(output, [told], table=path_alone, ids=[found.name])
    hint(f"      {short_name(found.name)}, {found.parameter_count} parameters, {size:,} bytes")
    if kind == "safetensors":
        hint(f"next  traind --profile OTHER import {file}")
    elif kind == "script":
        hint(f"next  unzip {file}  ·  python predict.py ROWS.csv")


@click.command(name="import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=pathlib.Path))
@click.option(
    "--name", default="", help="The id: lower-case letters, digits, hyphens; else what it was where it came from."
)
@output_option
def import_(file: pathlib.Path, name: str, output: str) -> None:
    """Make a model of FILE, which `traind export` wrote; it predicts the same, bit for bit."""
    made = client().models.import_(file, name=name, progress=show_progress)
    name_alone = lambda: click.echo(made.name)  # noqa: E731 - what a table tells of it
    show(output, [as_json(made.message)], table=name_alone, ids=[made.name], records=[made.record()])
    figures = "  ".join(f"{key} {figure(value)}" for key, value in list(made.metrics.items())[:4])
    if made.origin is not None:
        hint(f"      trained by {made.origin.user} as {short_name(made.origin.model)}  {figures}")
    hint(f"next  traind models show {short_name(made.name)}  ·  traind predict {short_name(made.name)} FILE.csv")
