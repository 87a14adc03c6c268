"""The client's profile of the user who starts a server: where it listens and which token opens it."""

import json
import os
import pathlib
import tomllib
from typing import Any

HEADER = "[profiles.default]"


def profile_path() -> pathlib.Path:
    """Where the client looks: `~/.config/traind/config.toml`, or below $XDG_CONFIG_HOME."""
    return pathlib.Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "traind" / "config.toml"


def write_profile(path: pathlib.Path, *, grpc_url: str, http_url: str, token: str) -> str:
    """Write the default profile, unless it is that of another server; say in a sentence what was done."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    try:
        known: dict[str, Any] = tomllib.loads(text).get("profiles", {}).get("default", {})
    except (tomllib.TOMLDecodeError, AttributeError):
        return f"{path} is no TOML file of profiles and stays as it is"
    if known and known.get("url") != grpc_url:
        return f"the default profile in {path} is of {known.get('url')} and stays as it is"
    lines = {"url": grpc_url, "http": http_url, "token": token}
    section = "\n".join([HEADER, *(f"{name} = {json.dumps(value)}" for name, value in lines.items())]) + "\n"
    _write_private(path, _without_default(text) + section)
    return f"{'replaced' if known else 'kept'} as the default profile in {path}"


def _without_default(text: str) -> str:
    """The file without the section that is written anew; other profiles and comments stay."""
    kept, skipping = [], False
    for line in text.splitlines():
        if line.lstrip().startswith("["):
            skipping = line.strip() == HEADER
        if not skipping:
            kept.append(line)
    joined = "\n".join(kept).strip("\n")
    return f"{joined}\n\n" if joined else ""


def _write_private(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    write_secret(path, text)


def write_secret(path: pathlib.Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    scratch.replace(path)
