"""A server of the next version: it hands every call to a real one, and adds to the answers what only it knows."""

import concurrent.futures

import grpc
from google.protobuf.message import Message

from tests.clients.traind import contracts
from tests.clients.traind.scripted import BY_PATH, STREAMS_IN, STREAMS_OUT
from traind.v1 import datasets_pb2, jobs_pb2, models_pb2, predictions_pb2, profiles_pb2, server_pb2, uploads_pb2

_FILES = (datasets_pb2, jobs_pb2, models_pb2, predictions_pb2, profiles_pb2, server_pb2, uploads_pb2)
_ADDED = {message: name for fields in contracts.NEW_FIELDS.values() for message, name in fields.items()}


class NewerServer(grpc.GenericRpcHandler):
    """`changes` turn messages of the newer contract, by their name, into what this server has to say."""

    def __init__(self, url):
        self.changes = {}
        self._behind = grpc.insecure_channel(url.removeprefix("grpc://"))
        self._classes = contracts.classes(contracts.newer, *_FILES)
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers([self])
        self.url = f"grpc://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self):
        self._server.start()
        return self

    def __exit__(self, *_):
        self._server.stop(None).wait()
        self._behind.close()

    def service(self, handler_call_details):
        path = handler_call_details.method
        name, kind = path.rpartition("/")[2], BY_PATH[path].response.DESCRIPTOR.full_name
        streams = ("stream" if name in STREAMS_IN else "unary", "stream" if name in STREAMS_OUT else "unary")
        call = getattr(self._behind, "_".join(streams))(path)

        def once(request, context):
            with _passed_on(context):
                return self._enriched(kind, call(request, metadata=_metadata(context)))

        def often(request, context):
            with _passed_on(context):
                for answer in call(request, metadata=_metadata(context)):
                    yield self._enriched(kind, answer)

        make = getattr(grpc, f"{'_'.join(streams)}_rpc_method_handler")
        return make(often if name in STREAMS_OUT else once)

    def _enriched(self, kind, raw):
        if kind.startswith("google."):
            return raw
        answer = self._classes.get(kind).FromString(raw)
        self._enrich(answer)
        return answer.SerializeToString()

    def _enrich(self, message):
        for field, value in message.ListFields():
            if field.message_type is None or field.message_type.GetOptions().map_entry:
                continue
            for part in [value] if isinstance(value, Message) else value:
                self._enrich(part)
        name = message.DESCRIPTOR.name
        if name in _ADDED:
            setattr(message, _ADDED[name], "only the next version knows")
        if name in self.changes:
            self.changes[name](message)


class _passed_on:  # noqa: N801 - read as a statement
    """Refusals of the server behind, as they are."""

    def __init__(self, context):
        self._context = context

    def __enter__(self):
        return self

    def __exit__(self, _kind, error, _trace):
        if isinstance(error, grpc.RpcError):
            self._context.set_trailing_metadata(error.trailing_metadata() or ())
            self._context.abort(error.code(), error.details())


def _metadata(context):
    return [
        (name, value) for name, value in context.invocation_metadata() if name in {"authorization", "x-traind-client"}
    ]
