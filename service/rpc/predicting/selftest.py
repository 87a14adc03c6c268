"""Whether the completion loop behaves on the grpcio that is installed: tried with real calls before a port is taken."""

import logging
import secrets
import time
from typing import TypeAlias

import grpc

from service.calling.observer import Observer
from service.errors import InternalError, TraindError
from service.observing.counts import CallCounts
from service.rpc.oip.methods import PredictionMethods
from service.rpc.predicting.loop import CompletionLoop
from service.serving.lookup import MustWait
from service.settings import LogSettings

Call: TypeAlias = "grpc.UnaryUnaryMultiCallable[bytes, bytes]"

log = logging.getLogger(__name__)

PATIENCE_S = 5.0
_ECHO, _WAITS, _FAILS, _NONE = "/test/Echo", "/test/Waits", "/test/Fails", "/test/None"


class _Echo(PredictionMethods):
    """Answers what it is sent; on another thread where the path says so."""

    def __init__(self) -> None:
        self.by_path = {}

    def answer(self, path: str, authorization: str | None, data: bytes, *, may_wait: bool) -> bytes:
        if path == _WAITS and not may_wait:
            raise MustWait
        if path == _FAILS:
            raise InternalError(path)
        if path == _NONE:
            raise TraindError("none")
        return data + (authorization or "").encode()


def behaves() -> bool:
    """Echo, another thread, errors, and an end with nothing left over."""
    began = time.monotonic()
    loop = CompletionLoop(_Echo(), Observer(CallCounts(), LogSettings(access="off")), [("grpc.so_reuseport", 0)])
    address = f"unix-abstract:traind-{secrets.token_hex(12)}"
    try:
        if not loop.bind(address, None):
            return False
        loop.start()
        try:
            with grpc.insecure_channel(address) as channel:
                wrong = _wrong(channel)
        finally:
            loop.stop(PATIENCE_S)
    except Exception:
        log.exception("the completion loop does not run on grpcio %s", grpc.__version__)
        return False
    if loop.active:
        wrong = f"{loop.active} calls did not end"
    if wrong:
        log.warning("the completion loop does not behave on grpcio %s: %s", grpc.__version__, wrong)
    else:
        log.debug("the completion loop behaves; tried in %.3f s", time.monotonic() - began)
    return not wrong


def _wrong(channel: grpc.Channel) -> str:
    """What is not as it should be; empty if everything is."""
    for path in (_ECHO, _WAITS, _ECHO):
        sent = b"x" * 70_000
        call: Call = channel.unary_unary(path)
        heard = call(sent, timeout=PATIENCE_S, metadata=(("authorization", "yes"),))
        if heard != sent + b"yes":
            return f"{path} answered {len(heard)} bytes"
    for path, code in ((_FAILS, grpc.StatusCode.INTERNAL), (_NONE, grpc.StatusCode.UNKNOWN)):
        try:
            failing: Call = channel.unary_unary(path)
            failing(b"", timeout=PATIENCE_S)
        except grpc.RpcError as error:
            if error.code() is not code:
                return f"{path} ended with {error.code()}"
        else:
            return f"{path} did not fail"
    return ""
