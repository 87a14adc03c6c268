"""uvicorn as the REST door needs it: in a loop that others use too, with limits on heads and on slow clients."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.errors import HeadersTooLarge, MalformedBody, TraindError
from service.machine.tls import Tls
from service.rest.door import RestDoor
from service.rest.errors import raw_response

MOST_HEAD_BYTES = 16 << 10
# What one read of the socket can bring beside a head.
_READ_BYTES = 256 << 10
# A connection must bring a whole head in this time; seconds.
HEAD_DEADLINE_S = 30.0
IDLE_S = 30
# How long what a refused client still sends is thrown away, seconds.
LINGER_S = 1.0
# Calls that run when the server stops get this long to end, seconds.
GRACE_S = 5


class Protocol(HttpToolsProtocol):
    """One connection, closed where its head grows too large or does not come."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        self._unended_bytes = 0
        self._refused = False
        self._patience: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._wait_for_head()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        self._unended_bytes = self._unended_bytes + len(data) if self._in_head else 0
        if self._unended_bytes > MOST_HEAD_BYTES + _READ_BYTES:
            self._refuse(_head_too_large())

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._wait_for_head()

    @override
    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._head_bytes += len(url)

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._head_bytes += len(name) + len(value) + 4

    @override
    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_waiting()
        if self._head_bytes > MOST_HEAD_BYTES:
            self._refuse(_head_too_large())
        else:
            super().on_headers_complete()

    @override
    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        if not self._refused:
            super().on_message_complete()

    @override
    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls where the bytes are no HTTP."""
        if not self._refused:
            self._refuse(MalformedBody(f"this is no HTTP request: {msg}"))

    def _refuse(self, error: TraindError) -> None:
        self._refused = True
        self.transport.write(raw_response(error))
        # TLS knows no half-closed connection.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        # A close with unread bytes would be a reset, which takes the answer out of the client's hands.
        self._stop_waiting()
        self._patience = self.loop.call_later(LINGER_S, self.transport.close)

    def _wait_for_head(self) -> None:
        self._stop_waiting()
        self._patience = self.loop.call_later(HEAD_DEADLINE_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


class RestServer(uvicorn.Server):
    """The REST door of one process, on a socket that is bound already."""

    def __init__(self, door: RestDoor, tls: Tls | None = None) -> None:
        config = uvicorn.Config(
            door,
            http=Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            reset_contextvars=True,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=GRACE_S,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls.context,
        )
        super().__init__(config)

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield

    async def run_on(self, listener: socket.socket) -> None:
        """Serve until `should_exit` is set."""
        await self.serve(sockets=[listener])


async def until(stop: asyncio.Event, serving: asyncio.Task[None]) -> None:
    """Wait for the stop; raise where the REST server ends by itself."""
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
            raise RuntimeError("the REST server ended by itself")
    finally:
        stopped.cancel()


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP, for asyncio sends small answers at once only on sockets that say so; else a call waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        # A second server must fail when it binds, not when it serves.
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


def _head_too_large() -> HeadersTooLarge:
    return HeadersTooLarge(
        f"the request line and headers have more than {MOST_HEAD_BYTES} bytes", metadata={"limit": str(MOST_HEAD_BYTES)}
    )
