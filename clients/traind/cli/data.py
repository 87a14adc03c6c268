"""`traind data`."""

from __future__ import annotations

import pathlib
import re
import sys
from typing import TYPE_CHECKING, Any

import click

from traind.cli.csv_lines import show_lines
from traind.cli.output import output_of
from traind.cli.profile import show_profile
from traind.cli.session import as_json, client, hint, output_option, show, show_fields, show_objects, show_table
from traind.names import short_name
from traind.profiles import type_name

if TYPE_CHECKING:
    from traind.datasets import Dataset

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
        progress=show_progress,
    )
    name_alone = lambda: click.echo(made.name)  # noqa: E731 - what a table tells of it
    show(output, [as_json(made.message)], table=name_alone, ids=[made.name], records=[made.record()])
    hint(f"      {made.row_count} rows, {len(made.columns)} columns: {', '.join(made.columns)}")
    hint(f"next  traind data profile {short_name(made.name)}  ·  traind init {short_name(made.name)} --target COLUMN")


@data.command(name="list")
@output_option
def list_(output: str) -> None:
    """List every version of every data set, newest first."""
    found = list(client().datasets.list())
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
    show_objects(output, found, lambda: show_table(("DATASET", "NAME", "ROWS", "COLUMNS", "CREATED"), rows))


@data.command(name="show")
@click.argument("dataset")
@output_option
def show_(dataset: str, output: str) -> None:
    """Tell everything about a data set."""
    found = client().datasets.get(dataset)
    told = [as_json(found.message)]
    show(output, told, table=lambda: _show(found), ids=[found.name], records=[found.record()])


def _show(found: Dataset) -> None:
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
@output_of("table", "json", "jsonl", "csv")
def head(dataset: str, rows: int, output: str) -> None:
    """Show the first rows."""
    columns = client().datasets.head(dataset, rows)
    lines = [[_cell(value) for value in row] for row in zip(*columns.values(), strict=True)]
    if output == "csv":
        show_lines([list(columns), *lines])
        return
    by_row = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    values = by_row if output == "jsonl" else [columns]
    show(output, values, table=lambda: show_table(list(columns), lines))


@data.command()
@click.argument("dataset")
@output_of("table", "json")
def profile(dataset: str, output: str) -> None:
    """Describe every column by figures over every row."""
    found = client().datasets.profile(dataset)
    show(output, [as_json(found.message)], table=lambda: show_profile(found))


@data.command()
@click.argument("dataset")
@click.argument("file", type=click.Path(dir_okay=False, path_type=pathlib.Path))
@click.option(
    "--format", "kind", type=click.Choice(["csv", "parquet"], case_sensitive=False), help="Else by the name of FILE."
)
@click.option("--force", is_flag=True, help="Write over FILE if it is there.")
@output_option
def download(dataset: str, file: pathlib.Path, kind: str | None, force: bool, output: str) -> None:
    """Write every row of DATASET into FILE, as CSV or Parquet; `traind data push` takes both back."""
    server = client()
    found = server.datasets.get(dataset)
    try:
        server.datasets.download(found, file, kind or "", overwrite=force)
    except FileExistsError:
        raise click.UsageError(f"{file} is there already; give another name, or --force to write over it") from None
    except OSError as error:
        if error.errno is None:
            raise  # The server's, not the file's.
        raise click.FileError(str(file), error.strerror or "it cannot be written") from None
    size = file.stat().st_size
    path_alone = lambda: click.echo(str(file))  # noqa: E731 - what a table tells of it
    told = {"dataset": found.name, "file": str(file), "sizeBytes": str(size)}
    show(output, [told], table=path_alone, ids=[found.name])
    hint(f"      {found.row_count:,} rows, {len(found.columns)} columns, {size:,} bytes")


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


def show_progress(sent: int, size: int) -> None:
    """How far a file has come, where it is long and somebody looks."""
    if size >= SHOW_PROGRESS_FROM and sys.stderr.isatty():
        end = "\n" if sent == size else ""
        sys.stderr.write(f"\r{sent / (1 << 20):.0f} of {size / (1 << 20):.0f} MiB\x1b[K{end}")
        sys.stderr.flush()
