"""`traind whoami`."""

from __future__ import annotations

import os

import click

from traind.cli.output import output_of
from traind.cli.session import client, show_fields, show_json
from traind.config import load_config, shown_token


@click.command()
@output_of("table", "json")
def whoami(output: str) -> None:
    """Tell whom the server takes you for, and where its address and your token came from."""
    options = click.get_current_context().obj or {}
    config = load_config(options.get("url"), None, options.get("profile"), os.environ)
    info = client().server_info()
    told: dict[str, str | list[str]] = {
        "user": info.user,
        "scopes": list(info.scopes),
        "server": config.address.url,
        "server_from": config.address_from,
        "token": shown_token(config.token),
        "token_from": config.token_from,
    }
    if output == "json":
        show_json(told)
    else:
        show_fields([(key.replace("_", " "), _text(value)) for key, value in told.items()])


def _text(value: str | list[str]) -> str:
    return value if isinstance(value, str) else ", ".join(value)
