"""Looks at everything between this client and its server; each look is a line: ok, warn or bad, and the cure."""

from __future__ import annotations

import datetime as dt
import email.utils
import importlib.metadata
import platform
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from traind.config import shown_token
from traind.version import __version__
from traind.version_skew import skew_warning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from traind.config import Address, Config
    from traind.v1 import server_pb2

Level = Literal["ok", "warn", "bad"]
REST_S = 5.0
# A header tells whole seconds, and an answer takes its time.
CLOCKS_APART_S = 5.0
NEEDED_TO_TRAIN = ("read", "submit", "predict")
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")  # as gRPC reads them, in this order


@dataclass(frozen=True)
class Look:
    """What was seen of one thing."""

    level: Level
    name: str
    text: str
    cure: str = ""


def look_at_client() -> Look:
    """Versions on this machine."""
    parts = (f"{name} {importlib.metadata.version(name)}" for name in ("grpcio", "protobuf"))
    return Look("ok", "client", ", ".join([f"traind {__version__}", f"Python {platform.python_version()}", *parts]))


def look_at_way(config: Config, environ: Mapping[str, str]) -> Iterator[Look]:
    """Where the server is to be, and what stands between."""
    yield Look("ok", "address", f"{config.address.url} (from {config.address_from})")
    if config.token and not config.address.tls and not config.address.private:
        cure = "use grpcs:// there (docs/operations.md tells how a server speaks TLS)"
        yield Look("warn", "privacy", f"the token goes to {config.address.url} in the clear", cure)
    name = next((name for name in _PROXIES if environ.get(name, "").strip()), None)
    if name is None:
        return
    if config.address.private:
        yield Look("ok", "proxy", f"{name} is set; it is not used for {config.address.host}, which is near")
    elif _left_out(config.address.host, environ):
        yield Look("ok", "proxy", f"{name} is set; no_proxy leaves {config.address.host} out")
    else:
        cure = f"if calls fail or break off, set no_proxy={config.address.host}"
        yield Look("warn", "proxy", f"calls go through {name}, which has to let HTTP/2 pass", cure)


def _left_out(host: str, environ: Mapping[str, str]) -> bool:
    listed = environ.get("no_grpc_proxy") or environ.get("no_proxy") or ""
    return any(host.endswith(part.strip()) for part in listed.split(",") if part.strip())


def look_at_server(config: Config, info: server_pb2.ServerInfo, took_s: float) -> Iterator[Look]:
    """What the server tells of itself and of the token."""
    yield Look("ok", "server", f"traind {info.version}, answers in {1000 * took_s:.0f} ms")
    if warning := skew_warning(__version__, info.version, info.min_client_version):
        what, _, cure = warning.partition("; ")
        yield Look("warn", "versions", what, cure)
    token = f"{shown_token(config.token)} from {config.token_from}"
    yield Look("ok", "token", f"{info.user}: {', '.join(info.scopes)} ({token})")
    if lacking := [scope for scope in NEEDED_TO_TRAIN if scope not in info.scopes]:
        cure = "ask whoever runs the server for a token that has them"
        yield Look("warn", "scopes", f"the token lacks {', '.join(lacking)}, so no training can be tried", cure)
    waits = "; workers look for work themselves, up to a second later" if info.broker == "none" else ""
    yield Look("ok", "storage", f"database {info.database}, broker {info.broker}{waits}")
    if info.devices:
        yield Look("ok", "devices", ", ".join(info.devices))
    else:
        yield Look("warn", "devices", "the server names none", "set TRAIND_DEVICES where the server runs")
    mib = 1 << 20
    yield Look(
        "ok",
        "limits",
        f"files of {info.max_upload_bytes // mib} MiB, messages of {info.max_message_bytes // mib} MiB, "
        f"networks of {info.max_parameters:,} parameters",
    )


def look_at_rest(config: Config, info: server_pb2.ServerInfo) -> Iterator[Look]:
    """Whether REST answers, and by its Date header whether the clocks agree."""
    url = f"{http_address(config.address, info.http_port)}/healthz"
    began = time.time()
    try:
        with _opener(config).open(url, timeout=REST_S) as answer:
            told = answer.headers.get("date")
    except (OSError, urllib.error.URLError) as error:
        cure = "only browsers and REST need it; is its port open, and is it the server's own?"
        yield Look("warn", "rest", f"{url} does not answer: {getattr(error, 'reason', error)}", cure)
        return
    yield Look("ok", "rest", f"{url} answers")
    if told is None:
        yield Look("warn", "clock", "the server told no time", "something between takes away the Date header")
        return
    middle = dt.datetime.fromtimestamp((began + time.time()) / 2, dt.UTC)
    apart = (email.utils.parsedate_to_datetime(told) - middle).total_seconds()
    if abs(apart) < CLOCKS_APART_S:
        yield Look("ok", "clock", f"the same as the server's, within {CLOCKS_APART_S:.0f} s")
    else:
        ahead = "ahead of" if apart > 0 else "behind"
        cure = "set both by a time server; times of jobs mislead until then"
        yield Look("warn", "clock", f"the server's clock is {abs(apart):.0f} s {ahead} this one", cure)


def http_address(address: Address, port: int) -> str:
    """REST of the server whose gRPC is at `address`: the same host, with TLS where gRPC has it."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"http{'s' if address.tls else ''}://{host}:{port}"


def _opener(config: Config) -> urllib.request.OpenerDirector:
    context = ssl.create_default_context()
    if config.authorities is not None:
        context = ssl.create_default_context(cadata=config.authorities.decode("ascii", "replace"))
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=context)]
    if config.address.private:
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)
