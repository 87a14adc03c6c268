"""How the client waits for time and for disks without holding up the event loop; ../pauses.py is its twin."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


async def sleep(seconds: float) -> None:
    """Wait while others go on."""
    await asyncio.sleep(seconds)


async def off_loop(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what may take a while in a thread of its own, while the event loop goes on."""
    return await asyncio.to_thread(function, *args, **kwargs)
