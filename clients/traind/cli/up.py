"""`traind up`."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import sys

import click

from traind.errors import TraindError


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def up(options: tuple[str, ...]) -> None:
    """Start a server on this machine; Ctrl-C stops it.

    OPTIONS are those of `python -m service up`.
    """
    checkout = find_checkout()
    # The code may lie beside a client that was installed without what it needs.
    if checkout is None or importlib.util.find_spec("sqlalchemy") is None:
        raise TraindError(
            "the server is not installed here: this is the client alone",
            fix="get the source of traind and run `make up` in it, or run its image;\n"
            "then say where it is: TRAIND_URL=grpc://HOST:8081",
        )
    path = os.pathsep.join(filter(None, [str(checkout), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-m", "service", "up", *options]
    # In place of this process, so that signals and the exit code are the server's own.
    os.execve(sys.executable, command, {**os.environ, "PYTHONPATH": path})  # noqa: S606 - no shell is wanted


def find_checkout() -> pathlib.Path | None:
    """The folder that holds the server's code: where Python finds it, or the checkout this client is part of."""
    found = importlib.util.find_spec("service")
    candidates = [pathlib.Path(place).parent for place in (found.submodule_search_locations or [])] if found else []
    candidates += [pathlib.Path(__file__).resolve().parents[3], pathlib.Path.cwd()]
    # The folder's name alone says little: others call their packages `service` too.
    return next((c for c in candidates if (c / "service/__main__.py").exists() and (c / "proto/traind").exists()), None)
