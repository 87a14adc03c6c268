"""A connection of the REST door: uvicorn's, with limits on heads, and with a shorter way for predictions."""

import asyncio
from typing import Any

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.errors import HeadersTooLarge, MalformedBody, TraindError
from service.rest.door import RestDoor
from service.rest.errors import raw_response
from service.rest.exchange import WAITS_FOR
from service.rest.inference.lane import Lane

MOST_HEAD_BYTES = 16 << 10
# What one read of the socket can bring beside a head.
_READ_BYTES = 256 << 10
# A connection must bring a whole head in this time; seconds.
HEAD_DEADLINE_S = 30.0
# How long what a refused client still sends is thrown away, seconds.
LINGER_S = 1.0
# How long the rest of a body is waited for before its request goes the whole way, seconds.
HELD_S = 1.0


class Protocol(HttpToolsProtocol):
    """One connection, closed where its head grows too large or does not come."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        self._unended_bytes = 0
        self._refused = False
        self._patience: asyncio.TimerHandle | None = None
        # Every byte so far is of requests that are whole.
        self._between = True
        door = self.config.app
        self._lane = Lane(door.lanes) if isinstance(door, RestDoor) else None
        # When the lane answered last, in the loop's time.
        self._answered_at = 0.0

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
        if self._lane is not None and self._between and (self.cycle is None or self.cycle.response_complete):
            data = self._by_lane(self._lane, data)
        if data:
            self._by_parser(data)

    def _by_lane(self, lane: Lane, data: bytes) -> bytes:
        """Answer a request, or keep what there is of it; what is to go to the parser."""
        held = lane.release()
        data = held + data if held else data
        response: bytes | None = None
        if not self.flow.write_paused and not self.transport.is_closing():
            response = lane.answer(data, self.server_state.default_headers)
        if response == b"":
            # One timer for all of its pieces.
            if not held:
                self._unset_keepalive_if_required()
                self._patience = self.loop.call_later(HELD_S, self._let_go)
            return b""
        if held:
            self._stop_waiting()
        if response is None:
            return data
        self.transport.write(response)
        self.server_state.total_requests += 1
        self._answered_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_handler()
        return b""

    def _let_go(self) -> None:
        """What the lane held goes to the parser, and waits for the rest there."""
        if self._lane is not None and (data := self._lane.release()):
            self._stop_waiting()
            self._by_parser(data)

    @override
    def timeout_keep_alive_handler(self) -> None:
        """Close the connection once it has been idle; what the lane answers sets no timer of its own."""
        left = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    @override
    def shutdown(self) -> None:
        self._let_go()
        super().shutdown()

    def _by_parser(self, data: bytes) -> None:
        super().data_received(data)
        self._unended_bytes = self._unended_bytes + len(data) if self._in_head else 0
        if self._unended_bytes > MOST_HEAD_BYTES + _READ_BYTES:
            self._refuse(_head_too_large())

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._lane is not None and self._lane.waits_for:
            self.scope["state"][WAITS_FOR] = self._lane.waits_for
            self._lane.waits_for = ""
        self._between = False
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
        self._between = True
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


def _head_too_large() -> HeadersTooLarge:
    return HeadersTooLarge(
        f"the request line and headers have more than {MOST_HEAD_BYTES} bytes", metadata={"limit": str(MOST_HEAD_BYTES)}
    )
