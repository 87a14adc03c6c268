"""The door of predictions by gRPC's own sync server: slower, and public interface only."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from service.calling.observer import Observer
from service.rpc.oip.methods import PredictionMethods
from service.rpc.predicting.answering import MOST_CALLS, Asked, Status
from service.serving.batching import Question

THREADS = 8


class ThreadedServer(grpc.GenericRpcHandler):
    """A server of the prediction methods; started once, stopped once."""

    def __init__(self, methods: PredictionMethods, observer: Observer, options: Sequence[tuple[str, int]]) -> None:
        self._methods, self._observer = methods, observer
        pool = ThreadPoolExecutor(THREADS, "prediction")
        self._server = grpc.server(pool, [self], options=options, maximum_concurrent_rpcs=MOST_CALLS)

    def bind(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        """Take a port and say which it is; 0 where it cannot be had."""
        try:
            if credentials is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, credentials)
        except RuntimeError:
            return 0

    def start(self) -> None:
        """Let calls in."""
        self._server.start()

    def stop(self, grace_s: float) -> None:
        """Refuse new calls, give running ones their time, end. Waits for all that."""
        self._server.stop(grace_s).wait(2 * grace_s)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        """Any method: which there are is the table's to say."""
        path = handler_call_details.method

        def carry_out(data: bytes, context: grpc.ServicerContext) -> bytes:
            metadata = [(str(key), value) for key, value in context.invocation_metadata()]
            asked = Asked(self._methods, self._observer, path, metadata)
            answered = asked.answer(data, may_wait=True)
            assert not isinstance(answered, Question)
            if isinstance(answered, Status):
                context.set_trailing_metadata(answered.trailers)
                context.set_code(answered.code)
                context.set_details(answered.details)
                return b""
            context.set_trailing_metadata(asked.trailers)
            return answered

        return grpc.unary_unary_rpc_method_handler(carry_out, None, None)
