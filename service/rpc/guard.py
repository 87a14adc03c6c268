"""Stands before every method: nobody comes in without a token that may, and no exception goes out as it is."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc

from service import policy
from service.calling import statuses
from service.calling.calls import CALLER, Calls
from service.calling.observer import REQUEST_ID, Observation
from service.calling.server_version import SERVER_VERSION
from service.errors import MethodNotFound, TokenRejected
from service.observing.tracing import CARRIED
from service.rpc.errors import Context, abort

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
# The name of this door where calls are counted.
DOOR = "grpc"
_READ = frozenset({"authorization", REQUEST_ID, *CARRIED})

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
            return self._no_such_method(method)
        if policy.is_public(method):
            return handler
        return self._guarded(method, handler)

    def _guarded(self, method: str, handler: Handler) -> Handler:
        inner: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream

        async def answer_once(request: Any, context: Context) -> Any:
            sent = _read(context)
            seen = self._begin(sent, method)
            try:
                context.set_trailing_metadata((SERVER_VERSION, (REQUEST_ID, seen.request_id)))
                await self._let_in(method, sent, seen)
                answer = await inner(request, context)
                seen.answered(answer)
            except grpc.aio.AbortError:
                seen.end("UNKNOWN")
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, its text must not reach the caller
                known = statuses.translate(error, method)
            except BaseException:
                seen.end("CANCELLED")
                raise
            else:
                seen.end("OK")
                return answer
            seen.end(known.code)
            # What abort raises keeps this frame; it must not keep the request, nor the error that was handled.
            del request
            return await abort(context, known)

        async def answer_often(request: Any, context: Context) -> AsyncIterator[Any]:
            sent = _read(context)
            seen = self._begin(sent, method)
            try:
                told = (SERVER_VERSION, (REQUEST_ID, seen.request_id))
                # A stream may end in hours.
                await context.send_initial_metadata(told)
                context.set_trailing_metadata(told)
                await self._let_in(method, sent, seen)
                async for message in inner(request, context):
                    yield message
            except grpc.aio.AbortError:
                seen.end("UNKNOWN")
                raise
            except Exception as error:  # noqa: BLE001 - as above
                known = statuses.translate(error, method)
            except BaseException:
                seen.end("CANCELLED")
                raise
            else:
                seen.end("OK")
                return
            seen.end(known.code)
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

    def _begin(self, sent: dict[str, list[str]], method: str | None) -> Observation:
        carrier = {name: sent[name][0] for name in CARRIED if name in sent}
        seen = self._calls.observer.begin(DOOR, sent.get(REQUEST_ID, [None])[0], carrier)
        if method is not None:
            seen.named(method)
        return seen

    async def _let_in(self, method: str, sent: dict[str, list[str]], seen: Observation) -> None:
        tokens = sent.get("authorization", [])
        if len(tokens) > 1:
            raise TokenRejected("two authorization entries came with the call; send one")
        caller = await self._calls.admit(method, tokens[0] if tokens else None)
        seen.let_in(caller)
        CALLER.set(caller)

    def _no_such_method(self, method: str) -> Handler:
        async def refuse(_request: object, context: Context) -> None:
            seen, name = self._begin(_read(context), None), method[:200]
            error = MethodNotFound(
                f"there is no method {name}; the contract is proto/traind/v1", metadata={"method": name}
            )
            seen.end(error.code)
            await abort(context, error)

        return grpc.unary_unary_rpc_method_handler(refuse, None, None)


def _read(context: Context) -> dict[str, list[str]]:
    """What came with the call, of the entries that are read here."""
    sent: dict[str, list[str]] = {}
    for key, value in context.invocation_metadata() or ():
        if key in _READ:
            sent.setdefault(key, []).append(str(value))
    return sent
