"""DatasetService."""

import asyncio
from collections.abc import AsyncIterator

from google.protobuf import empty_pb2
from typing_extensions import override

from service import datasets, downloading, proposals, uploads
from service.calling import requests
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
        upload = await self._open()
        try:
            offset = await self._write(upload, 0, first)
            async for part in request_iterator:
                offset = await self._write(upload, offset, part)
            source = datasets_pb2.DatasetSource(
                upload=upload,
                encoding=first.encoding,
                display_name=first.display_name,
                format=first.format,
                delimiter=first.delimiter,
            )
            request = datasets_pb2.CreateDatasetRequest(dataset_id=first.dataset_id, source=source)
            return await self._calls.run(datasets.create_dataset, request, patient=True)
        except BaseException:
            # Also when the client goes away: nothing of a refused or broken upload stays.
            await self._drop(upload)
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
    async def DownloadDataset(
        self, request: datasets_pb2.DownloadDatasetRequest, context: object
    ) -> AsyncIterator[datasets_pb2.DownloadDatasetResponse]:
        requests.check(request)
        app = self._calls.app
        download = await self._calls.patiently(downloading.open_download, app, CALLER.get(), request)
        parts = downloading.parts(download)
        while (part := await self._calls.patiently(next, parts, None)) is not None:
            yield part

    @override
    async def DeleteDataset(self, request: datasets_pb2.DeleteDatasetRequest, context: object) -> empty_pb2.Empty:
        return await self._calls.run(datasets.delete_dataset, request)

    @override
    async def ProposeTraining(
        self, request: datasets_pb2.ProposeTrainingRequest, context: object
    ) -> profiles_pb2.Proposal:
        return await self._calls.run(proposals.propose_training, request, patient=True)

    async def _open(self) -> str:
        """Open an upload and answer its name; if the client goes away meanwhile it is dropped once it is there."""
        request = uploads_pb2.CreateUploadRequest()
        opening = asyncio.ensure_future(self._calls.run(uploads.create_upload, request))
        try:
            return (await asyncio.shield(opening)).name
        except asyncio.CancelledError:
            await self._drop((await opening).name)
            raise

    async def _drop(self, name: str) -> None:
        await asyncio.shield(self._calls.on_thread(uploads.drop_upload, self._calls.app, CALLER.get(), name))

    async def _write(self, name: str, offset: int, part: datasets_pb2.UploadDatasetRequest) -> int:
        await self._calls.run(write_part(name, offset), part)
        return offset + len(part.data)
