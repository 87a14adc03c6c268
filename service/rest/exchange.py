"""One HTTP request and its answer, over plain ASGI."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping
from typing import Any

from service.calling.methods import MOST_MESSAGE_BYTES, PART_DEADLINE_S, within
from service.calling.observer import REQUEST_ID
from service.calling.server_version import SERVER_VERSION_BYTES
from service.calling.waiting import at_most
from service.errors import MalformedBody, TokenRejected, TooLarge, UnsupportedContent, shown
from service.rest.errors import Headers

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Coroutine[Any, Any, None]]

# The name of this door where calls are counted.
DOOR = "rest"
# In the state of a scope: what answering at once was tried in vain for, `token` or `answer`.
WAITS_FOR = "waits_for"
# A file that comes as one body is handed on in messages of this size at most.
PART_BYTES = 1 << 20
# A client that reads nothing for so long is let go, seconds.
SEND_DEADLINE_S = 60.0
_TOKEN_IN_URL = re.compile(rb"(^|&)(access_token|api_key|authorization|token)=|trd_[a-z2-7]{8}", re.IGNORECASE)
_REQUEST_ID = REQUEST_ID.encode()
_ALWAYS: Headers = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"), SERVER_VERSION_BYTES]


class ClientGone(Exception):
    """The client closed the connection before its request was whole."""


class Exchange:
    """What came, and what has been answered."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.verb: str = scope["method"]
        # Not decoded: an encoded slash is no slash.
        self.path: str = scope["raw_path"].decode("latin-1")
        # What somebody found out already that has to be waited for: who sends the token, or the answer; else empty.
        self.waits_for: str = scope.get("state", {}).get(WAITS_FOR, "")
        self.query: bytes = scope["query_string"]
        self._headers: Headers = scope["headers"]
        # Of several of one name the first.
        self._by_name = dict(reversed(self._headers))
        self._receive = receive
        self._send = send
        self.started = False
        # Sent back in a header; empty where it is no call.
        self.request_id = ""
        # How an answer ended that had begun: `OK`, or the name of the code that could not become its status any more.
        self.ended = "OK"

    def header(self, name: str) -> str | None:
        """A header of the request; None without one."""
        value = self._by_name.get(name.encode())
        return None if value is None else value.decode("latin-1")

    @property
    def authorization(self) -> str | None:
        """The one authorization header."""
        if sum(key == b"authorization" for key, _ in self._headers) > 1:
            raise TokenRejected("two authorization headers came with the call; send one")
        return self.header("authorization")

    @property
    def content_type(self) -> str:
        """The media type of the body in lower case, without parameters."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    def refuse_token_in_url(self) -> None:
        """Raise TokenRejected where a token stands in the URL."""
        if _TOKEN_IN_URL.search(self.query):
            raise TokenRejected(
                "a token stands in the URL, where logs keep it: revoke it, and send a new one as "
                "`authorization: Bearer trd_…`"
            )

    def refuse_compression(self) -> None:
        """Raise UnsupportedContent where the body is compressed."""
        encoding = self.header("content-encoding")
        if encoding not in {None, "", "identity"}:
            raise UnsupportedContent(
                f"Content-Encoding is {shown(encoding)}; send the body uncompressed", metadata={"encoding": "identity"}
            )

    async def read_body(self) -> bytes:
        """The whole body, at most MOST_MESSAGE_BYTES of it."""
        length = self.header("content-length") or "0"
        if not length.isdecimal() or int(length[:20]) > MOST_MESSAGE_BYTES:
            raise _too_large()
        data = await self.read_at_most(MOST_MESSAGE_BYTES)
        if data is None:
            raise _too_large()
        return data

    async def read_at_most(self, limit: int) -> bytes | None:
        """The whole body; None where it has more bytes than `limit`, the rest being left unread."""
        return await at_most(PART_DEADLINE_S, "the body", self._read(limit))

    async def _read(self, limit: int) -> bytes | None:
        parts: list[bytes] = []
        total = 0
        async for part in self.chunks():
            total += len(part)
            if total > limit:
                return None
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read_parts(self) -> AsyncIterator[bytes]:
        """The body in parts of at most PART_BYTES, at least one; each must come within PART_DEADLINE_S."""
        waiting = bytearray()
        sent = False
        chunks = self.chunks()
        while True:
            async with within(PART_DEADLINE_S, "the wait for the next part"):
                chunk = await anext(chunks, None)
            if chunk is None:
                break
            waiting += chunk
            while len(waiting) >= PART_BYTES:
                yield bytes(waiting[:PART_BYTES])
                del waiting[:PART_BYTES]
                sent = True
        if waiting or not sent:
            yield bytes(waiting)

    async def gone(self) -> None:
        """Wait until the client closes the connection; only once the body has been read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def answer(self, status: int, body: bytes, headers: Headers | None = None) -> None:
        """Answer JSON."""
        length = (b"content-length", str(len(body)).encode())
        await self.start(status, b"application/json", [*(headers or []), length])
        await self.send(body, more=False)

    async def start(self, status: int, content_type: bytes, headers: Headers) -> None:
        """Begin an answer; a header of its own stands instead of the usual one."""
        self.started = True
        own = {name for name, _ in headers}
        every: Headers = [*(header for header in usual_headers(content_type) if header[0] not in own), *headers]
        if self.request_id:
            every.append((_REQUEST_ID, self.request_id.encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": every})

    async def send(self, body: bytes, *, more: bool) -> None:
        """Send a part of the answer; raises DeadlinePassed where the client reads nothing."""
        part = self._send({"type": "http.response.body", "body": body, "more_body": more})
        await at_most(SEND_DEADLINE_S, "the client's reading", part)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes; raises ClientGone."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            more = message.get("more_body", False)
            yield message.get("body", b"")


def usual_headers(content_type: bytes) -> Headers:
    """What stands in every answer."""
    return [(b"content-type", content_type), *_ALWAYS]


def require_json(exchange: Exchange, body: bytes) -> None:
    """Raise UnsupportedContent where a body does not call itself JSON."""
    if body and exchange.content_type != "application/json":
        raise UnsupportedContent(
            f"Content-Type is {shown(exchange.content_type)}; send JSON with Content-Type: application/json",
            metadata={"content_type": "application/json"},
        )


def require_bytes(exchange: Exchange) -> None:
    """Raise UnsupportedContent where the body is a form or JSON instead of a file as it is."""
    kind = exchange.content_type
    if kind == "application/json" or kind.startswith("multipart/"):
        raise UnsupportedContent(
            f"Content-Type is {shown(kind)}; send the bytes of the file as the body, with Content-Type: "
            "application/octet-stream or text/csv (curl --data-binary @FILE)",
            metadata={"content_type": "application/octet-stream"},
        )


def require_empty(body: bytes) -> None:
    """Raise MalformedBody where a method without body got one."""
    if body:
        raise MalformedBody("this method takes no body; write its fields into the query")


def _too_large() -> TooLarge:
    return TooLarge(
        f"the body is larger than {MOST_MESSAGE_BYTES} bytes; send files with POST /v1/datasets:upload",
        metadata={"limit": str(MOST_MESSAGE_BYTES)},
    )
