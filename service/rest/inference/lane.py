"""Infer by a shorter way, for a request that begins as the one before it on its connection did and is answered at once.

Most clients keep a connection, and send the same head call after call. It is parsed once; what begins with just these
bytes needs no parser, no task and no ASGI message between socket and model. Whatever is otherwise goes the whole way as
if nobody had looked at it here: what is pipelined, has to wait, is wrong, or is not for NumPy to answer.
"""

import re
import time
from dataclasses import dataclass

import httptools

from service import policy
from service.calling.calls import Calls
from service.calling.observer import REQUEST_ID
from service.machine import logs
from service.observing.tracing import CARRIED
from service.rest.encoding import LARGE_BYTES
from service.rest.errors import Headers
from service.rest.exchange import DOOR, usual_headers
from service.rest.inference import body
from service.rest.inference.door import INFER, InferenceDoor, infer_of, kind_of
from service.serving.batching import Question
from service.serving.lookup import MustWait

MOST_HEAD_BYTES = 4096
# A connection whose requests, one after another, could not be answered here is left alone.
MOST_MISSES = 3
_BEGIN, _END = b"POST /v2/models/", b"\r\n\r\n"
# What makes a request another one than those that are answered here.
_FOREIGN = frozenset(
    name.encode() for name in (*CARRIED, REQUEST_ID, "content-encoding", "expect", "transfer-encoding", "upgrade")
)
_NUMBER = re.compile(rb"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Head:
    """What a head says."""

    model: str
    version: str
    authorization: str
    # Bytes of the body.
    length: int
    # Of the JSON in front of tensors, as body.parts takes it.
    json_bytes: str | None


class _TokenMustWait(MustWait):
    """SQL has to be asked who sends the token."""


class _Told:
    """Hears a head from its parser."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: Headers = []
        self.parser = httptools.HttpRequestParser(self)
        # The head is whole, and is that of a request after which the connection stays.
        self.stays = False
        # Of what was taken for the head.
        self.body = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.stays = self.parser.should_keep_alive()

    def on_body(self, some: bytes) -> None:
        self.body += some


def understand(data: bytes) -> Head | None:
    """What a whole head says, as the parser of the whole way reads it; None for those of other requests."""
    told = _Told()
    try:
        told.parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    if told.parser.get_method() != b"POST" or told.parser.get_http_version() != "1.1" or not told.stays or told.body:
        return None
    by_name = dict(told.headers)
    names = [name for name, _ in told.headers]
    once = (b"authorization", b"content-length", body.HEADER.encode())
    if not _FOREIGN.isdisjoint(names) or any(names.count(name) > 1 for name in once):
        return None
    length, asked = by_name.get(b"content-length", b""), infer_of(told.url.decode("latin-1"))
    if asked is None or not _NUMBER.fullmatch(length) or int(length) > LARGE_BYTES:
        return None
    json_bytes = by_name.get(body.HEADER.encode())
    return Head(
        *asked,
        by_name.get(b"authorization", b"").decode("latin-1"),
        int(length),
        None if json_bytes is None else json_bytes.decode("latin-1"),
    )


class Lanes:
    """The shorter way of one server's connections. What it answers is never under way, and so not among MOST_CALLS."""

    def __init__(self, calls: Calls, door: InferenceDoor) -> None:
        self._calls, self._door = calls, door
        self._usual = {
            kind: b"".join(_line(name, value) for name, value in usual_headers(kind))
            for kind in map(kind_of, (0, None))
        }
        # What an answer begins with, made of these; the date among them changes every second.
        self._date: Headers = []
        self._begins: dict[bytes, bytes] = {}

    def answer(self, head: Head, data: bytes, date: Headers) -> bytes | None:
        """All bytes of the response to a body; None where the whole way has to be taken. Raises MustWait."""
        began = time.perf_counter()
        about = logs.ABOUT.set(logs.NOTHING)
        try:
            caller = self._calls.app.tokens.remembered(head.authorization)
            if caller is None:
                raise _TokenMustWait
            policy.check_scope(caller, INFER)
            found = self._door.ask(caller, head.model, head.version, data, head.json_bytes, may_wait=False)
            if isinstance(found, Question):
                return None
            seen = self._calls.observer.begin(DOOR, None, {}, INFER, began)
            seen.let_in(caller)
            response = self._response(*found, seen.request_id, date)
            seen.end("OK")
        finally:
            logs.ABOUT.reset(about)
        return response

    def _response(self, answered: bytes, json_bytes: int | None, request_id: str, date: Headers) -> bytes:
        if date is not self._date:
            first = b"HTTP/1.1 200 OK\r\n" + b"".join(_line(name, value) for name, value in date)
            self._date, self._begins = date, {kind: first + usual for kind, usual in self._usual.items()}
        more = "" if json_bytes is None else f"{body.HEADER}: {json_bytes}\r\n"
        rest = f"{more}content-length: {len(answered)}\r\n{REQUEST_ID}: {request_id}\r\n\r\n"
        return b"".join((self._begins[kind_of(json_bytes)], rest.encode(), answered))


class Lane:
    """The shorter way of one connection. It is asked between two requests, with what has come of the next one."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        # The head of the last request, and what it says once another one began with it.
        self._bytes = b""
        self._head: Head | None = None
        self._misses = 0
        # What is held back, for the rest of the body has not come.
        self.held = b""
        # What the last one has to wait for, as an exchange takes it: it should not be tried at once again.
        self.waits_for = ""

    def answer(self, data: bytes, date: Headers) -> bytes | None:
        """The response to a whole request, empty where it is held until more of it comes; None for the whole way."""
        self.waits_for = ""
        if not self._bytes or not data.startswith(self._bytes):
            self._remember(data)
            return None
        if self._head is None:
            self._head = understand(self._bytes)
        if self._head is None:
            self._missed()
            return None
        missing = self._head.length - (len(data) - len(self._bytes))
        if missing > 0:
            self.held = data
            return b""
        if missing < 0:
            return None
        try:
            response = self._lanes.answer(self._head, data[len(self._bytes) :], date)
        except MustWait as error:
            self.waits_for = "token" if isinstance(error, _TokenMustWait) else "answer"
            return None
        except Exception:  # noqa: BLE001 - the whole way comes to it as well, and tells
            self._missed()
            return None
        if response is None:
            self._missed()
            return None
        self._misses = 0
        return response

    def release(self) -> bytes:
        """What was held back."""
        held, self.held = self.held, b""
        return held

    def _remember(self, data: bytes) -> None:
        self._bytes, self._head = b"", None
        if self._misses < MOST_MISSES and data.startswith(_BEGIN):
            end = data.find(_END, 0, MOST_HEAD_BYTES)
            self._bytes = data[: end + len(_END)] if end > 0 else b""

    def _missed(self) -> None:
        self._misses += 1
        self._bytes = b""


def _line(name: bytes, value: bytes) -> bytes:
    return b"%b: %b\r\n" % (name, value)
