"""ModelService."""

from collections.abc import AsyncIterator

from google.protobuf import empty_pb2
from typing_extensions import override

from service import aliases, exporting, importing, models
from service.calling import requests
from service.calling.calls import CALLER, Calls
from traind.v1 import models_pb2, models_pb2_grpc


class ModelServicer(models_pb2_grpc.ModelServiceServicer):
    """Models over both doors; the contract says what each method does."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    @override
    async def GetModel(self, request: models_pb2.GetModelRequest, context: object) -> models_pb2.Model:
        return await self._calls.run(models.get_model, request)

    @override
    async def ListModels(self, request: models_pb2.ListModelsRequest, context: object) -> models_pb2.ListModelsResponse:
        return await self._calls.run(models.list_models, request)

    @override
    async def GetWeights(self, request: models_pb2.GetWeightsRequest, context: object) -> models_pb2.Weights:
        return await self._calls.run(models.get_weights, request)

    @override
    async def GetSplit(self, request: models_pb2.GetSplitRequest, context: object) -> models_pb2.RowSplit:
        return await self._calls.run(models.get_split, request)

    @override
    async def EvaluateModel(self, request: models_pb2.EvaluateModelRequest, context: object) -> models_pb2.Evaluation:
        return await self._calls.run(models.evaluate_model, request, patient=True)

    @override
    async def ExportModel(
        self, request: models_pb2.ExportModelRequest, context: object
    ) -> AsyncIterator[models_pb2.ExportModelResponse]:
        requests.check(request)
        app = self._calls.app
        export = await self._calls.patiently(exporting.open_export, app, CALLER.get(), request)
        parts = exporting.parts(app, export)
        while (part := await self._calls.on_thread(next, parts, None)) is not None:
            yield part

    @override
    async def ImportModel(self, request: models_pb2.ImportModelRequest, context: object) -> models_pb2.Model:
        return await self._calls.run(importing.import_model, request, patient=True)

    @override
    async def DeleteModel(self, request: models_pb2.DeleteModelRequest, context: object) -> empty_pb2.Empty:
        return await self._calls.run(models.delete_model, request)

    @override
    async def SetAlias(self, request: models_pb2.SetAliasRequest, context: object) -> models_pb2.ModelAlias:
        return await self._calls.run(aliases.set_alias, request)

    @override
    async def GetAlias(self, request: models_pb2.GetAliasRequest, context: object) -> models_pb2.ModelAlias:
        return await self._calls.run(aliases.get_alias, request)

    @override
    async def ListAliases(
        self, request: models_pb2.ListAliasesRequest, context: object
    ) -> models_pb2.ListAliasesResponse:
        return await self._calls.run(aliases.list_aliases, request)

    @override
    async def DeleteAlias(self, request: models_pb2.DeleteAliasRequest, context: object) -> empty_pb2.Empty:
        return await self._calls.run(aliases.delete_alias, request)
