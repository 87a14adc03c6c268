"""Where webhooks go: a file of the administrator, by the names that jobs use. No URL ever comes from a job."""

import base64
import binascii
import pathlib
import re
import tomllib
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.settings import SettingError

MOST_TARGETS = 32
SECRET_BYTES = (24, 64)
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_PREFIX = "whsec_"
_CURE = f"make one with: echo {_PREFIX}$(openssl rand -base64 32)"


@dataclass(frozen=True)
class Target:
    """One receiver."""

    name: str
    url: str
    # The key that what is sent is signed with.
    key: bytes = field(repr=False)


def load_targets(path: pathlib.Path | None) -> dict[str, Target]:
    """The targets by name; none where no file is set. Raises SettingError naming the file, the target and the cure."""
    if path is None:
        return {}
    try:
        if path.stat().st_mode & 0o077:
            raise SettingError(f"TRAIND_WEBHOOKS: others may read {path}, which holds secrets: chmod 600 {path}")
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"TRAIND_WEBHOOKS: {path} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise SettingError(f"TRAIND_WEBHOOKS: {path} is no TOML: {error}") from None
    if len(found) > MOST_TARGETS:
        raise SettingError(f"TRAIND_WEBHOOKS: {path} names {len(found)} targets, and {MOST_TARGETS} is the most")
    return {name: _target(path, name, table) for name, table in found.items()}


def _target(path: pathlib.Path, name: str, table: Any) -> Target:
    where = f"TRAIND_WEBHOOKS: [{name}] in {path}"
    if not _NAME.fullmatch(name):
        raise SettingError(f"{where}: a name is made of a-z, 0-9 and -, begins with a letter, at most 63 characters")
    if not isinstance(table, Mapping) or set(table) - {"url", "secret", "secret_file"}:
        raise SettingError(f"{where} must hold url, and secret or secret_file, and nothing else")
    return Target(name, _url(where, table.get("url")), _key(where, table))


def _url(where: str, url: Any) -> str:
    if isinstance(url, str) and not url.isascii():
        raise SettingError(
            f"{where}: url must be ASCII: write a host of other letters as xn--… and those of its path as %XX"
        )
    parts = _split(url) if isinstance(url, str) and url.isprintable() and " " not in url else None
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingError(f"{where}: url must be http://… or https://… with a host")
    if parts.username is not None or parts.fragment or not _port_fits(parts):
        raise SettingError(f"{where}: url must hold no user, no fragment, and a port from 1 to 65535 if any")
    return str(url)


def _split(url: str) -> urllib.parse.SplitResult | None:
    try:
        return urllib.parse.urlsplit(url)
    except ValueError:  # brackets that hold no address
        return None


def _port_fits(parts: urllib.parse.SplitResult) -> bool:
    try:
        return parts.port is None or parts.port > 0
    except ValueError:
        return False


def _key(where: str, table: Mapping[str, Any]) -> bytes:
    secret = table.get("secret")
    if "secret_file" in table:
        if secret is not None:
            raise SettingError(f"{where} holds secret and secret_file: leave one out")
        try:
            secret = pathlib.Path(str(table["secret_file"])).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            raise SettingError(f"{where}: secret_file cannot be read as text") from None
    if not isinstance(secret, str) or not secret.startswith(_PREFIX):
        raise SettingError(f"{where}: the secret must begin with {_PREFIX}; {_CURE}")
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise SettingError(f"{where}: the secret is no base64 after {_PREFIX}; {_CURE}") from None
    least, most = SECRET_BYTES
    if not least <= len(key) <= most or len(set(key)) < 8:
        raise SettingError(f"{where}: the secret must be {least} to {most} random bytes; {_CURE}")
    return key
