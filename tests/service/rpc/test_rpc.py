"""gRPC as such: methods that are not there, bytes that are no message, health, reflection."""

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service.calling.methods import LONGEST_DEADLINE_S
from service.calling.rules import PATTERNS
from service.programs.api import methods_of
from tests.service.doors.running import Refusal, refusal_of_rpc, running
from traind.v1 import jobs_pb2, server_pb2, specs_pb2


def send(door, path, raw, token=None):
    """Bytes to any path."""
    metadata = [("authorization", f"Bearer {token}")] if token else []
    try:
        return door.channel.unary_unary(path)(raw, metadata=metadata, timeout=10)
    except grpc.RpcError as error:
        return refusal_of_rpc(error)


@pytest.mark.parametrize(
    "path",
    [
        "/traind.v1.JobService/Nonsense",
        "/traind.v1.Nonsense/GetJob",
        "/x/y",
        "/inference.GRPCInferenceService/ModelStreamInfer",
    ],
)
def test_methods_that_are_not_there(door, path):
    for token in (None, door.token("kim")):
        refusal = send(door, path, b"", token)
        assert (refusal.code, refusal.reason) == ("UNIMPLEMENTED", "METHOD_NOT_FOUND")


def nested(depth):
    raw = b""
    for _ in range(depth):
        raw = bytes([0x0A, *varint(len(raw))]) + raw
    return raw


def varint(number):
    parts = []
    while True:
        number, low = number >> 7, number & 0x7F
        parts.append(low | (0x80 if number else 0))
        if not number:
            return parts


@pytest.mark.parametrize(
    "raw", [b"\xff\xff\xff\xff", b"\x0a\x05ab", b"\x12\x02\xff\xfe", b"\x0a\x03\x12\x01\xff", nested(200)[:-1]]
)
def test_bytes_that_are_no_message(door, raw):
    path, kim = "/traind.v1.JobService/CreateJob", door.token("kim")
    assert send(door, path, raw).reason == "TOKEN_REQUIRED", "nobody unknown makes us parse"
    refusal = send(door, path, raw, kim)
    assert refusal.code == "INVALID_ARGUMENT"
    assert refusal.reason in {"MALFORMED_BODY", "INVALID_FIELD"}
    assert isinstance(send(door, "/traind.v1.ServerService/GetServerInfo", b"", kim), bytes)


def test_fields_that_this_server_does_not_know_are_refused(door):
    """A newer client's wish must not be left undone in silence."""
    request = jobs_pb2.CreateJobRequest(job=jobs_pb2.Job(dataset="x"))
    request.job.train.network.linear.MergeFromString(b"\xf8\x07\x01")
    raw = request.SerializeToString()
    refusal = send(door, "/traind.v1.JobService/CreateJob", raw, door.token("kim"))
    ((path, text), *_) = [v for v in refusal.violations if "numbered" in v[1]]
    assert (path, "127" in text) == ("job.train.network.linear", True)


def test_health_is_public_and_knows_the_services(door):
    stub = health_pb2_grpc.HealthStub(door.channel)
    for name in ["", *{method.rpartition(".")[0] for method in methods_of(door.app)}]:
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as error:
        stub.Check(health_pb2.HealthCheckRequest(service="nonsense"))
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


def reflect(doors):
    stub = reflection_pb2_grpc.ServerReflectionStub(doors.channel)
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol="traind.v1.JobService")
    return next(iter(stub.ServerReflectionInfo(iter([request]))))


def test_reflection_is_off_unless_it_is_asked_for(door, tmp_path):
    with pytest.raises(grpc.RpcError) as error:
        reflect(door)
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED
    with running("sqlite", tmp_path, reflection=True) as doors:
        (raw, *_) = reflect(doors).file_descriptor_response.file_descriptor_proto
        assert descriptor_pb2.FileDescriptorProto.FromString(raw).package == "traind.v1"


def test_many_calls_on_one_channel(door):
    """Callers do not mix, whatever runs beside them."""
    tokens = {name: door.token(name) for name in ("kim", "lee")}
    call = door.method("ServerService.GetServerInfo")
    futures = [
        (name, call.future(server_pb2.GetServerInfoRequest(), metadata=[("authorization", f"Bearer {token}")]))
        for _ in range(100)
        for name, token in tokens.items()
    ]
    assert all(future.result(20).user == name for name, future in futures)


def test_every_pattern_of_the_contract_has_a_sentence(door):
    from buf.validate import validate_pb2

    files = {method.descriptor.input_type.file for method in methods_of(door.app).values()}
    files |= {specs_pb2.DESCRIPTOR}
    patterns = {
        rules.string.pattern
        for file in files
        for message in file.message_types_by_name.values()
        for field in message.fields
        if (rules := field.GetOptions().Extensions[validate_pb2.field]).string.pattern
    }
    assert patterns == set(PATTERNS)


def test_deadlines(door):
    methods = methods_of(door.app)
    limits = {name.rpartition(".")[2]: method.deadline_s(None) for name, method in methods.items()}
    assert {name for name, limit in limits.items() if limit is None} == {
        "CreateDataset", "UploadDataset", "DownloadDataset", "WriteUpload", "WatchJob", "ExportModel", "ImportModel"
    }  # fmt: skip
    assert methods["traind.v1.JobService.GetJob"].deadline_s(1e9) == LONGEST_DEADLINE_S


def test_a_long_name_of_a_method_is_cut(door):
    refusal = send(door, "/" + "x" * 4000, b"")
    assert isinstance(refusal, Refusal)
    assert len(refusal.message) < 300
