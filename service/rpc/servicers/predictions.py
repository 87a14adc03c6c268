"""PredictionService."""

from typing_extensions import override

from service import predictions
from service.calling.calls import Calls
from traind.v1 import predictions_pb2, predictions_pb2_grpc


class PredictionServicer(predictions_pb2_grpc.PredictionServiceServicer):
    """Predictions over both doors; the contract says what each method does."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    @override
    async def Predict(
        self, request: predictions_pb2.PredictRequest, context: object
    ) -> predictions_pb2.PredictResponse:
        return await self._calls.run(predictions.predict, request)
