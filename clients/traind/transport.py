"""Sends calls over gRPC and waits for them: the one file that knows a channel."""

from __future__ import annotations

import os
import time
import warnings
from typing import TYPE_CHECKING, Any

import grpc

from traind.config import shown_token
from traind.errors import AuthRequired, ConnectionFailed, TimedOut, TraindError
from traind.retries import delay_before_retry
from traind.statuses import decode_status
from traind.version import __version__

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from traind.config import Config
    from traind.methods import Method, Req, Res

# What happened to a connection that stood.
BROKE = ("the server ended it", "it was cut")
DETAILS = "grpc-status-details-bin"
LARGEST_ANSWER = 256 << 20  # the history of a million epochs is 40 MiB


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
        self._metadata = [("x-traind-client", __version__)]
        if config.token:
            self._metadata.append(("authorization", f"Bearer {config.token}"))

    def call(self, method: Method[Req, Res], request: Req, timeout: float | None = None) -> Res:
        """Send a request and wait for its answer, within `timeout` seconds (None = the client's) over all tries."""
        began = time.monotonic()
        whole = self._timeout if timeout is None else timeout
        attempt = 0
        while True:
            attempt += 1
            left = began + whole - time.monotonic()
            try:
                answer: Res = self._unary(method)(request, timeout=left, metadata=self._metadata)
            except grpc.RpcError as error:
                seen = self._decode(error, whole)
            else:
                return answer
            spent = time.monotonic() - began
            delay = delay_before_retry(seen, attempt, repeatable=method.repeatable, max_retries=self._max_retries)
            limit = min(whole, self._connect_timeout) if isinstance(seen, ConnectionFailed) else whole
            if delay is None or spent + delay >= limit:
                raise _told(seen, attempt, spent) from None
            time.sleep(delay)

    def stream(self, method: Method[Req, Res], request: Req, timeout: float | None) -> Generator[Res]:
        """Yield the answers of one call without trying again; None = no deadline. Closing it cancels the call."""
        call = self._stub(method, "unary_stream")(request, timeout=timeout, metadata=self._metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            raise self._decode(error, timeout) from None
        finally:
            call.cancel()

    def send(self, method: Method[Req, Res], requests: Iterator[Req], timeout: float) -> Res:
        """Send many requests as one call, without trying again."""
        try:
            answer: Res = self._stub(method, "stream_unary")(requests, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._decode(error, timeout) from None
        return answer

    def close(self) -> None:
        """Close this process's channel; the next call opens another."""
        pid = os.getpid()
        self._calls = {key: call for key, call in self._calls.items() if key[0] != pid}
        if channel := self._channels.pop(pid, None):
            channel.close()

    def _unary(self, method: Method[Req, Res]) -> Any:
        return self._stub(method, "unary_unary")

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
        address = self.config.address
        options: list[tuple[str, Any]] = [
            ("grpc.primary_user_agent", f"traind/{__version__}"),
            ("grpc.max_receive_message_length", LARGEST_ANSWER),
            # How long one attempt to connect may take, and how soon the next one may follow.
            ("grpc.min_reconnect_backoff_ms", int(self._connect_timeout * 1000)),
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 2000),
            # A server that vanished without a word is noticed after 80 s of an open call.
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            # A client that could not connect must not make the next one fail at once.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if address.private:
            options.append(("grpc.enable_http_proxy", 0))
        if address.tls:
            return grpc.secure_channel(address.target, grpc.ssl_channel_credentials(self.config.authorities), options)
        if self.config.token and not address.private:
            warnings.warn(f"the token goes to {address.url} in the clear; use grpcs:// there", stacklevel=2)
        return grpc.insecure_channel(address.target, options)

    def _decode(self, error: Any, timeout: float | None) -> TraindError:
        """The error of a grpc.RpcError, which is a grpc.Call too where a call ended; types do not say so."""
        code = error.code().name
        trailers = dict(error.trailing_metadata() or ())
        details = trailers.get(DETAILS)
        seen = decode_status(code, error.details() or "", details if isinstance(details, bytes) else None)
        if isinstance(seen, AuthRequired) and self.config.token:
            seen.message += f" ({shown_token(self.config.token)} from {self.config.token_from})"
        if seen.reason:
            return seen
        url = self.config.address.url
        if code in {"UNAVAILABLE", "CANCELLED"} or "http2 header with status" in (error.details() or ""):
            cause, fix = _cause(error.details() or "")
            lost = f"the connection to {url} broke" if cause in BROKE else f"no server at {url}"
            return ConnectionFailed(f"{lost} (from {self.config.address_from}): {cause}", fix=fix, code=code)
        if code == "DEADLINE_EXCEEDED":
            fix = "the server may be busy; give more time with Client(timeout=...)"
            return TimedOut(f"no answer from {url} within {timeout or 0:g} s", fix=fix, code=code)
        return seen


def _cause(details: str) -> tuple[str, str]:
    """What gRPC says about a lost connection, in words, and what to do."""
    text = details.lower()
    start = "start one with: traind up; or say where it is with TRAIND_URL=grpc://HOST:8081"
    if "http1" in text or "http/1" in text or "http2 header" in text:
        return "something else answers there, not gRPC", "the gRPC port is 8081 unless the server was told otherwise"
    if "refused" in text:
        return "connection refused", start
    if "dns" in text or "resol" in text or "name or service" in text:
        return "the host's name is not known", "check the name in the address"
    if "settings" in text or "timed out" in text or "timeout" in text or "deadline" in text or "fd shutdown" in text:
        return "no answer to the attempt to connect", "check host and port, and the firewall between"
    if "certificate_verify_failed" in text or "hostname verification" in text:
        return "its TLS certificate is not trusted, or is of another name", (
            "call the server by a name that its certificate holds, and say who signed it with TRAIND_TLS_CA=FILE.pem "
            "(in a profile: tls_ca)"
        )
    if "ssl" in text or "tls" in text or "certificate" in text or "handshak" in text:
        return f"no TLS connection: {details}", "grpc:// is for servers without TLS, grpcs:// for those with it"
    if "failed to connect" in text:
        return details, start
    return BROKE[0] if "reset" in text or "closed" in text or "goaway" in text else BROKE[1], start


def _told(error: TraindError, attempts: int, spent: float) -> TraindError:
    """The error with how hard it was tried."""
    if attempts > 1:
        error.message += f"; tried {attempts} times in {spent:.1f} s"
    return error
