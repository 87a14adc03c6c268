"""Which language a person is spoken to in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def language_of(environ: Mapping[str, str]) -> str:
    """`ko` where the terminal's language is Korean, else `en`."""
    spoken = environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG") or ""
    return "ko" if spoken.startswith("ko") else "en"
