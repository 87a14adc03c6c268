"""Both doors of a real server in a thread of the test's process, and the ways in."""

import asyncio
import contextlib
import json
import pathlib
import threading
from dataclasses import dataclass, field

import grpc
import httpx
import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from service import accounts
from service.app import App
from service.data.objects import ObjectFolder
from service.policy import SCOPES
from service.programs.api import serve
from service.settings import Settings
from service.store.database import Database
from tests import servers
from tests.conftest import KINDS
from traind.v1 import (
    datasets_pb2_grpc,
    jobs_pb2_grpc,
    models_pb2_grpc,
    predictions_pb2_grpc,
    server_pb2_grpc,
    uploads_pb2_grpc,
)

STUBS = {
    "UploadService": uploads_pb2_grpc.UploadServiceStub,
    "DatasetService": datasets_pb2_grpc.DatasetServiceStub,
    "JobService": jobs_pb2_grpc.JobServiceStub,
    "ModelService": models_pb2_grpc.ModelServiceStub,
    "PredictionService": predictions_pb2_grpc.PredictionServiceStub,
    "ServerService": server_pb2_grpc.ServerServiceStub,
}


@contextlib.contextmanager
def running(kind, folder, **more):
    """Doors over a fresh database of a kind."""
    try:
        if kind == "postgresql":
            servers.postgres_url()
    except servers.NoServer as error:
        servers.missing(error)
    with servers.fresh_database(kind) as url:
        database = Database(url)
        database.migrate()
        database.dispose()
        with Doors(url, folder, **more) as doors:
            yield doors


@pytest.fixture(scope="module", params=KINDS)
def doors(request, tmp_path_factory):
    """Both doors over SQLite, then over PostgreSQL; one server for all tests of a file."""
    with running(request.param, tmp_path_factory.mktemp("doors")) as found:
        yield found


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    """Both doors over SQLite, for what no database decides."""
    with running("sqlite", tmp_path_factory.mktemp("door")) as found:
        yield found


@dataclass
class Refusal:
    """A refused call as either door tells it."""

    code: str
    reason: str
    message: str
    violations: list = field(default_factory=list)
    metadata: dict = field(default_factory=dict)
    retry: bool = False
    # Of this call alone, so two refusals are equal without it.
    request_id: str = field(default="", compare=False)


class Ways:
    """The ways into a running server: a channel, an HTTP client, and the database in which tokens are made."""

    def __init__(self) -> None:
        self._tokens: dict[tuple, str] = {}

    def connect(self, database: Database, grpc_port: int, http_port: int) -> None:
        """Open the ways."""
        self.database, self.grpc_port, self.http_port = database, grpc_port, http_port
        self.channel = grpc.insecure_channel(f"127.0.0.1:{grpc_port}")
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{http_port}", timeout=30)

    def disconnect(self) -> None:
        """Close the ways."""
        self.channel.close()
        self.http.close()

    def token(self, user="kim", scopes=SCOPES, **more):
        """A token of a user, who is made if need be."""
        key = (user, frozenset(scopes), *more.items())
        if key not in self._tokens:
            with contextlib.suppress(ValueError):
                accounts.create_user(self.database, user)
            self._tokens[key] = accounts.create_token(self.database, user, scopes, **more)
        return self._tokens[key]

    def method(self, name):
        """A method of the gRPC door by `JobService.GetJob`."""
        service, _, method = name.partition(".")
        return getattr(STUBS[service](self.channel), method)

    def rpc(self, name, request, token=None, **more):
        """The answer of the gRPC door, or its Refusal."""
        metadata = [("authorization", f"Bearer {token}")] if token else []
        try:
            return self.method(name)(request, metadata=metadata + more.pop("metadata", []), **more)
        except grpc.RpcError as error:
            return refusal_of_rpc(error)

    def rpc_stream(self, name, request, metadata):
        """Every answer of a stream of the gRPC door, or its Refusal."""
        try:
            return list(self.method(name)(request, metadata=metadata, timeout=60))
        except grpc.RpcError as error:
            return refusal_of_rpc(error)

    def rest(self, verb, path, token=None, headers=None, **more):
        """The response of the REST door."""
        every = ({"authorization": f"Bearer {token}"} if token else {}) | (headers or {})
        return self.http.request(verb, path, headers=every, **more)


class Doors(Ways):
    """A server on free ports of the loopback, in a thread of this process."""

    def __init__(self, url: str, folder: pathlib.Path, *, more=(), **settings) -> None:
        super().__init__()
        self.settings = Settings(
            **({"data_dir": folder, "database_url": url, "http_port": 0, "grpc_port": 0, "predict_port": 0} | settings)
        )
        for made in (self.settings.objects_dir, self.settings.tmp_dir, self.settings.run_dir):
            made.mkdir(parents=True, exist_ok=True)
        objects = ObjectFolder(self.settings.objects_dir, self.settings.tmp_dir)
        self.app = App(self.settings, Database(url), objects)
        self._more = more
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failure: BaseException | None = None
        self._ports = (0, 0)

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(30), "the server did not start"
        if self.failure:
            self.app.database.dispose()
            raise self.failure
        self.connect(self.app.database, *self._ports)
        return self

    def __exit__(self, *_):
        self.disconnect()
        self.stop()
        self.app.database.dispose()

    def stop(self, wait=True):
        """Stop as a signal would."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop.set)
        if wait:
            self._thread.join(20)
            assert not self._thread.is_alive(), "the server did not stop"

    def _run(self):
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self.failure = error
        finally:
            self._ready.set()

    async def _serve(self):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        await serve(self.app, on_ready=self._on_ready, stop=self._stop, more=self._more)

    def _on_ready(self, addresses):
        self._ports = (addresses.grpc_port, addresses.http_port)
        self.predict_port = addresses.predict_port
        self._ready.set()


def refusal_of_rpc(error):
    """What a gRPC error carries."""
    status = rpc_status.from_call(error)
    if status is None:
        return Refusal(error.code().name, "", error.details())
    return _refusal(error.code().name, status)


def refusal_of_rest(response):
    """What a REST error carries."""
    error = response.json()["error"]
    status = status_pb2.Status(message=error["message"])
    for detail in error["details"]:
        json_format.ParseDict(detail, status.details.add())
    assert error["code"] == response.status_code
    return _refusal(error["status"], status)


def _refusal(code, status):
    refusal = Refusal(code, "", status.message)
    for detail in status.details:
        info, bad, retry, asked = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
            error_details_pb2.RequestInfo(),
        )
        if detail.Unpack(info):
            assert info.domain == "traind"
            refusal.reason, refusal.metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            refusal.violations = [(v.field, v.description) for v in bad.field_violations]
        elif detail.Unpack(retry):
            refusal.retry = True
        elif detail.Unpack(asked):
            refusal.request_id = asked.request_id
    return refusal


def answer_of_rest(response, message_class):
    """The message that a JSON answer stands for."""
    assert response.status_code == 200, response.text
    return json_format.ParseDict(json.loads(response.content), message_class())
