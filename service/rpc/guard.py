"""Stands before every method: nobody comes in without a token that may, and no exception goes out as it is."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc

from service import policy
from service.calling import statuses
from service.calling.calls import CALLER, Calls
from service.calling.server_version import SERVER_VERSION
from service.errors import MethodNotFound, TokenRejected
from service.rpc.errors import Context, abort

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"


class Guard(grpc.aio.ServerInterceptor):
    """The outermost interceptor."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> "Handler | None":
        """The method's handler behind the guard; a public one as it is; one that says so where there is none."""
        method = handler_call_details.method.lstrip("/").replace("/", ".")
        handler = await continuation(handler_call_details)
        if handler is None:
            return _no_such_method(method)
        if policy.is_public(method):
            return handler
        return self._guarded(method, handler)

    def _guarded(self, method: str, handler: Handler) -> Handler:
        inner: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream

        async def answer_once(request: Any, context: Context) -> Any:
            try:
                context.set_trailing_metadata((SERVER_VERSION,))
                await self._let_in(method, context)
                return await inner(request, context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, its text must not reach the caller
                known = statuses.translate(error, method)
            # What abort raises keeps this frame; it must not keep the request, nor the error that was handled.
            del request
            return await abort(context, known)

        async def answer_often(request: Any, context: Context) -> AsyncIterator[Any]:
            try:
                # A stream may end in hours.
                await context.send_initial_metadata((SERVER_VERSION,))
                context.set_trailing_metadata((SERVER_VERSION,))
                await self._let_in(method, context)
                async for message in inner(request, context):
                    yield message
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - as above
                known = statuses.translate(error, method)
            else:
                return
            del request
            await abort(context, known)

        make: Any = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        guarded: Handler = make(
            answer_often if handler.response_streaming else answer_once,
            handler.request_deserializer,
            handler.response_serializer,
        )
        return guarded

    async def _let_in(self, method: str, context: Context) -> None:
        sent = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
        if len(sent) > 1:
            raise TokenRejected("two authorization entries came with the call; send one")
        CALLER.set(await self._calls.admit(method, str(sent[0]) if sent else None))


def _no_such_method(method: str) -> Handler:
    async def refuse(_request: object, context: Context) -> None:
        name = method[:200]
        await abort(
            context,
            MethodNotFound(f"there is no method {name}; the contract is proto/traind/v1", metadata={"method": name}),
        )

    return grpc.unary_unary_rpc_method_handler(refuse, None, None)
