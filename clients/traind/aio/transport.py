"""Sends calls over gRPC and awaits them: the one file that knows an asyncio channel. ../transport.py is its twin."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import grpc
import grpc.aio

from traind.connections import Attempts, call_metadata, channel_options, decode_rpc_error, note_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from traind.config import Config
    from traind.methods import Method, Req, Res


class AsyncTransport:
    """Calls to one server. A channel belongs to the event loop that opened it; every loop gets one of its own."""

    def __init__(self, config: Config, *, timeout: float, connect_timeout: float, max_retries: int) -> None:
        self.config = config
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._max_retries = max_retries
        self._channels: WeakKeyDictionary[asyncio.AbstractEventLoop, _Channel] = WeakKeyDictionary()
        self._metadata = call_metadata(config)

    async def call(self, method: Method[Req, Res], request: Req, timeout: float | None = None) -> Res:
        """Send a request and await its answer, within `timeout` seconds (None = the client's) over all tries."""
        attempts = Attempts(
            self._timeout if timeout is None else timeout,
            connect_timeout=self._connect_timeout,
            repeatable=method.repeatable,
            max_retries=self._max_retries,
        )
        while True:
            call = self._stub(method, "unary_unary")(request, timeout=attempts.left(), metadata=self._metadata)
            try:
                answer: Res = await call
            except grpc.RpcError as error:
                seen = decode_rpc_error(error, self.config, attempts.whole)
            else:
                note_server(await call.trailing_metadata())
                return answer
            await asyncio.sleep(attempts.delay_after(seen))

    async def stream(
        self,
        method: Method[Req, Res],
        request: Req,
        timeout: float | None,
    ) -> AsyncGenerator[Res]:
        """Yield the answers of one call without trying again; None = no deadline. Closing it cancels the call."""
        call = self._stub(method, "unary_stream")(request, timeout=timeout, metadata=self._metadata)
        try:
            async for answer in call:
                yield answer
        except grpc.RpcError as error:
            raise decode_rpc_error(error, self.config, timeout) from None
        finally:
            call.cancel()

    async def send(self, method: Method[Req, Res], requests: AsyncIterator[Req], timeout: float) -> Res:
        """Send many requests as one call, without trying again."""
        try:
            answer: Res = await self._stub(method, "stream_unary")(requests, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise decode_rpc_error(error, self.config, timeout) from None
        return answer

    async def close(self) -> None:
        """Close this loop's channel; the next call opens another."""
        if found := self._channels.pop(asyncio.get_running_loop(), None):
            await found.channel.close()

    def _stub(self, method: Method[Req, Res], kind: str) -> Any:
        loop = asyncio.get_running_loop()
        found = self._channels.get(loop)
        if found is None or found.pid != os.getpid():
            found = self._channels[loop] = _Channel(self._open())
        if method.path not in found.calls:
            found.calls[method.path] = getattr(found.channel, kind)(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
        return found.calls[method.path]

    def _open(self) -> grpc.aio.Channel:
        address, options = self.config.address, channel_options(self.config, self._connect_timeout)
        if address.tls:
            credentials = grpc.ssl_channel_credentials(self.config.authorities)
            return grpc.aio.secure_channel(address.target, credentials, options)
        return grpc.aio.insecure_channel(address.target, options)


class _Channel:
    """A channel with the calls that were made on it, and the process it belongs to: none survives a fork."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.pid = os.getpid()
        self.calls: dict[str, Any] = {}
