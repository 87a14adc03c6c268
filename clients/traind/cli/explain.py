"""`traind explain`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from traind.cli import exit_code
from traind.cli.output import output_of
from traind.cli.session import show_json, show_table
from traind.languages import language_of
from traind.reason_pages import KINDS, LABELS
from traind.reasons import LANGUAGES, every_reason, find_reasons

if TYPE_CHECKING:
    from traind.reasons import Reason


def _complete(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    names = dict.fromkeys(reason.name for reason in every_reason())
    return [name for name in names if name.startswith(incomplete.upper())]


@click.command()
@click.argument("reason", metavar="[REASON]", default="", shell_complete=_complete)
@click.option("--lang", type=click.Choice(LANGUAGES), help="Language; else by LANG.")
@output_of("table", "json")
def explain(reason: str, lang: str | None, output: str) -> None:
    """Explain a reason by name: of an error, of a job that FAILED, or a finding. Without a name, list them all.

    Needs no server.
    """
    language = lang or language_of(os.environ)
    found = find_reasons(reason) if reason else list(every_reason())
    if output == "json":
        show_json([_fields(one, language) for one in found])
    elif reason:
        click.echo("\n\n".join(_page(one, language) for one in found))
    else:
        rows = [(one.name, KINDS[language][one.kind], one.told(language).meaning) for one in found]
        show_table(LABELS[language]["columns"].split(), rows, whole=True)


def _fields(reason: Reason, language: str) -> dict[str, str | int]:
    told = reason.told(language)
    fields: dict[str, str | int] = {"name": reason.name, "kind": reason.kind}
    if reason.code:
        fields |= {"code": reason.code, "http": reason.http}
    if reason.raised is not None:
        # Nothing of the error but its kind is asked for.
        code = exit_code(reason.raised.__new__(reason.raised))
        fields |= {"exit": code, "python": f"traind.{reason.raised.__name__}"}
    return fields | {"meaning": told.meaning, "cause": told.cause, "cure": told.cure}


def _page(reason: Reason, language: str) -> str:
    fields, labels = _fields(reason, language), LABELS[language]
    codes = [f"gRPC {reason.code} · HTTP {reason.http}"] if reason.code else []
    if reason.raised is not None:
        codes.append(f"{labels['exit']} {fields['exit']} · {fields['python']}")
    lines = [f"{reason.name}  ({KINDS[language][reason.kind]})"]
    lines += [f"  {' · '.join(codes)}"] if codes else []
    return "\n".join([*lines, *(f"  {labels[key]}  {fields[key]}" for key in ("meaning", "cause", "cure"))])
