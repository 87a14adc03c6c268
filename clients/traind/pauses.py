"""How the client waits for time and for disks; aio/pauses.py is its twin."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def off_loop(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what may take a while; nothing else has to go on here."""
    return function(*args, **kwargs)
