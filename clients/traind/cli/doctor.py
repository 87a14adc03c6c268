"""`traind doctor`."""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from traind.checkup import NEEDED_TO_TRAIN, Look, look_at_client, look_at_rest, look_at_server, look_at_way
from traind.cli import exit_code
from traind.cli.output import output_of
from traind.cli.session import client, show_json
from traind.config import load_config
from traind.display import printable
from traind.errors import AuthRequired, ConfigError, ConnectionFailed, TraindError, Unavailable
from traind.trial import try_training

if TYPE_CHECKING:
    from collections.abc import Iterator

_COLOURS = {"ok": "green", "warn": "yellow", "bad": "red"}


@click.command()
@click.option("--no-train", is_flag=True, help="Leave out the small training and its prediction.")
@output_of("table", "json")
def doctor(no_train: bool, output: str) -> int:
    """Look at client, server and all between, then train a little and predict.

    Exit code: 0 if nothing is bad, 1 if something is, 4 without a token that the server takes, 6 without a server.
    """
    seen: list[Look] = []
    code = 1
    try:
        for look in _looks(train=not no_train):
            _see(look, seen, output)
    except TraindError as error:
        _see(Look("bad", _about(error), error.message, error.fix), seen, output)
        if isinstance(error, AuthRequired | ConnectionFailed | Unavailable):
            code = exit_code(error)
    well = all(look.level != "bad" for look in seen)
    if output == "json":
        show_json({"ok": well, "checks": [asdict(look) for look in seen]})
    return 0 if well else code


def _looks(*, train: bool) -> Iterator[Look]:
    yield look_at_client()
    options = click.get_current_context().obj or {}
    config = load_config(options.get("url"), None, options.get("profile"), os.environ)
    yield from look_at_way(config, os.environ)
    with warnings.catch_warnings(), client() as server:
        warnings.simplefilter("ignore", UserWarning)  # what they would tell is told in lines of their own
        server.server_info()
        began = time.monotonic()
        info = server.server_info()  # the second, for the first one connects
        yield from look_at_server(config, info, time.monotonic() - began)
        yield from look_at_rest(config, info)
        if train and set(NEEDED_TO_TRAIN) <= set(info.scopes):
            yield from try_training(server)


def _about(error: TraindError) -> str:
    """What a line is called whose look ended in an error."""
    match error:
        case AuthRequired():
            return "token"
        case ConnectionFailed() | Unavailable():
            return "server"
        case ConfigError():
            return "address"
        case _:
            return "calls"


def _see(look: Look, seen: list[Look], output: str) -> None:
    """Note a look, and show it at once to whoever waits."""
    seen.append(look)
    if output == "json":
        return
    mark = f"{look.level:<4}"
    click.echo(f"{mark if 'NO_COLOR' in os.environ else click.style(mark, fg=_COLOURS[look.level])} ", nl=False)
    click.echo(f"{look.name}: {printable(look.text)}")
    for i, line in enumerate(look.cure.splitlines()):
        click.echo(f"     {'fix  ' if i == 0 else '     '}{printable(line)}")
