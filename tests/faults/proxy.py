"""A TCP proxy that fails as networks do: slow, narrow, cut off, silent. It runs in a thread of its own.

Its target is `host:port`, or the path of a Unix socket; its clients connect to `127.0.0.1:port`. A fault holds for the
connections that are open and for those that come, until `heal`. Times are seconds.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass, field, replace
from typing import Self

PIECE = 1 << 14


@dataclass(frozen=True)
class Fault:
    """What the proxy does to what it carries. The default is nothing."""

    # Every piece arrives so much later.
    delay_s: float = 0.0
    # At most so many bytes a second, each way of each connection alone; 0 = as many as there are.
    bytes_per_s: float = 0.0
    # A connection is closed after so many bytes, both ways together.
    cut_after: int | None = None
    # New connections are accepted and never answered; open ones carry nothing from the client on.
    half_open: bool = False
    # Nothing is carried either way, and nothing is closed.
    black_hole: bool = False


@dataclass(eq=False)
class _Line:
    """A client's connection and its other half."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    carried: int = 0
    tasks: list[asyncio.Task] = field(default_factory=list)


class Proxy:
    """One door to one server. Every method may be called from any thread, and has taken effect when it returns."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.port = 0
        self.accepted = 0
        self.carried = 0
        self._fault = Fault()
        self._lines: set[_Line] = set()
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"proxy of {target}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def open_lines(self) -> int:
        return len(self._lines)

    def inflict(self, **fault) -> None:
        """From now on carry everything so, by the names of Fault."""
        self._call(self._set(Fault(**fault)))

    def also(self, **fault) -> None:
        """Add to the fault that holds."""
        self._call(self._set(replace(self._fault, **fault)))

    def heal(self) -> None:
        """Carry everything as it comes. What a black hole held back goes on."""
        self.inflict()

    def reset(self) -> None:
        """Break every open connection by an RST; new ones are not touched."""
        self._call(self._break(abort=True))

    def cut(self) -> None:
        """Close every open connection by a FIN; new ones are not touched."""
        self._call(self._break(abort=False))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=PIECE)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        await self._break(abort=True)
        # The handlers of what was broken end first.
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _set(self, fault: Fault) -> None:
        self._fault = fault
        self._changed.set()
        self._changed = asyncio.Event()

    async def _break(self, *, abort: bool) -> None:
        for line in list(self._lines):
            self._end(line, abort=abort)

    def _end(self, line: _Line, *, abort: bool) -> None:
        self._lines.discard(line)
        for end in (line.client, line.server):
            if end is None:
                continue
            if abort:
                with contextlib.suppress(OSError):
                    _linger_not(end.get_extra_info("socket"))
                end.transport.abort()
            else:
                end.close()
        for task in line.tasks:
            if task is not asyncio.current_task():
                task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = _Line(writer)
        line.tasks.append(asyncio.current_task())
        self._lines.add(line)
        self.accepted += 1
        try:
            await self._until(lambda fault: not fault.half_open and not fault.black_hole)
            back, line.server = await self._connect()
        except (OSError, asyncio.CancelledError):
            # As a server that is not there: no answer but the end.
            self._end(line, abort=True)
            return
        ways = [self._carry(line, reader, line.server), self._carry(line, back, writer)]
        line.tasks += [asyncio.create_task(way) for way in ways]
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*line.tasks[1:])
        if line in self._lines:
            self._end(line, abort=False)

    async def _connect(self):
        if self.target.startswith("/"):
            return await asyncio.open_unix_connection(self.target, limit=PIECE)
        host, _, port = self.target.rpartition(":")
        return await asyncio.open_connection(host, int(port), limit=PIECE)

    async def _carry(self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One way of a line, piece by piece, until its end or a cut; the fault is looked at for each piece."""
        try:
            while True:
                await self._open(line, writer)
                rate = self._fault.bytes_per_s
                piece = await reader.read(max(int(rate / 10), 1) if rate else PIECE)
                await self._open(line, writer)
                if not piece:
                    break
                await self._hold_back(len(piece))
                # It may have become a hole while the piece was held back.
                await self._open(line, writer)
                if not self._forward(line, writer, piece):
                    return
                await writer.drain()
            writer.write_eof()
        except OSError:
            # The one end was reset, so the other is.
            self._end(line, abort=True)

    async def _open(self, line: _Line, writer: asyncio.StreamWriter) -> None:
        to_server = writer is line.server
        await self._until(lambda fault: not fault.black_hole and not (fault.half_open and not to_server))

    async def _hold_back(self, size: int) -> None:
        fault = self._fault
        wait_s = fault.delay_s + (size / fault.bytes_per_s if fault.bytes_per_s else 0)
        if wait_s:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait_s)

    def _forward(self, line: _Line, writer: asyncio.StreamWriter, piece: bytes) -> bool:
        """Write a piece, or as much of it as a cut lets through; whether the line goes on."""
        limit = self._fault.cut_after
        room = len(piece) if limit is None else max(limit - line.carried, 0)
        writer.write(piece[:room])
        line.carried += len(piece[:room])
        self.carried += len(piece[:room])
        if room < len(piece) or limit == line.carried:
            self._end(line, abort=False)
            return False
        return True

    async def _until(self, holds) -> None:
        while not holds(self._fault):
            await self._changed.wait()


def _linger_not(end: socket.socket) -> None:
    """Let the next close send an RST instead of a FIN."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
