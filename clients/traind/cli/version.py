"""`traind version`."""

from __future__ import annotations

import click

from traind.cli.session import hint
from traind.client import Client
from traind.errors import TraindError
from traind.version import __version__


@click.command()
def version() -> None:
    """Tell the version of this client, and of the server if it can be reached."""
    click.echo(f"client {__version__}")
    options = click.get_current_context().obj or {}
    server = Client(options.get("url"), profile=options.get("profile"), max_retries=0, connect_timeout=2.0)
    try:
        click.echo(f"server {server.server_info().version}")
    except TraindError as error:
        hint(f"server unknown: {error}")
