"""Sends calls over gRPC and waits for them: the one file that knows a channel. aio/transport.py is its twin."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import grpc

from traind.connections import Attempts, call_metadata, channel_options, decode_rpc_error, note_server

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from traind.config import Config
    from traind.methods import Method, Req, Res


class Transport:
    """Calls to one server. Safe to use from several threads, and in a forked child, which gets a channel of its own."""

    def __init__(self, config: Config, *, timeout: float, connect_timeout: float, max_retries: int) -> None:
        self.config = config
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._max_retries = max_retries
        # By process id: a channel does not survive a fork.
        self._channels: dict[int, grpc.Channel] = {}
        self._calls: dict[tuple[int, str], Any] = {}
        self._metadata = call_metadata(config)

    def call(self, method: Method[Req, Res], request: Req, timeout: float | None = None) -> Res:
        """Send a request and wait for its answer, within `timeout` seconds (None = the client's) over all tries."""
        attempts = Attempts(
            self._timeout if timeout is None else timeout,
            connect_timeout=self._connect_timeout,
            repeatable=method.repeatable,
            max_retries=self._max_retries,
        )
        while True:
            try:
                answer, call = self._stub(method, "unary_unary").with_call(
                    request, timeout=attempts.left(), metadata=self._metadata
                )
            except grpc.RpcError as error:
                seen = decode_rpc_error(error, self.config, attempts.whole)
            else:
                note_server(call.trailing_metadata())
                found: Res = answer
                return found
            time.sleep(attempts.delay_after(seen))

    def stream(self, method: Method[Req, Res], request: Req, timeout: float | None) -> Generator[Res]:
        """Yield the answers of one call without trying again; None = no deadline. Closing it cancels the call."""
        call = self._stub(method, "unary_stream")(request, timeout=timeout, metadata=self._metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            raise decode_rpc_error(error, self.config, timeout) from None
        finally:
            call.cancel()

    def send(self, method: Method[Req, Res], requests: Iterator[Req], timeout: float) -> Res:
        """Send many requests as one call, without trying again."""
        try:
            answer: Res = self._stub(method, "stream_unary")(requests, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise decode_rpc_error(error, self.config, timeout) from None
        return answer

    def close(self) -> None:
        """Close this process's channel; the next call opens another."""
        pid = os.getpid()
        self._calls = {key: call for key, call in self._calls.items() if key[0] != pid}
        if channel := self._channels.pop(pid, None):
            channel.close()

    def _stub(self, method: Method[Req, Res], kind: str) -> Any:
        key = (os.getpid(), method.path)
        if key not in self._calls:
            self._calls[key] = getattr(self._channel(), kind)(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
        return self._calls[key]

    def _channel(self) -> grpc.Channel:
        pid = os.getpid()
        if pid not in self._channels:
            self._channels.setdefault(pid, self._open())
        return self._channels[pid]

    def _open(self) -> grpc.Channel:
        address, options = self.config.address, channel_options(self.config, self._connect_timeout)
        if address.tls:
            return grpc.secure_channel(address.target, grpc.ssl_channel_credentials(self.config.authorities), options)
        return grpc.insecure_channel(address.target, options)
