"""DatasetService."""

import asyncio
from collections.abc import AsyncIterator

from google.protobuf import empty_pb2
from typing_extensions import override

from service import datasets, uploads
from service.calling.calls import CALLER, Calls
from service.errors import invalid
from service.rpc.servicers.uploads import write_part
from traind.v1 import datasets_pb2, datasets_pb2_grpc, profiles_pb2, uploads_pb2


class DatasetServicer(datasets_pb2_grpc.DatasetServiceServicer):
    """Data sets over both doors; the contract says what each method does."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    @override
    async def CreateDataset(self, request: datasets_pb2.CreateDatasetRequest, context: object) -> datasets_pb2.Dataset:
        return await self._calls.run(datasets.create_dataset, request, patient=True)

    @override
    async def UploadDataset(
        self, request_iterator: AsyncIterator[datasets_pb2.UploadDatasetRequest], context: object
    ) -> datasets_pb2.Dataset:
        first = await anext(request_iterator, None)
        if first is None or not first.dataset_id:
            raise invalid("dataset_id", "is required in the first message")
        upload = await self._calls.run(uploads.create_upload, uploads_pb2.CreateUploadRequest())
        try:
            offset = await self._write(upload.name, 0, first)
            async for part in request_iterator:
                offset = await self._write(upload.name, offset, part)
            source = datasets_pb2.DatasetSource(
                upload=upload.name,
                encoding=first.encoding,
                display_name=first.display_name,
                format=first.format,
                delimiter=first.delimiter,
            )
            request = datasets_pb2.CreateDatasetRequest(dataset_id=first.dataset_id, source=source)
            return await self._calls.run(datasets.create_dataset, request, patient=True)
        except BaseException:
            # Also when the client goes away: nothing of a refused or broken upload stays.
            await asyncio.shield(self._calls.on_thread(uploads.drop_upload, self._calls.app, CALLER.get(), upload.name))
            raise

    @override
    async def GetDataset(self, request: datasets_pb2.GetDatasetRequest, context: object) -> datasets_pb2.Dataset:
        return await self._calls.run(datasets.get_dataset, request)

    @override
    async def ListDatasets(
        self, request: datasets_pb2.ListDatasetsRequest, context: object
    ) -> datasets_pb2.ListDatasetsResponse:
        return await self._calls.run(datasets.list_datasets, request)

    @override
    async def PreviewDataset(
        self, request: datasets_pb2.PreviewDatasetRequest, context: object
    ) -> datasets_pb2.PreviewDatasetResponse:
        return await self._calls.run(datasets.preview_dataset, request)

    @override
    async def ProfileDataset(
        self, request: datasets_pb2.ProfileDatasetRequest, context: object
    ) -> profiles_pb2.Profile:
        return await self._calls.run(datasets.profile_dataset, request)

    @override
    async def DeleteDataset(self, request: datasets_pb2.DeleteDatasetRequest, context: object) -> empty_pb2.Empty:
        return await self._calls.run(datasets.delete_dataset, request)

    async def _write(self, name: str, offset: int, part: datasets_pb2.UploadDatasetRequest) -> int:
        await self._calls.run(write_part(name, offset), part)
        return offset + len(part.data)
