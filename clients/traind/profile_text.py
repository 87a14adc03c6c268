"""Changes a profile within the text of ~/.config/traind/config.toml, whose form config.py tells.

A text that people edit too: only the lines of the keys that change are touched, comments and everything unknown stay as
they are. What comes out is read again, so that a form that this cannot change (a profile written as an inline table,
say) is refused and never spoilt.
"""

from __future__ import annotations

import contextlib
import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class NotProfiles(ValueError):
    """The text is no TOML, or holds other things than profiles under `profiles`; it says which."""


class OtherForm(ValueError):
    """The profile is written in a form that cannot be changed here."""


def profiles_of(text: str) -> dict[str, dict[str, Any]]:
    """Every profile by its name. Raises NotProfiles."""
    profiles: dict[str, dict[str, Any]] = _parse(text).get("profiles", {})
    return profiles


def change_text(text: str, name: str, changes: Mapping[str, str | None]) -> str:
    """The text with keys of one profile set, or removed where they are None. Raises NotProfiles and OtherForm."""
    wanted = _parse(text)
    profile = wanted.setdefault("profiles", {}).setdefault(name, {})
    for key, value in changes.items():
        if value is None:
            profile.pop(key, None)
        else:
            profile[key] = value
    changed = _with_lines(text, name, changes)
    with contextlib.suppress(tomllib.TOMLDecodeError):
        if tomllib.loads(changed) == wanted:
            return changed
    raise OtherForm(name)


def header_of(name: str) -> str:
    """The line that begins a profile: `[profiles.default]`."""
    return f"[profiles.{name if _BARE_KEY.fullmatch(name) else toml_string(name)}]"


def toml_string(text: str) -> str:
    """A text in quotes as TOML has it: JSON's escapes, and one for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _parse(text: str) -> dict[str, Any]:
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise NotProfiles(f"cannot be read: {error}") from None
    profiles = found.get("profiles", {})
    if not isinstance(profiles, dict) or not all(isinstance(one, dict) for one in profiles.values()):
        raise NotProfiles("holds other things than profiles under `profiles`")
    return found


def _with_lines(text: str, name: str, changes: Mapping[str, str | None]) -> str:
    new = [f"{key} = {toml_string(value)}\n" for key, value in changes.items() if value is not None]
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    start = next((i for i, line in enumerate(lines) if _is_header(line, name)), None)
    if start is None:
        gap = ["\n"] if lines and lines[-1].strip() else []
        return "".join([*lines, *gap, f"{header_of(name)}\n", *new])
    end = next((i for i in range(start + 1, len(lines)) if lines[i].lstrip().startswith("[")), len(lines))
    kept = [line for line in lines[start + 1 : end] if _key(line) not in changes]
    return "".join([*lines[: start + 1], *new, *kept, *lines[end:]])


def _is_header(line: str, name: str) -> bool:
    """Whether a line begins this profile, however its name is quoted."""
    if not line.lstrip().startswith("["):
        return False
    with contextlib.suppress(tomllib.TOMLDecodeError):
        return tomllib.loads(line) == {"profiles": {name: {}}}
    return False


def _key(line: str) -> str | None:
    """The key that a line sets, None where it is no whole statement of one."""
    with contextlib.suppress(tomllib.TOMLDecodeError):
        return next(iter(tomllib.loads(line)), None)
    return None
