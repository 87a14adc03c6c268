"""`traind data`."""

from __future__ import annotations

import csv
import pathlib
import re
import sys
from typing import Any

import click

from traind.cli.profile import show_profile
from traind.cli.session import as_json, client, hint, output_option, show_fields, show_json, show_table
from traind.profiles import type_name
from traind.progress import short_name

SHOW_PROGRESS_FROM = 8 << 20
FORMATS = click.Choice(["csv", "parquet", "arrow", "json-lines", "npz"], case_sensitive=False)


@click.group(name="data")
def data() -> None:
    """Data sets. A DATASET is penguins, penguins:2 or kim.penguins:2."""


@data.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=pathlib.Path))
@click.option("--name", help="The id: lower-case letters, digits, hyphens; else the file's name.")
@click.option("--display-name", default="", help="What people call it.")
@click.option("--format", "kind", type=FORMATS, help="Else found out by the file's first bytes.")
@click.option("--delimiter", default="", help="Of a CSV file: , ; | or \\t; else what makes the most columns.")
@click.option("--encoding", default="", help="Of a CSV file: UTF-8 or CP949 (as Korean Excel saves).")
@click.option("--type", "types", multiple=True, metavar="COLUMN=TYPE", help="A type that stands over the detected one.")
@output_option
def push(
    file: pathlib.Path,
    name: str | None,
    display_name: str,
    kind: str | None,
    delimiter: str,
    encoding: str,
    types: tuple[str, ...],
    output: str,
) -> None:
    """Send FILE (- = stdin) and make a data set of it: CSV, Parquet, Arrow, JSON Lines or NPZ."""
    stdin = str(file) == "-"
    if stdin and not name:
        raise click.UsageError("a table from stdin needs --name")
    made = client().datasets.create(
        sys.stdin.buffer.read() if stdin else file,
        name=name or _slug(file.stem),
        display_name=display_name,
        encoding=encoding,
        format=kind or "",
        delimiter=delimiter,
        schema=dict(_column_type(one) for one in types),
        progress=_progress,
    )
    if output == "json":
        show_json(as_json(made.message))
    else:
        click.echo(made.name)
    hint(f"      {made.row_count} rows, {len(made.columns)} columns: {', '.join(made.columns)}")
    hint(f"next  traind data profile {short_name(made.name)}  ·  traind init {short_name(made.name)} --target COLUMN")


@data.command(name="list")
@output_option
def list_(output: str) -> None:
    """List every version of every data set, newest first."""
    found = list(client().datasets.list())
    if output == "json":
        show_json([as_json(one.message) for one in found])
        return
    rows = [
        (
            short_name(one.name),
            one.message.display_name,
            str(one.row_count),
            str(len(one.columns)),
            f"{one.create_time:%Y-%m-%d %H:%M}",
        )
        for one in found
    ]
    show_table(("DATASET", "NAME", "ROWS", "COLUMNS", "CREATED"), rows)


@data.command()
@click.argument("dataset")
@output_option
def show(dataset: str, output: str) -> None:
    """Tell everything about a data set."""
    found = client().datasets.get(dataset)
    if output == "json":
        show_json(as_json(found.message))
        return
    show_fields(
        [
            ("name", found.name),
            ("display name", found.message.display_name),
            ("rows", str(found.row_count)),
            ("format", " ".join(word for word in (found.format, found.message.encoding) if word)),
            ("bytes", str(found.message.size_bytes)),
            ("sha256", found.sha256),
            ("created", f"{found.create_time:%Y-%m-%d %H:%M:%S} UTC"),
        ]
    )
    click.echo()
    rows = [
        (column.name, type_name(column), str(column.missing_count or ""), ", ".join(column.categories[:8]))
        for column in found.message.columns
    ]
    show_table(("COLUMN", "TYPE", "MISSING", "CATEGORIES"), rows)


@data.command()
@click.argument("dataset")
@click.option("-n", "--rows", default=10, show_default=True, type=click.IntRange(1, 1000), help="So many rows.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
def head(dataset: str, rows: int, output: str) -> None:
    """Show the first rows."""
    columns = client().datasets.head(dataset, rows)
    if output == "json":
        show_json(columns)
        return
    lines = [[_cell(value) for value in row] for row in zip(*columns.values(), strict=True)]
    if output == "csv":
        csv.writer(sys.stdout, lineterminator="\n").writerows([list(columns), *lines])
    else:
        show_table(list(columns), lines)


@data.command()
@click.argument("dataset")
@output_option
def profile(dataset: str, output: str) -> None:
    """Describe every column by figures over every row."""
    found = client().datasets.profile(dataset)
    if output == "json":
        show_json(as_json(found.message))
    else:
        show_profile(found)


@data.command()
@click.argument("datasets", metavar="DATASET...", nargs=-1, required=True)
def rm(datasets: tuple[str, ...]) -> None:
    """Remove data sets; without a version, all versions. Models that were trained with them stay."""
    server = client()
    for one in datasets:
        server.datasets.delete(one)
        hint(f"removed {one}")


def _slug(stem: str) -> str:
    """An id of a file's name: `House Prices_2.csv` -> `house-prices-2`."""
    slug = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:63]
    if not re.match(r"[a-z]", slug):
        raise click.UsageError(f"no id can be made of {stem!r}; give one with --name")
    return slug


def _column_type(text: str) -> tuple[str, str]:
    """`zip=CATEGORY`; a column's name may hold an equals sign."""
    column, equals, kind = text.rpartition("=")
    if not equals or not column:
        raise click.UsageError(f"{text!r} is no COLUMN=TYPE; write it like zip=CATEGORY")
    return column, kind


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _progress(sent: int, size: int) -> None:
    if size >= SHOW_PROGRESS_FROM and sys.stderr.isatty():
        end = "\n" if sent == size else ""
        sys.stderr.write(f"\r{sent / (1 << 20):.0f} of {size / (1 << 20):.0f} MiB\x1b[K{end}")
        sys.stderr.flush()
