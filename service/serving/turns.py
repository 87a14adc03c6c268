"""Questions that reach an event loop in one of its turns, answered together; see batching."""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar

from service.calling.calls import Calls
from service.serving import batching
from service.serving.batching import Question

Told = TypeVar("Told")
_Asked: TypeAlias = "tuple[asyncio.Future[Any], Question[Any]]"
# Threads that answer questions of one version; what comes while all of them do waits for the first that is free.
MOST_THREADS = 4


class Turns:
    """What is asked of one event loop. Light questions are answered at the end of a turn, heavy ones on threads."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._light: list[_Asked] = []
        # By version: what waits, and how many tasks look after it.
        self._heavy: dict[str, list[_Asked]] = {}
        self._busy: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, question: Question[Told]) -> Told:
        """What the question is answered with. Raises what is wrong with it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Told] = loop.create_future()
        if question.heavy:
            version = question.named.id
            self._heavy.setdefault(version, []).append((future, question))
            if self._busy[version] < MOST_THREADS:
                self._busy[version] += 1
                # Not in the context of the first, for it is not its alone.
                task = loop.create_task(self._patiently(version), context=contextvars.Context())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        else:
            if not self._light:
                loop.call_soon(self._end_turn)
            self._light.append((future, question))
        return await future

    def _end_turn(self) -> None:
        asked, self._light = self._light, []
        for part in batching.parts(_wanted(asked)):
            _tell(part, batching.answer([question for _, question in part]))

    async def _patiently(self, version: str) -> None:
        """Answer what waits until nothing does."""
        try:
            while asked := _wanted(self._heavy.pop(version, [])):
                part, left = batching.first_part(asked)
                if left:
                    self._heavy[version] = left
                try:
                    answers = await self._calls.on_thread(batching.answer, [question for _, question in part])
                except RuntimeError as error:  # the server ends, and its threads have
                    answers = [error] * len(part)
                _tell(part, answers)
        finally:
            self._busy -= Counter({version: 1})


def _wanted(asked: Sequence[_Asked]) -> list[_Asked]:
    """Those that somebody waits for still."""
    return [one for one in asked if not one[0].done()]


def _tell(asked: Sequence[_Asked], answers: Sequence[Any]) -> None:
    for (future, _), answer in zip(asked, answers, strict=True):
        if future.done():
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
