"""The REST door: one ASGI application that finds the route, lets the caller in, and calls the servicer's method."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from google.protobuf.message import Message

from service.calling import statuses
from service.calling.calls import CALLER, Calls
from service.calling.methods import Method, within
from service.calling.observer import REQUEST_ID, Observation
from service.calling.requests import Findings
from service.calling.statuses import wrong_fields
from service.errors import MalformedBody, RateLimited, ShuttingDown, invalid, shown
from service.observing.tracing import CARRIED
from service.rest import metrics_page, strict_json
from service.rest.decoding import fill, fill_query
from service.rest.documents import Documents
from service.rest.encoding import LARGE_BYTES, encode
from service.rest.errors import encode_error
from service.rest.exchange import (
    DOOR,
    ClientGone,
    Exchange,
    Receive,
    Scope,
    Send,
    require_bytes,
    require_empty,
    require_json,
)
from service.rest.inference import door as inference
from service.rest.inference.door import InferenceDoor
from service.rest.inference.lane import Lanes
from service.rest.routes import Route, Routes, verb_not_allowed
from service.rest.streams import send_file, send_stream
from service.serverinfo import Addresses
from service.store.database import now

MOST_CALLS = 2000


class RestDoor:
    """Serves a table of methods, and the paths /healthz, /readyz, /metrics and, where they are on, the documents.

    Without methods it is the door of a process that predicts and tells its own figures alone.
    """

    def __init__(self, calls: Calls, methods: Mapping[str, Method], addresses: Addresses) -> None:
        self._calls = calls
        self._routes = Routes(methods.values())
        self._public = {"/healthz": self._healthz, "/readyz": self._readyz}
        if calls.app.settings.metrics != "off":
            self._public[metrics_page.PATH] = metrics_page.MetricsPage(calls, of_sql=bool(methods)).answer
        if calls.app.settings.docs:
            documents = Documents(calls, self._routes.all, addresses)
            self._public |= {"/": documents.lead, "/docs": documents.page, "/openapi.json": documents.openapi}
        self._inference = InferenceDoor(calls, lambda: not self.retired)
        self._public |= self._inference.public
        # What connections answer before a request gets here.
        self.lanes = Lanes(calls, self._inference)
        self._running = 0
        # Set when the server stops: balancers shall send nothing more.
        self.retired = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        exchange = Exchange(scope, receive, send)
        public = self._public.get(exchange.path)
        self._running += 1
        try:
            await (self._tell(exchange, public) if public else self._observe(exchange))
        except ClientGone:
            return
        except asyncio.CancelledError:
            if not exchange.started:
                await exchange.answer(*encode_error(_stopping()))
            raise
        finally:
            self._running -= 1

    async def _tell(self, exchange: Exchange, public: Callable[[Exchange], Awaitable[None]]) -> None:
        """A path that is no call: neither counted nor written to the log, for such are asked for all the time."""
        try:
            _require_get(exchange)
            await public(exchange)
        except Exception as error:  # noqa: BLE001 - as below
            await self._refuse(exchange, error)

    async def _observe(self, exchange: Exchange) -> None:
        """A call, counted whatever becomes of it."""
        carrier = {name: sent for name in CARRIED if (sent := exchange.header(name))}
        seen = self._calls.observer.begin(DOOR, exchange.header(REQUEST_ID), carrier)
        exchange.request_id = seen.request_id
        code = "CANCELLED"
        try:
            await self._serve(exchange, seen)
            code = exchange.ended
        except ClientGone:
            raise
        except asyncio.CancelledError:
            # The server stops; a client that goes away is ClientGone, or the stream ends.
            code = ShuttingDown.code
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, its text must not reach the caller
            code = await self._refuse(exchange, error)
        finally:
            seen.end(code)

    async def _refuse(self, exchange: Exchange, error: Exception) -> str:
        """Tell the caller what went wrong, if there is still a way to; answers the code."""
        known = statuses.translate(error, f"{exchange.verb} {exchange.path}")
        if not exchange.started:
            encoded = inference.encode_error(known) if inference.holds(exchange.path) else encode_error(known)
            await exchange.answer(*encoded)
        return known.code

    async def _serve(self, exchange: Exchange, seen: Observation) -> None:
        if self._running > MOST_CALLS:
            raise RateLimited(f"the server carries out {MOST_CALLS} calls already; come again", retry_after_s=1)
        if inference.holds(exchange.path):
            await self._inference.serve(exchange, seen)
            return
        route, variables = self._routes.find(exchange.verb, exchange.path)
        seen.named(route.method.full_name)
        exchange.refuse_token_in_url()
        caller = await self._calls.admit(route.method.full_name, exchange.authorization)
        seen.let_in(caller)
        CALLER.set(caller)
        exchange.refuse_compression()
        if route.takes_bytes:
            await self._take_file(exchange, route, variables)
        else:
            await self._take_message(exchange, route, variables, seen)

    async def _take_message(
        self, exchange: Exchange, route: Route, variables: dict[str, str], seen: Observation
    ) -> None:
        body = await exchange.read_body()
        if route.body:
            require_json(exchange, body)
        else:
            require_empty(body)
        if len(body) > LARGE_BYTES:
            request = await self._calls.on_thread(_decode, route, variables, exchange, body)
        else:
            request = _decode(route, variables, exchange, body)
        if route.sends_bytes:
            await send_file(exchange, route.method.call(request, None))
            return
        if route.method.server_streaming:
            await send_stream(exchange, route.method.call(request, None), self._calls, route.method.full_name)
            return
        async with within(route.method.deadline_s(None), "the call"):
            answer: Message = await route.method.call(request, None)
        seen.answered(answer)
        await self._send(exchange, answer)

    async def _take_file(self, exchange: Exchange, route: Route, variables: dict[str, str]) -> None:
        require_bytes(exchange)
        first = _decode(route, variables, exchange, b"")
        answer: Message = await route.method.call(_parts(exchange, route, first), None)
        await self._send(exchange, answer)

    async def _send(self, exchange: Exchange, answer: Message) -> None:
        large = answer.ByteSize() > LARGE_BYTES
        await exchange.answer(200, await self._calls.on_thread(encode, answer) if large else encode(answer))

    async def _healthz(self, exchange: Exchange) -> None:
        await exchange.answer(200, b'{"status":"ok"}')

    async def _readyz(self, exchange: Exchange) -> None:
        if self.retired:
            raise _stopping()
        async with within(2.0, "the database"):
            await self._calls.on_thread(_ask_database, self._calls)
        await exchange.answer(200, b'{"status":"ok"}')


def _require_get(exchange: Exchange) -> None:
    if exchange.verb not in {"GET", "HEAD"}:
        raise verb_not_allowed(exchange.verb, exchange.path, ["GET", "HEAD"])


def _stopping() -> ShuttingDown:
    return ShuttingDown("the server is stopping; send the call again", retry_after_s=1)


def _ask_database(calls: Calls) -> None:
    with calls.app.database.read() as connection:
        now(connection)


def _decode(route: Route, variables: dict[str, str], exchange: Exchange, body: bytes) -> Message:
    """The request that path, query and body make together. Raises MalformedBody, InvalidField."""
    request = route.method.request_class()
    found = Findings()
    if body and route.body == "*":
        fill(request, strict_json.loads(body), "", found)
    elif body:
        part: Message = getattr(request, route.body)
        part.SetInParent()
        fill(part, strict_json.loads(body), route.body, found)
    everything = {field.name for field in request.DESCRIPTOR.fields}
    closed = everything if route.body == "*" else {route.body, *variables}
    fill_query(request, _parse_query(exchange.query), closed, found)
    for name, value in variables.items():
        if getattr(request, name) not in {"", value}:
            found.add(name, f"is {shown(getattr(request, name))}, but the path says {shown(value)}; leave it out")
        setattr(request, name, value)
    _resume(request, exchange)
    if found.violations:
        raise wrong_fields(found.violations)
    return request


def _parse_query(query: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=1000)
    except UnicodeDecodeError:
        raise MalformedBody("the query holds bytes that are no UTF-8; encode text as UTF-8, then by percent") from None
    except ValueError:
        raise MalformedBody("the query has more than 1000 parameters", metadata={"limit": "1000"}) from None


def _resume(request: Any, exchange: Exchange) -> None:
    """Go on after the event that an EventSource saw last."""
    last = exchange.header("last-event-id")
    if last and "from_seq" in request.DESCRIPTOR.fields_by_name:
        if not last.isdecimal() or len(last) > 18:
            raise invalid("from_seq", f"Last-Event-ID is {shown(last)}; it must be the id of an event, a whole number")
        request.from_seq = int(last) + 1


async def _parts(exchange: Exchange, route: Route, first: Any) -> AsyncIterator[Message]:
    """The body as messages; the first one has the fields of path and query too."""
    message = first
    async for data in exchange.read_parts():
        setattr(message, route.body, data)
        yield message
        message = route.method.request_class()
