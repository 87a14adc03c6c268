"""uvicorn as the REST door needs it: in a loop that others use too, and stopped with the process."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from typing_extensions import override

from service.machine.tls import Tls
from service.rest.connection import Protocol
from service.rest.door import RestDoor

IDLE_S = 30
# Calls that run when the server stops get this long to end, seconds.
GRACE_S = 5


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
