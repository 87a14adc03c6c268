"""Writes profiles into ~/.config/traind/config.toml, whose form config.py tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traind.config import profile_file, read_profiles_text
from traind.errors import ConfigError
from traind.private_files import changing, replace
from traind.profile_text import NotProfiles, OtherForm, change_text, header_of

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Mapping


def write_profile(name: str, changes: Mapping[str, str | None], environ: Mapping[str, str]) -> pathlib.Path:
    """Set keys of the profile `name`, or remove those that are None; answers the file.

    The file is its owner's alone (0600, in a folder of 0700) and replaced whole; writers wait for each other. Raises
    ConfigError where the file cannot be read, may be read by others, or is written in a form this cannot change.
    """
    path = profile_file(environ)
    try:
        with changing(path) as file:
            replace(file, change_profile(read_profiles_text(file), name, changes, str(file)))
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    return file


def change_profile(text: str, name: str, changes: Mapping[str, str | None], source: str) -> str:
    """The text of a profile file with one profile changed. Raises ConfigError naming `source`."""
    try:
        return change_text(text, name, changes)
    except NotProfiles as error:
        raise ConfigError(f"{source} {error}", fix="mend it, or delete it") from None
    except OtherForm:
        raise ConfigError(
            f"the profile {name!r} in {source} is written in a form that cannot be changed here",
            fix=f"write it as a section of its own, {header_of(name)} with one key a line, or change it by hand",
        ) from None
