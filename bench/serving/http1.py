"""A client of one HTTP/1.1 request, again and again, whose bytes are made beforehand: one in flight a connection."""

import socket
import time


class Connection:
    """Asks the same; `header` names the header of an answer that tells how long the JSON before its tensors is."""

    def __init__(self, host: str, port: int, request: bytes, header: bytes) -> None:
        self._request, self._header = request, header.lower()
        self._in, self._out = b"", b""
        self._begun = 0.0
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def begin(self) -> None:
        """Begin a call; `flush` sends it."""
        assert not self._out
        self._out, self._begun = self._request, time.perf_counter()

    def flush(self) -> None:
        """Send what is to be sent."""
        if self._out:
            self.socket.sendall(self._out)
            self._out = b""

    def receive(self) -> list[tuple[float, bytes]]:
        """Read once: when the call was begun, and the tensors of its answer, once that is whole."""
        some = self.socket.recv(1 << 18)
        assert some, "the server closed the connection"
        self._in += some
        head, found, body = self._in.partition(b"\r\n\r\n")
        if not found:
            return []
        first, *lines = head.split(b"\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in lines)
        assert first.split()[1] == b"200", body
        if b"content-length" not in fields:
            body = _joined(body)
        if body is None or len(body) < int(fields.get(b"content-length", 0)):
            return []
        self._in = b""
        return [(self._begun, body[int(fields[self._header]) :])]

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


def _joined(body: bytes) -> bytes | None:
    """A body that came in chunks, once the last is there."""
    parts: list[bytes] = []
    while True:
        size, found, rest = body.partition(b"\r\n")
        if not found or len(rest) < int(size, 16) + 2:
            return None
        if not int(size, 16):
            return b"".join(parts)
        parts.append(rest[: int(size, 16)])
        body = rest[int(size, 16) + 2 :]
