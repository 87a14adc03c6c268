"""The methods of the contract as handlers of grpc.aio.

Messages come as bytes and are parsed here, for grpcio answers one that it cannot parse with INTERNAL.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import Message

from service.calling.methods import PART_DEADLINE_S, Method, within
from service.rpc.errors import Context
from service.rpc.parsing import parse

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Handlers(grpc.GenericRpcHandler):
    """Looks methods up by their path."""

    def __init__(self, methods: Iterable[Method]) -> None:
        self._handlers = {method.path: _handler(method) for method in methods}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        """The handler of a path, if there is one."""
        return self._handlers.get(handler_call_details.method)


def _handler(method: Method) -> Handler:
    async def unary(raw: bytes, context: Context) -> Message:
        # None where the client named no deadline.
        asked: float | None = context.time_remaining()
        async with within(method.deadline_s(asked), "the call"):
            answer: Message = await method.call(parse(method.request_class, raw), context)
        return answer

    async def from_stream(parts: AsyncIterator[bytes], context: Context) -> Message:
        answer: Message = await method.call(_parse_parts(method, parts), context)
        return answer

    async def to_stream(raw: bytes, context: Context) -> AsyncIterator[Message]:
        async for answer in method.call(parse(method.request_class, raw), context):
            yield answer

    if method.client_streaming:
        return grpc.stream_unary_rpc_method_handler(from_stream, None, _serialize)
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(to_stream, None, _serialize)
    return grpc.unary_unary_rpc_method_handler(unary, None, _serialize)


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


async def _parse_parts(method: Method, parts: AsyncIterator[bytes]) -> AsyncIterator[Message]:
    while True:
        async with within(PART_DEADLINE_S, "the wait for the next part"):
            raw = await anext(parts, None)
        if raw is None:
            return
        yield parse(method.request_class, raw)
