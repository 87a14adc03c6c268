"""A refused call as gRPC sends it: the one place where errors become status codes of gRPC."""

from typing import Any, NoReturn

import grpc
from grpc_status import rpc_status

from service.calling import statuses
from service.calling.observer import REQUEST_ID, request_id
from service.calling.server_version import SERVER_VERSION
from service.errors import TraindError

Context = grpc.aio.ServicerContext[Any, Any]


async def abort(context: Context, error: TraindError) -> NoReturn:
    """End the call with the error's google.rpc.Status in its trailer, beside the server's version and the call's id."""
    status = rpc_status.to_status(statuses.from_error(error))
    trailers = (*(status.trailing_metadata or ()), SERVER_VERSION, (REQUEST_ID, request_id()))
    await context.abort(status.code, status.details or "", trailers)
    raise AssertionError("abort returned")
