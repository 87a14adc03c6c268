"""Every answer of both doors tells the server's version: a good one, a refusal, a stream, and what is no call."""

import socket

import grpc
import pytest

from tests.service.doors.running import STUBS
from traind.v1 import jobs_pb2, server_pb2
from traind.version import __version__

NOWHERE = "jobs/00000000-0000-4000-8000-000000000000"


def told(metadata):
    return [value for name, value in metadata or () if name == "x-traind-server"]


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/serverInfo", 200), (f"/v1/{NOWHERE}", 404), ("/nowhere", 404), ("/healthz", 200)]
)
def test_rest_tells_it(door, path, status):
    response = door.rest("GET", path, door.token())
    assert response.status_code == status
    assert response.headers.get_list("x-traind-server") == [__version__]


def test_rest_tells_it_to_who_has_no_token_and_to_who_speaks_no_http(door):
    assert door.rest("GET", "/v1/jobs").headers["x-traind-server"] == __version__
    with socket.create_connection(("127.0.0.1", door.http_port), timeout=10) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        answer = connection.makefile("rb").read()
    assert f"x-traind-server: {__version__}\r\n".encode() in answer


@pytest.mark.parametrize("token", [True, False])
@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("ServerService.GetServerInfo", server_pb2.GetServerInfoRequest()),
        ("JobService.GetJob", jobs_pb2.GetJobRequest(name=NOWHERE)),
        ("JobService.GetJob", jobs_pb2.GetJobRequest()),
    ],
)
def test_grpc_tells_it(door, method, request_, token):
    service, _, name = method.partition(".")
    metadata = [("authorization", f"Bearer {door.token()}")] if token else []
    call = getattr(STUBS[service](door.channel), name)
    try:
        _, ended = call.with_call(request_, metadata=metadata)
    except grpc.RpcError as error:
        ended = error
    assert told(ended.trailing_metadata()) == [__version__]


def test_grpc_tells_it_before_the_first_event_of_a_stream(door):
    watch = door.method("JobService.WatchJob")
    stream = watch(jobs_pb2.WatchJobRequest(name=NOWHERE), metadata=[("authorization", f"Bearer {door.token()}")])
    assert told(stream.initial_metadata()) == [__version__]
    with pytest.raises(grpc.RpcError):
        next(stream)
    assert told(stream.trailing_metadata()) == [__version__]


def test_grpc_tells_it_where_there_is_no_such_method(door):
    call = door.channel.unary_unary("/traind.v1.JobService/Invented")
    with pytest.raises(grpc.RpcError) as error:
        call(b"")
    assert told(error.value.trailing_metadata()) == [__version__]
