"""A limit of time that costs nothing where there is nothing to wait for."""

import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

from service.calling.methods import within

Result = TypeVar("Result")


async def at_most(seconds: float, what: str, work: Coroutine[Any, Any, Result]) -> Result:
    """What `work` comes to. Raises DeadlinePassed as `within` does; its timer is set only once `work` waits.

    Most requests are whole when they are looked at, and most answers go at once: a timer that is set and taken back for
    these would cost as much as a small prediction.
    """
    try:
        awaited = work.send(None)
    except StopIteration as done:
        result: Result = done.value
        return result
    async with within(seconds, what):
        return await _go_on(work, awaited)


@types.coroutine
def _go_on(work: Coroutine[Any, Any, Result], awaited: Any) -> Generator[Any, None, Result]:
    """The rest of a coroutine that waits for `awaited`, in the task in which it was begun."""
    while True:
        try:
            try:
                yield awaited
            except BaseException as error:  # noqa: BLE001 - a cancellation, for one, is for the work
                awaited = work.throw(error)
            else:
                awaited = work.send(None)
        except StopIteration as done:
            result: Result = done.value
            return result
