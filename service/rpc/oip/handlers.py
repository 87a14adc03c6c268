"""The Open Inference Protocol on the main gRPC port, so that one address answers everything."""

from collections.abc import Callable
from typing import Any, TypeAlias

import grpc

from service import policy
from service.calling.calls import CALLER, Calls
from service.calling.methods import DEFAULT_DEADLINE_S, LONGEST_DEADLINE_S, MOST_MESSAGE_BYTES, within
from service.rpc.errors import Context
from service.rpc.oip.methods import SERVICE, PredictionMethods
from service.serving.lookup import MustWait
from service.serving.turns import Turns

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
# What stands in an answer beside its values.
ROOM_BYTES = 64 << 10


class InferenceHandlers(grpc.GenericRpcHandler):
    """The protocol's methods as handlers of grpc.aio, behind the guard."""

    service_name = SERVICE

    def __init__(self, calls: Calls, ready: Callable[[], bool]) -> None:
        self._calls = calls
        self._turns = Turns(calls)
        self._methods = PredictionMethods(calls.app, MOST_MESSAGE_BYTES - ROOM_BYTES, ready)
        self.names = [name for name in self._methods.names if name.startswith(f"{SERVICE}.")]
        self._handlers = {f"/{SERVICE}/{name.rpartition('.')[2]}": self._handler(name) for name in self.names}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        """The handler of a path, if there is one."""
        return self._handlers.get(handler_call_details.method)

    def _handler(self, name: str) -> Handler:
        async def unary(data: bytes, context: Context) -> bytes:
            caller = None if policy.is_public(name) else CALLER.get()
            try:
                found = self._methods.carry_out(name, caller, data, may_wait=False)
            except MustWait:
                found = None
            if isinstance(found, bytes):
                return found
            asked: float | None = context.time_remaining()
            async with within(DEFAULT_DEADLINE_S if asked is None else min(asked, LONGEST_DEADLINE_S), "the call"):
                if found is None:
                    found = await self._calls.on_thread(self._methods.carry_out, name, caller, data, may_wait=True)
                return found if isinstance(found, bytes) else await self._turns.answer(found)

        return grpc.unary_unary_rpc_method_handler(unary, None, None)
