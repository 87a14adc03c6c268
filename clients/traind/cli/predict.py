"""`traind predict`."""

from __future__ import annotations

import io
import pathlib
import sys
from typing import TYPE_CHECKING

import click

from traind.cli.csv_lines import show_lines
from traind.cli.output import output_of
from traind.cli.session import client, find_model, show, show_json
from traind.tables_in import codec, read_csv, read_table

if TYPE_CHECKING:
    from traind.tables_in import TableIn


@click.command()
@click.argument("model")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=pathlib.Path))
@click.option("--proba", is_flag=True, help="A column of probabilities for each class too.")
@click.option("--std", is_flag=True, help="A column of expected standard deviations for each target too.")
@click.option("--encoding", default="", help="Of FILE: UTF-8 or CP949 (as Korean Excel saves).")
@click.option("--delimiter", default="", help="Of FILE: , ; | or \\t; else what makes the most columns.")
@output_of("csv", "json", "jsonl")
def predict(model: str, file: pathlib.Path, proba: bool, std: bool, encoding: str, delimiter: str, output: str) -> None:
    """Predict for the rows of a CSV FILE (- = stdin); one row comes out for each that went in."""
    table = _read(file, encoding, delimiter)
    server = client()
    found = server.predict(find_model(server, model), table.columns, full=True)
    names = list(found.targets)
    columns = list(found.columns().values())
    if std:
        if found.deviations is None:
            raise click.UsageError("this model tells no deviations; train one with the loss gaussian_nll")
        names += [f"std_{name}" for name in found.targets]
        columns += list(found.deviation_columns().values())
    if proba and found.probabilities is not None:
        names += [f"p_{name}" for name in found.classes]
        columns += [list(column) for column in zip(*found.probabilities, strict=True)]
    rows = list(zip(*columns, strict=True))
    if output == "json":
        show_json({"model": found.model, "rows": [dict(zip(names, row, strict=True)) for row in rows]})
    elif output == "jsonl":
        show(output, [dict(zip(names, row, strict=True)) for row in rows], table=lambda: None)
    else:
        show_lines([names, *rows])


def _read(file: pathlib.Path, encoding: str, delimiter: str) -> TableIn:
    if str(file) != "-":
        return read_table(file, encoding=encoding, delimiter=delimiter)
    stdin = io.TextIOWrapper(sys.stdin.buffer, encoding=codec(encoding), newline="") if encoding else sys.stdin
    return read_csv(stdin, "stdin", delimiter)
