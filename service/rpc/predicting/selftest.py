"""Whether the completion loop behaves on the grpcio that is installed: tried with real calls before a port is taken."""

import logging
import secrets
import time
from typing import Any, TypeAlias

import grpc
import numpy as np
from typing_extensions import override

from service.calling.observer import Observer
from service.data.table import Table
from service.errors import InternalError, TraindError
from service.model_names import Named
from service.modelling.predictor import Predicted
from service.observing.counts import CallCounts
from service.rpc.oip.methods import Answered, PredictionMethods
from service.rpc.predicting.loop import CompletionLoop
from service.serving.batching import Question
from service.serving.lookup import MustWait
from service.settings import LogSettings

Call: TypeAlias = "grpc.UnaryUnaryMultiCallable[bytes, bytes]"

log = logging.getLogger(__name__)

PATIENCE_S = 5.0
_ECHO, _WAITS, _ASKS, _FAILS, _NONE = "/test/Echo", "/test/Waits", "/test/Asks", "/test/Fails", "/test/None"


class _Question(Question[bytes]):
    """A question that needs no model."""

    @override
    def answer(self) -> bytes:
        return self.tell(Predicted(np.empty(0), None, None, []))


class _Echo(PredictionMethods):
    """Answers what it is sent; on another thread, or as a question, where the path says so."""

    def __init__(self) -> None:
        self.by_path = {}

    def answer(self, path: str, authorization: str | None, data: bytes, *, may_wait: bool) -> Answered:
        if path == _WAITS and not may_wait:
            raise MustWait
        told = data + (authorization or "").encode()
        if path == _ASKS and not may_wait:
            nobody: Any = None
            return _Question(Named(_ASKS, "", "", 1, 0), nobody, Table({}, 1), lambda _: told)
        if path == _FAILS:
            raise InternalError(path)
        if path == _NONE:
            raise TraindError("none")
        return told


def behaves() -> bool:
    """Echo, another thread, a question, errors, and an end with nothing left over."""
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
    for path in (_ECHO, _WAITS, _ASKS, _ECHO):
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
