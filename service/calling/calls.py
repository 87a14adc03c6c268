"""How both doors call a verb: the caller is known, the request checked, and the verb runs on a thread of its own pool.

Verbs are plain functions that read and write SQL, so an event loop must not wait in them.
"""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from google.protobuf.message import Message

from service import policy
from service.app import App
from service.callers import Caller
from service.calling import requests
from service.calling.methods import MOST_MESSAGE_BYTES
from service.calling.observer import Observer
from service.errors import TooLarge

# Who calls; set by the door that let the call in, for as long as the call lasts.
CALLER: contextvars.ContextVar[Caller] = contextvars.ContextVar("caller")

QUICK_THREADS = 16
# Tables are read and models measured here, so that the quick calls never wait behind them.
PATIENT_THREADS = 4

P = ParamSpec("P")
Result = TypeVar("Result")
Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class Calls:
    """Runs verbs for both doors."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.observer = Observer(app.counts, app.settings.logs, app.tracing)
        self._quick = ThreadPoolExecutor(QUICK_THREADS, "verb")
        self._patient = ThreadPoolExecutor(PATIENT_THREADS, "patient-verb")

    async def admit(self, method: str, authorization: str | None) -> Caller:
        """Who calls a method (`traind.v1.JobService.GetJob`), if that is allowed: the token first, then its scope."""
        caller = await self._known(authorization)
        policy.check_scope(caller, method)
        return caller

    async def admit_to(self, path: str, authorization: str | None) -> Caller:
        """Who asks for a path that is no method of the contract (`/metrics`), if that is allowed."""
        caller = await self._known(authorization)
        policy.check_path(caller, path)
        return caller

    async def _known(self, authorization: str | None) -> Caller:
        caller = self.app.tokens.remembered(authorization)
        if caller is None:
            caller = await self.on_thread(self.app.tokens.authenticate, authorization)
        return caller

    async def run(
        self, verb: Callable[[App, Caller, Request], Response], request: Request, *, patient: bool = False
    ) -> Response:
        """Check the request and carry it out for the caller of this context."""
        pool = self._patient if patient else self._quick
        return await self._on(pool, self._checked, verb, CALLER.get(), request)

    async def on_thread(self, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Run a function that may wait, away from the event loop."""
        return await self._on(self._quick, function, *args, **kwargs)

    async def patiently(self, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Run a function that may take long, where quick calls never wait behind it."""
        return await self._on(self._patient, function, *args, **kwargs)

    def close(self) -> None:
        """Let no more verbs begin; those that run go on to their end."""
        for pool in (self._quick, self._patient):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _on(
        self, pool: ThreadPoolExecutor, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs
    ) -> Result:
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(pool, lambda: context.run(function, *args, **kwargs))

    def _checked(self, verb: Callable[[App, Caller, Any], Response], caller: Caller, request: Message) -> Response:
        requests.check(request)
        response = verb(self.app, caller, request)
        size = response.ByteSize()
        if size > MOST_MESSAGE_BYTES:
            raise TooLarge(
                f"the answer has {size} bytes; at most {MOST_MESSAGE_BYTES} fit into one: ask for less",
                metadata={"bytes": str(size), "limit": str(MOST_MESSAGE_BYTES)},
            )
        return response
