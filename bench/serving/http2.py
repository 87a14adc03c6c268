"""A client of unary gRPC calls that costs next to nothing: its frames are made beforehand (RFC 9113, RFC 7541).

What a call needs besides them is its stream's number and its place in the connection's window, so that one thread keeps
a server busy and the figures are the server's. Headers are literals without indexing; the answer's need not be decoded,
for an error comes without a message.
"""

import socket
import struct
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
INITIAL_WINDOW_SIZE = 4
FRAME_BYTES = 16_384  # of a frame, unless the other side allows more
WINDOW_BYTES = 65_535  # of a connection and of a stream, at the beginning
OUR_WINDOW_BYTES = 1 << 20  # of a stream, for answers
MOST_WINDOW_BYTES = (1 << 31) - 1
# Places in HPACK's static table.
METHOD_POST, SCHEME_HTTP = b"\x83", b"\x86"
AUTHORITY, PATH, CONTENT_TYPE, AUTHORIZATION = 1, 4, 31, 23


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def headers(authority: str, path: str, token: str) -> bytes:
    """The block of a call's headers."""
    block = METHOD_POST + SCHEME_HTTP + _literal(PATH, path) + _literal(AUTHORITY, authority)
    block += _literal(CONTENT_TYPE, "application/grpc") + b"\x00" + _text("te") + _text("trailers")
    return block + (_literal(AUTHORIZATION, f"Bearer {token}") if token else b"")


def _literal(name: int, value: str) -> bytes:
    """A field that is not to be indexed, by the place of its name."""
    return _number(name, 4) + _text(value)


def _text(text: str) -> bytes:
    return _number(len(text), 7) + text.encode()


def _number(number: int, bits: int) -> bytes:
    most = (1 << bits) - 1
    if number < most:
        return bytes([number])
    number -= most
    rest = bytearray()
    while number >= 128:
        rest.append(number % 128 | 128)
        number //= 128
    return bytes([most, *rest, number])


class Connection:
    """Calls of one method with one message, any number of them in flight."""

    def __init__(self, host: str, port: int, path: str, message: bytes, token: str) -> None:
        data = b"\x00" + struct.pack(">I", len(message)) + message
        self._size = len(data)
        assert self._size <= WINDOW_BYTES, "the message is larger than a stream's window"
        pieces = [data[start : start + FRAME_BYTES] for start in range(0, len(data), FRAME_BYTES)]
        frames = [frame(HEADERS, END_HEADERS, 0, headers(f"{host}:{port}", path, token))]
        frames += [frame(DATA, END_STREAM * (piece is pieces[-1]), 0, piece) for piece in pieces]
        # Everything but the number of the stream, which stands five bytes into each frame.
        self._call = b"".join(frames)
        self._places = [sum(map(len, frames[:at])) + 5 for at in range(len(frames))]
        self._next, self._window, self._waiting = 1, WINDOW_BYTES, 0
        self._out, self._in = bytearray(), b""
        # When each stream was begun, and what came of its answer.
        self._begun: dict[int, float] = {}
        self._bodies: dict[int, bytes] = {}
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._out += PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, OUR_WINDOW_BYTES))
        self._out += frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", MOST_WINDOW_BYTES - WINDOW_BYTES))

    def begin(self) -> None:
        """Begin a call; `flush` sends it. It waits where the server's window has no room for it."""
        if self._window < self._size:
            self._waiting += 1
            return
        self._window -= self._size
        call, stream = bytearray(self._call), struct.pack(">I", self._next)
        for place in self._places:
            call[place : place + 4] = stream
        self._out += call
        self._begun[self._next] = time.perf_counter()
        self._next += 2

    def flush(self) -> None:
        """Send what is to be sent."""
        if self._out:
            self.socket.sendall(self._out)
            self._out.clear()

    def receive(self) -> list[tuple[float, bytes]]:
        """Read once: when each call was begun that is over now, and the message it was answered with."""
        some = self.socket.recv(1 << 18)
        assert some, "the server closed the connection"
        data, at, over = self._in + some, 0, []
        while len(data) - at >= 9:
            end = at + 9 + (data[at] << 16 | data[at + 1] << 8 | data[at + 2])
            if end > len(data):
                break
            stream = int.from_bytes(data[at + 5 : at + 9], "big")
            if self._take(data[at + 3], data[at + 4], stream, data[at + 9 : end]):
                body = self._bodies.pop(stream, b"")
                assert body[:1] == b"\x00", "a call was refused, or its answer is packed"
                over.append((self._begun.pop(stream), body[5:]))
            at = end
        self._in = data[at:]
        return over

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> bool:
        """One frame; whether its stream is over."""
        if kind == DATA:
            self._bodies[stream] = self._bodies.get(stream, b"") + payload
        elif kind == SETTINGS and not flags & ACK:
            for name, value in struct.iter_unpack(">HI", payload):
                assert name != INITIAL_WINDOW_SIZE or value >= self._size, "the server's window is too small"
            self._out += frame(SETTINGS, ACK, 0, b"")
        elif kind == PING and not flags & ACK:
            self._out += frame(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE and not stream:
            self._window += int.from_bytes(payload, "big")
            waiting, self._waiting = self._waiting, 0
            for _ in range(waiting):
                self.begin()
        assert kind not in (RESET, GOAWAY), f"the server ended a call: {payload!r}"
        return kind in (DATA, HEADERS) and bool(flags & END_STREAM)

    def close(self) -> None:
        """Hang up."""
        self.socket.close()
