"""The paths below /v2."""

import contextlib
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote

import orjson

from service import policy
from service.callers import Caller
from service.calling.calls import Calls
from service.calling.methods import DEFAULT_DEADLINE_S, within
from service.calling.observer import Observation
from service.errors import MethodNotFound, TraindError, VerbNotAllowed, shown
from service.model_names import Named
from service.modelling.predictor import Predictor
from service.modelling.signature import TensorSpec
from service.rest import errors
from service.rest.encoding import LARGE_BYTES
from service.rest.errors import Headers
from service.rest.exchange import Exchange
from service.rest.inference import body, codec
from service.serving import inferring
from service.serving.batching import Question
from service.serving.lookup import MustWait, find, reference_of
from service.serving.signatures import EXTENSIONS, PLATFORM, index
from service.serving.turns import Turns
from traind.version import __version__

# What stands in an answer beside its values.
MOST_ANSWER_BYTES = body.MOST_BODY_BYTES - (1 << 20)
_SERVICE = "inference.GRPCInferenceService"
INFER = f"{_SERVICE}.ModelInfer"
# An answer's body, and the bytes of its JSON where something stands behind that.
Told: TypeAlias = tuple[bytes, int | None]
_MODEL = re.compile(r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?P<what>ready|infer))?/?")


class InferenceDoor:
    """Answers what begins with /v2, errors as `{"error": text}`."""

    def __init__(self, calls: Calls, ready: Callable[[], bool]) -> None:
        """`ready`: False while the server stops."""
        self._calls = calls
        self._turns = Turns(calls)
        self._ready = ready
        # What a balancer asks, without a token and not counted as calls.
        self.public = {"/v2/health/live": self._live, "/v2/health/ready": self._readiness}

    async def _live(self, exchange: Exchange) -> None:
        await exchange.answer(200, b'{"live":true}')

    async def _readiness(self, exchange: Exchange) -> None:
        ready = self._ready()
        await exchange.answer(200 if ready else 503, _json({"live": True, "ready": ready}))

    async def serve(self, exchange: Exchange, seen: Observation) -> None:
        """One request. Raises TraindError."""
        path = exchange.path.rstrip("/")
        found = _MODEL.fullmatch(path)
        if found is not None:
            await self._of_model(
                exchange, seen, unquote(found["model"]), unquote(found["version"] or ""), found["what"]
            )
            return
        match path:
            case "/v2":
                await self._admit(exchange, seen, "GET", "ServerMetadata")
                told = {"name": "traind", "version": __version__, "extensions": EXTENSIONS}
                await exchange.answer(200, _json(told))
            case "/v2/models":
                caller = await self._admit(exchange, seen, "GET", "RepositoryIndex")
                names = await self._calls.on_thread(_index, self._calls, caller)
                await exchange.answer(200, _json({"models": list(dict.fromkeys(name for name, _ in names))}))
            case "/v2/repository/index":
                caller = await self._admit(exchange, seen, "POST", "RepositoryIndex")
                await body.read(exchange)
                names = await self._calls.on_thread(_index, self._calls, caller)
                told_all = [
                    {"name": name, "version": version, "state": "READY", "reason": ""} for name, version in names
                ]
                await exchange.answer(200, _json(told_all))
            case _:
                raise MethodNotFound(
                    f"there is no {shown(exchange.path)}; see /v2/models", metadata={"path": path[:200]}
                )

    async def _of_model(
        self, exchange: Exchange, seen: Observation, model: str, version: str, what: str | None
    ) -> None:
        if what == "infer":
            caller = await self._admit(exchange, seen, "POST", "ModelInfer")
            data = await body.read(exchange)
            header = exchange.header(body.HEADER)
            at_once = exchange.waits_for != "answer"
            answered, size = await self._infer(caller, model, version, data, header, at_once=at_once)
            headers: Headers = [(b"content-type", kind_of(size))]
            if size is not None:
                headers.append((body.HEADER.encode(), str(size).encode()))
            await exchange.answer(200, answered, headers)
            return
        caller = await self._admit(exchange, seen, "GET", "ModelReady" if what else "ModelMetadata")
        text = reference_of(model, version)
        named, predictor = await self._find(caller, text)
        name = f"{named.owner_name}.{named.slug}"
        if what:
            await exchange.answer(200, _json({"name": name, "ready": True}))
            return
        signature = predictor.signature
        told = {
            "name": name,
            "versions": [str(named.version)],
            "platform": PLATFORM,
            "inputs": [_tensor(spec) for spec in signature.inputs],
            "outputs": [_tensor(spec) for spec in signature.outputs],
            "properties": signature.properties,
        }
        await exchange.answer(200, _json(told))

    def ask(
        self, caller: Caller, model: str, version: str, data: bytes, header: str | None, *, may_wait: bool
    ) -> Told | Question[Told]:
        """What a body asks of a model. `header`: the bytes of its JSON, as body.parts takes it.

        Raises MustWait where `may_wait` is false and it would take long, and TraindError.
        """
        asked = codec.decode(*body.parts(data, header), model, version)
        found = inferring.ask(
            self._calls.app,
            caller,
            asked.request,
            lambda answer: codec.encode(answer, asked),
            may_wait=may_wait,
            most_bytes=MOST_ANSWER_BYTES,
        )
        # Here and now, for a large table should not wait for another thread.
        return found.answer() if may_wait and isinstance(found, Question) else found

    async def _infer(
        self, caller: Caller, model: str, version: str, data: bytes, header: str | None, *, at_once: bool
    ) -> Told:
        asked, found = (caller, model, version, data, header), None
        if at_once and len(data) <= LARGE_BYTES:
            with contextlib.suppress(MustWait):
                found = self.ask(*asked, may_wait=False)
        if isinstance(found, tuple):
            return found
        async with within(DEFAULT_DEADLINE_S, "the call"):
            if found is None:
                found = await self._calls.on_thread(self.ask, *asked, may_wait=True)
            return found if isinstance(found, tuple) else await self._turns.answer(found)

    async def _find(self, caller: Caller, text: str) -> tuple[Named, Predictor]:
        """See lookup.find."""
        try:
            return find(self._calls.app, caller, text, "name", may_wait=False)
        except MustWait:
            async with within(DEFAULT_DEADLINE_S, "the call"):
                return await self._calls.on_thread(find, self._calls.app, caller, text, "name", may_wait=True)

    async def _admit(self, exchange: Exchange, seen: Observation, verb: str, method: str) -> Caller:
        _require(exchange, verb)
        name = f"{_SERVICE}.{method}"
        seen.named(name)
        exchange.refuse_token_in_url()
        authorization = exchange.authorization
        tokens = self._calls.app.tokens
        caller = None if exchange.waits_for == "token" else tokens.remembered(authorization)
        if caller is None:
            caller = await self._calls.on_thread(tokens.authenticate, authorization)
        policy.check_scope(caller, name)
        seen.let_in(caller)
        return caller


def _index(calls: Calls, caller: Caller) -> list[tuple[str, str]]:
    return list(index(calls.app, caller))


def _require(exchange: Exchange, verb: str) -> None:
    if exchange.verb != verb and not (verb == "GET" and exchange.verb == "HEAD"):
        raise VerbNotAllowed(
            f"{shown(exchange.path)} has no {exchange.verb}; it has {verb}",
            metadata={"path": exchange.path[:200], "allow": verb},
        )


def _tensor(spec: TensorSpec) -> Mapping[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}


def _json(told: object) -> bytes:
    return orjson.dumps(told)


def infer_of(path: str) -> tuple[str, str] | None:
    """The model and the version that a path names which asks for predictions; None for another path."""
    found = _MODEL.fullmatch(path.rstrip("/"))
    if found is None or found["what"] != "infer":
        return None
    return unquote(found["model"]), unquote(found["version"] or "")


def kind_of(json_bytes: int | None) -> bytes:
    """The media type of an answer; `json_bytes`: of its JSON, where something stands behind that."""
    return b"application/json" if json_bytes is None else b"application/octet-stream"


def holds(path: str) -> bool:
    """Whether a path is of this door."""
    return path.startswith("/v2") and (len(path) == 3 or path[3] == "/")


def encode_error(error: TraindError) -> tuple[int, bytes, Headers]:
    """Status, body and headers of the answer: `{"error": text}`."""
    status, _, headers = errors.encode_error(error)
    return status, _json({"error": error.message}), headers
