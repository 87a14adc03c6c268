"""`traind login` and `traind logout`."""

from __future__ import annotations

import os
import pathlib
import sys
import warnings
from typing import TYPE_CHECKING, Any

import click

from traind.cli.session import hint
from traind.client import Client
from traind.config import DEFAULT_ADDRESS, checked_token, parse_url, profile_file, read_profiles, shown_token
from traind.errors import ConfigError
from traind.profile_files import write_profile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from traind.config import Address
    from traind.v1 import server_pb2

_url = click.option("--url", metavar="URL", help="The server: grpc://HOST:8081. Else TRAIND_URL, else the profile's.")
_profile = click.option("--profile", metavar="NAME", help="Which profile. Else TRAIND_PROFILE, else `default`.")


@click.command()
@_url
@_profile
@click.option("--token-stdin", is_flag=True, help="Read the token from stdin instead of asking for it.")
def login(url: str | None, profile: str | None, token_stdin: bool) -> None:
    """Keep a server's address and your token in a profile, once the server has taken the token.

    The token is asked for and not shown; it is never an argument, for others on this machine can read those.
    """
    name = _profile_name(profile)
    known = _known(name)
    address = _address(url, name, known)
    if not address.tls and not address.private:
        hint(f"warning: the token will go to {address.url} in the clear, where others may read it; use grpcs:// there")
    token = _ask(address, from_stdin=token_stdin)
    info = _try(address, token, name if known else None)
    changes = {"url": address.url, "token": token, "token_file": None}
    if parse_url(str(known.get("url") or DEFAULT_ADDRESS.url), f"url of profile {name!r}") != address or not known:
        changes |= {"http": _http(address, info), "tls_ca": None}
    if ca := os.environ.get("TRAIND_TLS_CA", "").strip():
        # By whom the server was trusted now it shall be trusted the next time.
        changes["tls_ca"] = str(pathlib.Path(ca).expanduser().resolve())
    file = write_profile(name, changes, os.environ)
    click.echo(f"signed in at {address.url} as {info.user} ({', '.join(info.scopes)})")
    hint(f"kept as the profile {name!r} in {file}")
    _tell_what_stands_over(name, address)


@click.command()
@_profile
def logout(profile: str | None) -> None:
    """Remove the token from a profile of this machine; on the server it lives on."""
    name = _profile_name(profile)
    known = _known(name)
    if not known.get("token") and not known.get("token_file"):
        hint(f"the profile {name!r} in {profile_file(os.environ)} holds no token; nothing was changed")
        return
    token = known.get("token")
    file = write_profile(name, {"token": None, "token_file": None}, os.environ)
    click.echo(f"the token is gone from the profile {name!r} in {file}")
    if isinstance(token, str):
        kind = shown_token(token).rstrip("_…")
        hint(
            "the token itself lives on and opens the server for whoever has it; on the server's machine it ends with: "
            f"python -m service user revoke {kind or 'ID'}"
        )
    else:
        hint(f"its file {known['token_file']} stays, and the token in it lives on")
    for variable in ("TRAIND_TOKEN", "TRAIND_TOKEN_FILE"):
        if os.environ.get(variable, "").strip():
            hint(f"note: {variable} is set, and commands go on using its token")


def _profile_name(given: str | None) -> str:
    options = click.get_current_context().obj or {}
    name = given or options.get("profile") or os.environ.get("TRAIND_PROFILE") or "default"
    if not name.isprintable() or name != name.strip():
        raise ConfigError(f"{name!r} is no name of a profile", fix="use letters, digits and hyphens")
    return str(name)


def _known(name: str) -> dict[str, Any]:
    """What the profile holds by now; empty where there is none."""
    found = read_profiles(os.environ).get(name)
    return found if isinstance(found, dict) else {}


def _address(url: str | None, name: str, known: Mapping[str, Any]) -> Address:
    options = click.get_current_context().obj or {}
    if given := url or options.get("url"):
        return parse_url(given, "the url")
    if given := os.environ.get("TRAIND_URL", "").strip():
        return parse_url(given, "TRAIND_URL")
    if given := known.get("url"):
        return parse_url(str(given), f"url of profile {name!r}")
    return DEFAULT_ADDRESS


def _ask(address: Address, *, from_stdin: bool) -> str:
    if from_stdin:
        return checked_token(sys.stdin.read(), "what came on stdin")
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask at; pipe the token in and say --token-stdin")
    return checked_token(click.prompt(f"Token for {address.url}", hide_input=True, err=True), "what was typed")


def _try(address: Address, token: str, profile: str | None) -> server_pb2.ServerInfo:
    """Ask the server whom it takes the token for. Raises AuthRequired where it takes it for nobody."""
    with warnings.catch_warnings(), Client(address.url, token=token, profile=profile) as client:
        warnings.simplefilter("ignore", UserWarning)  # of a token in the clear: it has been told before
        return client.server_info()


def _http(address: Address, info: server_pb2.ServerInfo) -> str | None:
    """Where REST is; None where something stands between that has ports of its own."""
    if not info.http_port or info.grpc_port != address.port:
        return None
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"http{'s' if address.tls else ''}://{host}:{info.http_port}"


def _tell_what_stands_over(name: str, address: Address) -> None:
    """Variables win over a profile, and who has just signed in wonders why nothing changed."""
    if name not in {"default", os.environ.get("TRAIND_PROFILE")}:
        hint(f"use it with --profile {name} or TRAIND_PROFILE={name}")
    given = os.environ.get("TRAIND_URL", "").strip()
    if given and parse_url(given, "TRAIND_URL") != address:
        hint(f"note: TRAIND_URL is set to {given} and stands over the profile")
    for variable in ("TRAIND_TOKEN", "TRAIND_TOKEN_FILE"):
        if os.environ.get(variable, "").strip():
            hint(f"note: {variable} is set and stands over the profile's token")
