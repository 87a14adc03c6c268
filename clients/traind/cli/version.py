"""`traind version`."""

from __future__ import annotations

import click

from traind.cli.session import hint
from traind.client import Client
from traind.errors import TraindError
from traind.version import __version__
from traind.version_skew import skew_warning


@click.command()
def version() -> None:
    """Tell the version of this client, and of the server if it can be reached; warn where they are far apart."""
    click.echo(f"client {__version__}")
    options = click.get_current_context().obj or {}
    server = Client(options.get("url"), profile=options.get("profile"), max_retries=0, connect_timeout=2.0)
    try:
        info = server.server_info()
    except TraindError as error:
        hint(f"server unknown: {error}")
        return
    click.echo(f"server {info.version}")
    if warning := skew_warning(__version__, info.version, info.min_client_version):
        hint(f"warning: {warning}")
