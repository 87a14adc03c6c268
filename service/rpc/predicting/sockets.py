"""The sockets of a port, past gRPC: so that clients of a server that stops go elsewhere, and none is told wrong.

Once gRPC's core is asked to shut down, it ends whatever comes in with CANCELLED, which no client sends again: calls too
that were on their way before the client could know. A connection that is simply closed is UNAVAILABLE to its calls.
"""

import contextlib
import os
import socket
import stat
from collections.abc import Iterator

_FOLDER = "/dev/fd"


def refuse(port: int) -> None:
    """Take no more connections at a port of this process; where several share it, the others get them."""
    for listens, found in _of_port(port):
        if listens:
            with contextlib.suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)


def hang_up(port: int) -> None:
    """End every connection to a port of this process once what was written is sent."""
    for listens, found in _of_port(port):
        if not listens:
            with contextlib.suppress(OSError):
                found.shutdown(socket.SHUT_WR)


def _of_port(port: int) -> Iterator[tuple[bool, socket.socket]]:
    """Whether it listens, and a copy of it that is closed when the next is asked for, for each socket of the port."""
    for name in os.listdir(_FOLDER):  # noqa: PTH208 - numbers, no paths
        try:
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            found = socket.socket(fileno=os.dup(int(name)))
        except OSError:  # closed meanwhile
            continue
        with found:
            if found.family in {socket.AF_INET, socket.AF_INET6} and found.type == socket.SOCK_STREAM:
                try:
                    ours = found.getsockname()[1] == port
                    listens = bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
                except OSError:
                    continue
                if ours:
                    yield listens, found
