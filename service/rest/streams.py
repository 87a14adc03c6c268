"""Streams of answers over HTTP: server-sent events, or one JSON object a line; and files as they are."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Protocol

from google.protobuf.message import Message

from service.calling import statuses
from service.calling.calls import Calls
from service.errors import TraindError
from service.rest.encoding import LARGE_BYTES, encode
from service.rest.errors import encode_error
from service.rest.exchange import Exchange

# A comment that often keeps proxies from closing a quiet stream, seconds.
HEARTBEAT_S = 15.0
# How long the first answer is waited for, so that a refusal still becomes an HTTP status.
OPENING_S = 1.0


class Framing(Protocol):
    """How answers, the end and an error look on the wire."""

    content_type: bytes
    heartbeat: bytes
    end: bytes

    def answer(self, message: Message, body: bytes) -> bytes:
        """One answer."""

    def error(self, body: bytes) -> bytes:
        """An error after the stream has begun."""


class ServerSentEvents:
    """For browsers: `id:` is the seq, so that EventSource goes on where it was."""

    content_type = b"text/event-stream"
    heartbeat = b": still here\n\n"
    end = b"event: end\ndata: {}\n\n"

    def answer(self, message: Message, body: bytes) -> bytes:
        """An event with its id."""
        seq = getattr(message, "seq", None)
        name = b"" if seq is None else b"id: %d\n" % seq
        return name + b"event: message\ndata: " + body + b"\n\n"

    def error(self, body: bytes) -> bytes:
        """An event `error`."""
        return b"event: error\ndata: " + body + b"\n\n"


class Lines:
    """For programs: an error is a line with the one key `error`, and the end is the end."""

    content_type = b"application/x-ndjson"
    heartbeat = b""
    end = b""

    def answer(self, _message: Message, body: bytes) -> bytes:
        """A line."""
        return body + b"\n"

    def error(self, body: bytes) -> bytes:
        """A line, too."""
        return body + b"\n"


def framing_for(exchange: Exchange) -> Framing:
    """Lines where the client asks for them."""
    return Lines() if "application/x-ndjson" in (exchange.header("accept") or "") else ServerSentEvents()


async def send_stream(exchange: Exchange, answers: AsyncIterator[Message], calls: Calls, method: str) -> None:
    """Send answers until they end or the client is gone, which closes `answers`.

    Raises what comes before the first answer; later errors are the last thing in the stream.
    """
    framing = framing_for(exchange)
    gone = asyncio.create_task(exchange.gone())
    coming: asyncio.Task[Message | None] = asyncio.create_task(_next(answers))
    try:
        await asyncio.wait({coming, gone}, timeout=OPENING_S, return_when=asyncio.FIRST_COMPLETED)
        if coming.done():
            coming.result()
        await exchange.start(200, framing.content_type, [(b"x-accel-buffering", b"no")])
        await exchange.send(framing.heartbeat, more=True)
        while not gone.done():
            if coming.done():
                message = coming.result()
                if message is None:
                    await exchange.send(framing.end, more=False)
                    return
                body = await calls.on_thread(encode, message) if message.ByteSize() > LARGE_BYTES else encode(message)
                await exchange.send(framing.answer(message, body), more=True)
                coming = asyncio.create_task(_next(answers))
            done, _ = await asyncio.wait({coming, gone}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                await exchange.send(framing.heartbeat, more=True)
        exchange.ended = "CANCELLED"
    except Exception as error:
        if not exchange.started:
            raise
        known = statuses.translate(error, method)
        exchange.ended = known.code
        await _send_error(exchange, framing, known)
    finally:
        await _drop(coming, gone)


async def send_file(exchange: Exchange, parts: AsyncIterator[Any]) -> None:
    """Send a file whose first message tells its name, and its size where that is known before.

    What goes wrong after that breaks the connection: the body is shorter than was told, or its last chunk is missing.
    """
    try:
        first = await anext(parts)
        headers = [(b"content-disposition", f'attachment; filename="{first.file_name}"'.encode())]
        if "size_bytes" in first.DESCRIPTOR.fields_by_name:
            headers.append((b"content-length", str(first.size_bytes).encode()))
        await exchange.start(200, b"application/octet-stream", headers)
        await exchange.send(first.data, more=True)
        async for part in parts:
            await exchange.send(part.data, more=True)
        await exchange.send(b"", more=False)
    finally:
        if isinstance(parts, AsyncGenerator):
            await parts.aclose()


async def _next(answers: AsyncIterator[Message]) -> Message | None:
    return await anext(answers, None)


async def _send_error(exchange: Exchange, framing: Framing, error: TraindError) -> None:
    _, body, _ = encode_error(error)
    await exchange.send(framing.error(body), more=False)


async def _drop(*tasks: "asyncio.Task[Message | None] | asyncio.Task[None]") -> None:
    """End tasks that nobody waits for any more, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
