"""The client's profile of the user who starts a server: where it listens and which token opens it."""

import os
import pathlib
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

from traind.private_files import changing, replace
from traind.profile_text import NotProfiles, OtherForm, change_text, profiles_of

NAME = "default"


def profile_path() -> pathlib.Path:
    """Where the client looks: `~/.config/traind/config.toml`, or below $XDG_CONFIG_HOME."""
    return pathlib.Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "traind" / "config.toml"


def write_profile(path: pathlib.Path, *, grpc_url: str, http_url: str, token: str) -> str:
    """Write the default profile, unless it is that of another server; say in a sentence what was done."""

    def change(known: Mapping[str, Any]) -> tuple[dict[str, str], str]:
        if known and known.get("url") != grpc_url:
            return {}, f"the default profile in {path} is of {known.get('url')} and stays as it is"
        done = f"{'replaced' if known else 'kept'} as the default profile in {path}"
        return {"url": grpc_url, "http": http_url, "token": token}, done

    return _change(path, change)


def follow_server(path: pathlib.Path, *, grpc_url: str, http_url: str, opens: Callable[[str], bool]) -> str:
    """At a later start: have the default profile name the ports where the server listens now.

    That is if its token `opens` this server, and it names the same host: another one was chosen by a person, for
    instance the name in a certificate. Says in a sentence what was done; empty where there was nothing to do.
    """

    def change(known: Mapping[str, Any]) -> tuple[dict[str, str], str]:
        token, new = known.get("token"), {"url": grpc_url, "http": http_url}
        moved = {**known, **new} != known and _host(known.get("url")) == _host(grpc_url)
        if not moved or not isinstance(token, str) or not opens(token):
            return {}, ""
        return new, f"the default profile in {path} was of {known.get('url')}, and names {grpc_url} now"

    return _change(path, change) if path.exists() else ""


def _host(url: object) -> str | None:
    try:
        return urllib.parse.urlsplit(url).hostname if isinstance(url, str) else None
    except ValueError:
        return None


def _change(path: pathlib.Path, change: Callable[[Mapping[str, Any]], tuple[dict[str, str], str]]) -> str:
    """Make the changes that `change` tells of what the profile holds; answers its sentence, or why nothing was done.

    Writers of profiles, `traind login` among them, wait for each other.
    """
    try:
        with changing(path) as file:
            text = file.read_text(encoding="utf-8") if file.exists() else ""
            changes, done = change(profiles_of(text).get(NAME, {}))
            if changes:
                replace(file, change_text(text, NAME, changes))
            return done
    except (NotProfiles, UnicodeDecodeError):
        return f"{path} is no TOML file of profiles and stays as it is"
    except OtherForm:
        return f"the default profile in {path} is in a form that cannot be changed here, and stays as it is"
    except OSError as error:
        return f"{path} cannot be written: {error.strerror}"


def write_secret(path: pathlib.Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    scratch.replace(path)
