"""UploadService."""

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from typing_extensions import override

from service import uploads
from service.app import App
from service.callers import Caller
from service.calling.calls import Calls
from service.errors import invalid
from traind.v1 import uploads_pb2, uploads_pb2_grpc


class Part(Protocol):
    """A message that carries bytes of a file."""

    data: bytes


def write_part(name: str, offset: int) -> Callable[[App, Caller, Part], uploads_pb2.Upload]:
    """The verb that writes the bytes of a message to an upload, where `offset` is the place of the first."""

    def write(app: App, caller: Caller, part: Part) -> uploads_pb2.Upload:
        if not name:
            raise invalid("name", "is required in the first message")
        return uploads.write_chunk(app, caller, name, offset, part.data)

    return write


class UploadServicer(uploads_pb2_grpc.UploadServiceServicer):
    """Uploads over both doors; the contract says what each method does."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    @override
    async def CreateUpload(self, request: uploads_pb2.CreateUploadRequest, context: object) -> uploads_pb2.Upload:
        return await self._calls.run(uploads.create_upload, request)

    @override
    async def GetUpload(self, request: uploads_pb2.GetUploadRequest, context: object) -> uploads_pb2.Upload:
        return await self._calls.run(uploads.get_upload, request)

    @override
    async def WriteUpload(
        self, request_iterator: AsyncIterator[uploads_pb2.WriteUploadRequest], context: object
    ) -> uploads_pb2.Upload:
        upload, name, offset = None, "", 0
        async for part in request_iterator:
            if upload is None:
                name, offset = part.name, part.offset
            upload = await self._calls.run(write_part(name, offset), part)
            offset += len(part.data)
        if upload is None:
            raise invalid("name", "is required in the first message; none came")
        return upload
