"""How a command writes its result: one rule for all of them, of which only the data goes to stdout.

table   for people; cut to the terminal's width, whole where stdout is none
json    the API's messages: an object where one thing was named, a list where several were, or all are listed
jsonl   the same, one object a line
csv     a header and a line each, with whole names; a text that a spreadsheet would compute is behind an apostrophe
id      the names alone, one a line: jobs/ID, datasets/ID, models/ID
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from traind.cli.csv_lines import show_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

FORMS = ("table", "json", "jsonl", "csv", "id")
_CHOSEN = "traind.output"

Command = Any  # a function with the options of a command


def output_of(*forms: str) -> Callable[[Command], Command]:
    """The options `-o`, `--json` and, where names can be written, `-q`; the first form is the default."""

    def choose(ctx: click.Context, param: click.Parameter, value: str) -> str:
        noted: dict[str, str] = ctx.meta.get(_CHOSEN, {})
        if ctx.get_parameter_source(str(param.name)) == ParameterSource.COMMANDLINE:
            noted = {f"-o {value}": value} | noted
        if len(set(noted.values())) > 1:
            raise click.UsageError(f"{' and '.join(noted)} ask for different forms of stdout; give one of them")
        return next(iter(noted.values()), value)

    def short(option: str, form: str) -> Callable[[click.Context, click.Parameter, bool], None]:
        def note(ctx: click.Context, _: click.Parameter, given: bool) -> None:
            if given:
                ctx.meta.setdefault(_CHOSEN, {})[option] = form

        return note

    def add(command: Command) -> Command:
        options = [
            click.option(
                *("-o", "--output"),
                type=click.Choice(forms),
                default=forms[0],
                show_default=True,
                callback=choose,
                help="Form of stdout.",
            ),
            # They are noted before the one above looks.
            click.option(
                "--json",
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=short("--json", "json"),
                help="As -o json.",
            ),
        ]
        if "id" in forms:
            options.append(
                click.option(
                    *("-q", "--quiet"),
                    is_flag=True,
                    is_eager=True,
                    expose_value=False,
                    callback=short("-q", "id"),
                    help="As -o id.",
                )
            )
        for option in reversed(options):
            command = option(command)
        return command

    return add


output_option = output_of(*FORMS)


def show(
    output: str,
    values: Sequence[Mapping[str, Any]],
    *,
    table: Callable[[], None],
    ids: Iterable[str] = (),
    records: Iterable[Mapping[str, Any]] | None = None,
    several: bool = False,
) -> None:
    """Write results in the form that was asked for.

    `values` are what JSON tells of each, `records` what a line of CSV does (else the values themselves), `table` writes
    the form for people. With `several` JSON is a list even of one.
    """
    match output:
        case "json":
            show_json(list(values) if several else values[0])
        case "jsonl":
            for value in values:
                click.echo(json.dumps(value, ensure_ascii=False))
        case "csv":
            show_records(list(values if records is None else records))
        case "id":
            for name in ids:
                click.echo(name)
        case _:
            table()


def show_json(value: Any) -> None:
    """JSON on stdout: messages as the API writes them."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
