"""The methods of the contract bound to the servicers that carry them out: the one table that both doors serve from."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from service.errors import DeadlinePassed

# Seconds that a call may take which names no deadline, and the most that a deadline can ask for.
DEFAULT_DEADLINE_S = 30.0
LONGEST_DEADLINE_S = 300.0
# Seconds in which the next part of a streamed request must come.
PART_DEADLINE_S = 30.0
# Bytes of a request message and of an answer.
MOST_MESSAGE_BYTES = 4 << 20

# Reading a table takes as long as the table is large, and so it is with a model.
_PATIENT = frozenset({"traind.v1.DatasetService.CreateDataset", "traind.v1.ModelService.ImportModel"})


@dataclass(frozen=True)
class Method:
    """One method.

    `call(request, context)` is the servicer's: a coroutine with the answer, or an asynchronous iterator of answers. It
    takes an asynchronous iterator of requests where the client streams. The context is gRPC's or None, and unused.
    """

    full_name: str  # traind.v1.JobService.GetJob
    descriptor: MethodDescriptor
    call: Callable[[Any, Any], Any]

    @property
    def path(self) -> str:
        """The name in gRPC: `/traind.v1.JobService/GetJob`."""
        service, _, name = self.full_name.rpartition(".")
        return f"/{service}/{name}"

    @property
    def request_class(self) -> type[Message]:
        """The class of a request message."""
        return GetMessageClass(self.descriptor.input_type)

    @property
    def client_streaming(self) -> bool:
        """Whether the request is a stream of messages."""
        return self.descriptor.client_streaming

    @property
    def server_streaming(self) -> bool:
        """Whether the answer is a stream of messages."""
        return self.descriptor.server_streaming

    def deadline_s(self, asked: float | None) -> float | None:
        """Seconds that a call may take, where `asked` is what the client allows; None = no limit of ours."""
        if self.client_streaming or self.server_streaming or self.full_name in _PATIENT:
            return None
        return DEFAULT_DEADLINE_S if asked is None else min(asked, LONGEST_DEADLINE_S)


def bind(services: Iterable[tuple[ServiceDescriptor, object]]) -> dict[str, Method]:
    """The methods of services and their servicers, by full name."""
    return {
        method.full_name: Method(method.full_name, method, getattr(servicer, method.name))
        for service, servicer in services
        for method in service.methods
    }


@asynccontextmanager
async def within(seconds: float | None, what: str) -> AsyncIterator[None]:
    """Raise DeadlinePassed where the block takes longer; None = no limit."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlinePassed(
            f"{what} took longer than the {seconds:g} s it may take", metadata={"seconds": f"{seconds:g}"}
        ) from None
