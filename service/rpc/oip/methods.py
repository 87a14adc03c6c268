"""The methods of predictions as one table, bytes in and bytes out, which every gRPC door serves."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from service import policy, predictions
from service.app import App
from service.callers import Caller
from service.calling import requests
from service.errors import MethodNotFound, TooLarge, shown
from service.modelling.signature import TensorSpec
from service.rpc.oip import codec
from service.rpc.oip import open_inference_pb2 as oip
from service.rpc.oip.shortcut import Shortcut
from service.rpc.parsing import parse
from service.serving import inferring
from service.serving.batching import Question
from service.serving.lookup import MustWait, find, reference_of
from service.serving.signatures import EXTENSIONS, PLATFORM, index
from traind.v1 import predictions_pb2
from traind.version import __version__

SERVICE = "inference.GRPCInferenceService"
PREDICT = "traind.v1.PredictionService.Predict"
HEALTH = "grpc.health.v1.Health.Check"
# SERVING, as the health service says it.
_SERVING, _NOT_SERVING = b"\x08\x01", b"\x08\x02"


# An answer's bytes; or, to those who may not wait, a question that becomes bytes together with others like it.
Answered: TypeAlias = bytes | Question[bytes]


class Verb(Protocol):
    """One method: the bytes of a request to those of its answer."""

    def __call__(self, caller: Caller, data: bytes, *, may_wait: bool) -> Answered:
        """Raises MustWait where `may_wait` is false and it would take long, and TraindError."""


class PredictionMethods:
    """What predictions are asked by: the Open Inference Protocol, and traind's own Predict."""

    def __init__(self, app: App, most_bytes: int, ready: Callable[[], bool]) -> None:
        """`most_bytes`: of an answer; `ready`: False while the server stops."""
        self._app = app
        self._most = most_bytes
        self._ready = ready
        self._shortcut = Shortcut(app, most_bytes)
        self._verbs: dict[str, Verb] = {
            f"{SERVICE}.ModelReady": self._model_ready,
            f"{SERVICE}.ServerMetadata": self._server_metadata,
            f"{SERVICE}.ModelMetadata": self._model_metadata,
            f"{SERVICE}.ModelInfer": self._infer,
            f"{SERVICE}.RepositoryIndex": self._index,
            PREDICT: self._predict,
        }
        self._public: dict[str, Callable[[], bytes]] = {
            f"{SERVICE}.ServerLive": lambda: oip.ServerLiveResponse(live=True).SerializeToString(),
            f"{SERVICE}.ServerReady": lambda: oip.ServerReadyResponse(ready=self._ready()).SerializeToString(),
            HEALTH: lambda: _SERVING if self._ready() else _NOT_SERVING,
        }
        self.names = frozenset({*self._verbs, *self._public})
        self.by_path = {f"/{name.rpartition('.')[0]}/{name.rpartition('.')[2]}": name for name in self.names}

    def answer(self, path: str, authorization: str | None, data: bytes, *, may_wait: bool) -> Answered:
        """A call of a method by its path, `/inference.GRPCInferenceService/ModelInfer`: let in, carried out.

        Raises MustWait where `may_wait` is false and SQL would be asked, or much read; TraindError.
        """
        name = self.by_path.get(path)
        if name is None:
            raise MethodNotFound(f"there is no method {shown(path)} on this port", metadata={"method": path[:200]})
        if name in self._public:
            return self.carry_out(name, None, data, may_wait=may_wait)
        tokens = self._app.tokens
        caller = tokens.authenticate(authorization) if may_wait else tokens.remembered(authorization)
        if caller is None:
            raise MustWait
        policy.check_scope(caller, name)
        return self.carry_out(name, caller, data, may_wait=may_wait)

    def carry_out(self, name: str, caller: Caller | None, data: bytes, *, may_wait: bool) -> Answered:
        """A method by its full name, for a caller who was let in; None where the method is public."""
        public = self._public.get(name)
        if public is not None:
            return public()
        assert caller is not None
        answered = self._verbs[name](caller, data, may_wait=may_wait)
        return answered.answer() if may_wait and isinstance(answered, Question) else answered

    def _infer(self, caller: Caller, data: bytes, *, may_wait: bool) -> Answered:
        answered = self._shortcut.answer(caller, data, may_wait=may_wait)
        if answered is not None:
            return answered
        request = codec.decode(parse(oip.ModelInferRequest, data))
        return inferring.ask(self._app, caller, request, codec.encode, may_wait=may_wait, most_bytes=self._most)

    def _model_ready(self, caller: Caller, data: bytes, *, may_wait: bool) -> bytes:
        asked = parse(oip.ModelReadyRequest, data)
        find(self._app, caller, reference_of(asked.name, asked.version), "name", may_wait=may_wait)
        return oip.ModelReadyResponse(ready=True).SerializeToString()

    def _server_metadata(self, caller: Caller, data: bytes, *, may_wait: bool) -> bytes:  # noqa: ARG002 - as Verb
        return oip.ServerMetadataResponse(name="traind", version=__version__, extensions=EXTENSIONS).SerializeToString()

    def _model_metadata(self, caller: Caller, data: bytes, *, may_wait: bool) -> bytes:
        asked = parse(oip.ModelMetadataRequest, data)
        text = reference_of(asked.name, asked.version)
        named, predictor = find(self._app, caller, text, "name", may_wait=may_wait)
        signature = predictor.signature
        return oip.ModelMetadataResponse(
            name=f"{named.owner_name}.{named.slug}",
            versions=[str(named.version)],
            platform=PLATFORM,
            inputs=map(_metadata, signature.inputs),
            outputs=map(_metadata, signature.outputs),
            properties=signature.properties,
        ).SerializeToString()

    def _index(self, caller: Caller, data: bytes, *, may_wait: bool) -> bytes:
        parse(oip.RepositoryIndexRequest, data)
        if not may_wait:
            raise MustWait
        models = [
            oip.RepositoryIndexResponse.ModelIndex(name=name, version=version, state="READY")
            for name, version in index(self._app, caller)
        ]
        return oip.RepositoryIndexResponse(models=models).SerializeToString()

    def _predict(self, caller: Caller, data: bytes, *, may_wait: bool) -> Answered:
        request = parse(predictions_pb2.PredictRequest, data)
        requests.check(request)
        found = predictions.ask(self._app, caller, request, may_wait=may_wait)
        if isinstance(found, Question):
            tell = found.tell
            return Question(found.named, found.predictor, found.table, lambda predicted: self._whole(tell(predicted)))
        return self._whole(found)

    def _whole(self, answer: predictions_pb2.PredictResponse) -> bytes:
        size = answer.ByteSize()
        if size > self._most:
            raise TooLarge(
                f"the answer has {size} bytes; at most {self._most} fit into one: send fewer rows a call",
                metadata={"bytes": str(size), "limit": str(self._most)},
            )
        return answer.SerializeToString()


def _metadata(spec: TensorSpec) -> oip.ModelMetadataResponse.TensorMetadata:
    return oip.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype, shape=spec.shape)
