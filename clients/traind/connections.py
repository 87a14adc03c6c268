"""What every way to send a call shares: a channel's options, its metadata, when it is tried again, what went wrong."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

from traind.config import shown_token
from traind.errors import AuthRequired, ConnectionFailed, TimedOut, TraindError
from traind.retries import delay_before_retry
from traind.statuses import decode_status
from traind.version import __version__
from traind.version_skew import skew_warning

if TYPE_CHECKING:
    from collections.abc import Iterable

    from traind.config import Config

# What happened to a connection that stood.
BROKE = ("the server ended it", "it was cut")
DETAILS = "grpc-status-details-bin"
_TOLD: set[str] = set()
LARGEST_ANSWER = 256 << 20  # the history of a million epochs is 40 MiB


class Attempts:
    """One call's tries: how much time is left, and after how long the next one follows."""

    def __init__(self, whole: float, *, connect_timeout: float, repeatable: bool, max_retries: int) -> None:
        self.whole = whole
        self._connect_timeout = connect_timeout
        self._repeatable = repeatable
        self._max_retries = max_retries
        self._began = time.monotonic()
        self._made = 0

    def left(self) -> float:
        """Begin a try; seconds that it may take."""
        self._made += 1
        return self._began + self.whole - time.monotonic()

    def delay_after(self, seen: TraindError) -> float:
        """Seconds before the next try. Raises `seen`, with how hard it was tried, where none shall follow."""
        spent = time.monotonic() - self._began
        delay = delay_before_retry(seen, self._made, repeatable=self._repeatable, max_retries=self._max_retries)
        limit = min(self.whole, self._connect_timeout) if isinstance(seen, ConnectionFailed) else self.whole
        if delay is not None and spent + delay < limit:
            return delay
        if self._made > 1:
            seen.message += f"; tried {self._made} times in {spent:.1f} s"
        raise seen


def note_server(metadata: Iterable[tuple[str, str | bytes]] | None) -> None:
    """Warn, once in a process for each version, of a server that this client may not understand.

    `metadata` is what came with the answer.
    """
    for name, version in metadata or ():
        if name != "x-traind-server" or not isinstance(version, str) or version in _TOLD:
            continue
        _TOLD.add(version)
        if warning := skew_warning(__version__, version):
            warnings.warn(warning, stacklevel=2)


def call_metadata(config: Config) -> list[tuple[str, str]]:
    """What goes with every call."""
    metadata = [("x-traind-client", __version__)]
    if config.token:
        metadata.append(("authorization", f"Bearer {config.token}"))
    return metadata


def channel_options(config: Config, connect_timeout: float) -> list[tuple[str, Any]]:
    """The options of a channel; warns where the token would go through a foreign network in the clear."""
    address = config.address
    options: list[tuple[str, Any]] = [
        ("grpc.primary_user_agent", f"traind/{__version__}"),
        ("grpc.max_receive_message_length", LARGEST_ANSWER),
        # How long one attempt to connect may take, and how soon the next one may follow.
        ("grpc.min_reconnect_backoff_ms", int(connect_timeout * 1000)),
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
    elif config.token and not address.tls:
        warnings.warn(f"the token goes to {address.url} in the clear; use grpcs:// there", stacklevel=2)
    return options


def decode_rpc_error(error: Any, config: Config, timeout: float | None) -> TraindError:
    """The error of a grpc.RpcError, which is a grpc.Call too where a call ended; types do not say so."""
    code = error.code().name
    trailers = dict(error.trailing_metadata() or ())
    details = trailers.get(DETAILS)
    seen = decode_status(code, error.details() or "", details if isinstance(details, bytes) else None)
    if isinstance(seen, AuthRequired) and config.token:
        seen.message += f" ({shown_token(config.token)} from {config.token_from})"
    if seen.reason:
        return seen
    url = config.address.url
    if code in {"UNAVAILABLE", "CANCELLED"} or "http2 header with status" in (error.details() or ""):
        cause, fix = _cause(error.details() or "")
        lost = f"the connection to {url} broke" if cause in BROKE else f"no server at {url}"
        return ConnectionFailed(f"{lost} (from {config.address_from}): {cause}", fix=fix, code=code)
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
