"""A real gRPC server on a port of its own that answers as it is told: for what a healthy traind never does."""

import concurrent.futures
import contextlib
from collections import defaultdict

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from traind import methods

BY_PATH = {method.path: method for method in vars(methods).values() if isinstance(method, methods.Method)}
STREAMS_IN = {"WriteUpload"}
STREAMS_OUT = {"DownloadDataset", "ExportModel", "WatchJob"}


def refusal(code, reason="", *, retry_s=None, message="no"):
    """A status as traind sends it; without reason as gRPC itself does."""
    status = status_pb2.Status(code=code_pb2.Code.Value(code), message=message)
    if reason:
        packed = Any()
        packed.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="traind"))
        status.details.append(packed)
    if retry_s is not None:
        packed, delay = Any(), Duration()
        delay.FromNanoseconds(int(retry_s * 1e9))
        packed.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        status.details.append(packed)
    return rpc_status.to_status(status)


class Scripted(grpc.GenericRpcHandler):
    """Answers each call of a method by the next entry of its script: a message, a list of messages, or a refusal.

    The last entry is used again when the script is over. A list ends with a refusal where a stream shall break.
    """

    def __init__(self, server_version=None):
        self.server_version = server_version
        self.scripts = {}
        self.requests = defaultdict(list)
        self.metadata = []
        self.cancelled = 0

    def service(self, handler_call_details):
        method = BY_PATH[handler_call_details.method]
        name = method.path.rpartition("/")[2]
        self.metadata.append(dict(handler_call_details.invocation_metadata))
        codec = {"request_deserializer": method.request.FromString, "response_serializer": self._serialize}
        if name in STREAMS_IN:
            return grpc.stream_unary_rpc_method_handler(lambda r, c: self._unary(name, self._read(r), c), **codec)
        if name in STREAMS_OUT:
            return grpc.unary_stream_rpc_method_handler(lambda r, c: self._stream(name, r, c), **codec)
        return grpc.unary_unary_rpc_method_handler(lambda r, c: self._unary(name, r, c), **codec)

    def _next(self, name, request):
        self.requests[name].append(request)
        script = self.scripts[name]
        answer = script.pop(0) if len(script) > 1 else script[0]
        return answer(request) if callable(answer) else answer

    def _unary(self, name, request, context):
        if self.server_version:
            context.set_trailing_metadata([("x-traind-server", self.server_version)])
        answer = self._next(name, request)
        if isinstance(answer, grpc.Status):
            context.abort_with_status(answer)
        return answer

    def _stream(self, name, request, context):
        context.add_callback(self._note_cancel(context))
        for answer in self._next(name, request):
            if isinstance(answer, grpc.Status):
                context.abort_with_status(answer)
            if callable(answer):
                answer(context)
            else:
                yield answer

    def _note_cancel(self, context):
        def ended():
            if context.code() is None:
                self.cancelled += 1

        return ended

    @staticmethod
    def _read(requests):
        """The parts that came, also when the stream broke off."""
        with contextlib.suppress(grpc.RpcError):
            return list(requests)
        return []

    @staticmethod
    def _serialize(message):
        return message.SerializeToString()


@contextlib.contextmanager
def scripted_server(server_version=None):
    """A running server; yields its script and its address."""
    script = Scripted(server_version)
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), handlers=[script])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield script, f"grpc://127.0.0.1:{port}"
    finally:
        server.stop(0).wait()
