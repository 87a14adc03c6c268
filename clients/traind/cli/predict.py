"""`traind predict`."""

from __future__ import annotations

import csv
import pathlib
import sys

import click

from traind.cli.session import client, show_json
from traind.tables_in import read_csv, read_table


@click.command()
@click.argument("model")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=pathlib.Path))
@click.option("--proba", is_flag=True, help="A column of probabilities for each class too.")
@click.option("-o", "--output", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
def predict(model: str, file: pathlib.Path, proba: bool, output: str) -> None:
    """Predict for the rows of a CSV FILE (- = stdin); one row comes out for each that went in."""
    table = read_csv(sys.stdin, "stdin") if str(file) == "-" else read_table(file)
    found = client().predict(model, table.columns, full=True)
    names = [found.target]
    columns = [found.values]
    if proba and found.probabilities is not None:
        names += [f"p_{name}" for name in found.classes]
        columns += [list(column) for column in zip(*found.probabilities, strict=True)]
    rows = list(zip(*columns, strict=True))
    if output == "json":
        show_json({"model": found.model, "rows": [dict(zip(names, row, strict=True)) for row in rows]})
    else:
        csv.writer(sys.stdout, lineterminator="\n").writerows([names, *rows])
