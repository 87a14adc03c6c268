"""`traind init`."""

from __future__ import annotations

import json
import os
import pathlib
import re
from typing import TYPE_CHECKING, Any

import click

from traind.cli.session import as_json, client, hint, show_json, show_table
from traind.languages import language_of
from traind.names import short_name
from traind.specs import plain

if TYPE_CHECKING:
    from traind.profiles import Proposal

HEADERS = {"en": ("FIELD", "WHY"), "ko": ("항목", "이유")}


@click.command()
@click.argument("dataset", metavar="DATA")
@click.option("--target", required=True, metavar="COLUMN", help="The column to predict.")
@click.option("--model", metavar="ID", help="The id of the model; else the target's name, or the data set's.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=pathlib.Path), help="Write the spec there.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@click.option("--lang", type=click.Choice(["en", "ko"]), help="Language of the reasons; else by LANG.")
@click.option("--json", "whole", is_flag=True, help="Print the whole answer as JSON: spec, reasons, findings.")
def init(
    dataset: str,
    target: str,
    model: str | None,
    output: pathlib.Path | None,
    force: bool,
    lang: str | None,
    whole: bool,
) -> None:
    """Propose a spec to predict a column of DATA, with a reason for each line.

    Prints the spec, which `traind run` takes as it is; reasons go to stderr.
    """
    if output is not None and output.exists() and not force:
        raise click.UsageError(f"{output} is there already; --force writes over it")
    if output is not None and output.suffix != ".json":
        raise click.UsageError(f"{output} would be JSON; let its name end in .json")
    found = client().datasets.propose(dataset, target)
    if whole:
        show_json(as_json(found.message))
        return
    job = _job(found, model or _model_id(target, found.dataset))
    if output is None:
        show_json(job)
    else:
        output.write_text(json.dumps(job, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        click.echo(output)
    _tell(found, lang or language_of(os.environ))
    hint(f"next  traind run {output or 'SPEC.json'}")


def _job(found: Proposal, model: str) -> dict[str, Any]:
    """The job that submits the proposal, with its version of the data set, so that it means the same tomorrow."""
    return {"dataset": short_name(found.dataset), "model": model, "train": plain(found.train)}


def _model_id(target: str, dataset: str) -> str:
    """An id of the target's name: `Sale Price` -> `sale-price`; of the data set's where no Latin letter leads it."""
    slug = re.sub(r"[^a-z0-9]+", "-", target.lower()).strip("-")[:63].strip("-")
    if re.match(r"[a-z]", slug):
        return slug
    return short_name(dataset).rpartition(":")[0].rpartition(".")[2]


def _tell(found: Proposal, language: str) -> None:
    """The reasons and what to know before, beside the data."""
    reasons = [(reason.field, reason.text(language)) for reason in found.reasons]
    show_table(HEADERS[language], reasons, err=True, whole=True)
    for finding in found.findings:
        hint(f"note  {finding.message}")
