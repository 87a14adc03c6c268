"""`traind open`."""

from __future__ import annotations

import os
import shlex
import webbrowser
from typing import TYPE_CHECKING

import click

from traind.checkup import http_address
from traind.cli.session import client, find_job, hint
from traind.config import load_config, parse_url, read_profiles

if TYPE_CHECKING:
    from traind.config import Config


@click.command(name="open")
@click.argument("id_", metavar="[ID]", default="")
@click.option("--no-browser", is_flag=True, help="Print the address only.")
def open_(id_: str, no_browser: bool) -> None:
    """Open the server's pages in a browser, and print their address.

    With the ID of a job, or the beginning of one, or @last, its address over REST is printed; no browser is opened
    there, for it could not send your token.
    """
    with client() as server:
        home = _home() or http_address(_config().address, server.server_info().http_port)
        if id_:
            url = f"{home}/v1/{find_job(server, id_).name}"
            click.echo(url)
            hint(f'next  curl -H "authorization: Bearer $TRAIND_TOKEN" {shlex.quote(url)}')
            return
    url = f"{home}/docs"
    click.echo(url)
    if not no_browser and not webbrowser.open(url):
        hint("there is no browser here; open the address in one that reaches the server")


def _home() -> str:
    """The address of REST that the profile tells, where calls go to the profile's server; else empty."""
    options = click.get_current_context().obj or {}
    name = options.get("profile") or os.environ.get("TRAIND_PROFILE") or "default"
    found = read_profiles(os.environ).get(name)
    profile = found if isinstance(found, dict) else {}
    given = profile.get("url")
    if not given or parse_url(str(given), f"url of profile {name!r}") != _config().address:
        return ""
    told = profile.get("http", "")
    return told.rstrip("/") if isinstance(told, str) and told.startswith(("http://", "https://")) else ""


def _config() -> Config:
    options = click.get_current_context().obj or {}
    return load_config(options.get("url"), None, options.get("profile"), os.environ)
