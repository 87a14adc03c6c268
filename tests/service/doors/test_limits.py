"""What no door lets in: too large, too deep, too slow, compressed, or not what it claims to be."""

import json
import socket
import time

import grpc
import pytest

from service.calling import statuses
from service.rest import connection as rest_connection
from tests.service.doors.running import Refusal, refusal_of_rest, refusal_of_rpc
from traind.v1 import jobs_pb2, predictions_pb2, server_pb2, tables_pb2, uploads_pb2

MIB = 1 << 20
INFO = server_pb2.GetServerInfoRequest()


def still_fine(door):
    assert not isinstance(door.rpc("ServerService.GetServerInfo", INFO, door.token("kim")), Refusal)
    assert door.rest("GET", "/v1/serverInfo", door.token("kim")).status_code == 200


def raw(door, data, seconds=5.0):
    """What the HTTP port answers to bytes, read to the end of the connection."""
    with socket.create_connection(("127.0.0.1", door.http_port), timeout=seconds) as connection:
        connection.sendall(data)
        received = b""
        while True:
            part = connection.recv(65536)
            if not part:
                return received
            received += part


def error_of_raw(received):
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


def test_messages_of_five_mebibytes(door):
    kim = door.token("kim")
    columns = [tables_pb2.ColumnValues(name="a", strings=["x" * (5 * MIB)])]
    by_rpc = door.rpc(
        "PredictionService.Predict", predictions_pb2.PredictRequest(name="models/m", columns=columns), kim
    )
    assert by_rpc.code == "RESOURCE_EXHAUSTED"
    body = json.dumps({"columns": [{"name": "a", "strings": ["x" * (5 * MIB)]}]}).encode()
    headers = {"content-type": "application/json"}
    for content in (body, iter([body[:MIB], body[MIB:]])):  # with Content-Length, and in chunks without
        response = door.rest("POST", "/v1/models/m:predict", kim, headers, content=content)
        assert response.status_code == 413
        refusal = refusal_of_rest(response)
        assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "TOO_LARGE")
        assert str(4 * MIB) in refusal.message
    still_fine(door)


def test_headers_of_64_kibibytes(door):
    kim = door.token("kim")
    by_rpc = door.rpc("ServerService.GetServerInfo", INFO, kim, metadata=[("x-padding", "x" * 65536)])
    assert by_rpc.code == "RESOURCE_EXHAUSTED"
    response = door.rest("GET", "/v1/serverInfo", kim, headers={"x-padding": "x" * 65536})
    assert response.status_code == 431
    refusal = refusal_of_rest(response)
    assert refusal.reason == "HEADERS_TOO_LARGE"
    assert str(rest_connection.MOST_HEAD_BYTES) in refusal.message
    assert door.rest("GET", "/v1/serverInfo?x=" + "y" * 20_000, kim).status_code == 431
    still_fine(door)


def test_a_head_that_never_ends(door):
    code, error = error_of_raw(raw(door, b"GET / HTTP/1.1\r\nx: " + b"y" * (512 << 10)))
    assert (code, error["status"]) == (431, "RESOURCE_EXHAUSTED")
    still_fine(door)


def test_bytes_that_are_no_http(door):
    code, error = error_of_raw(raw(door, b"\x16\x03\x01 hello\r\n\r\n"))
    assert (code, error["details"][0]["reason"]) == (400, "MALFORMED_BODY")
    still_fine(door)


@pytest.mark.alone
def test_slow_heads_are_closed_and_others_served_meanwhile(door, monkeypatch):
    monkeypatch.setattr(rest_connection, "HEAD_DEADLINE_S", 0.5)
    connections = [socket.create_connection(("127.0.0.1", door.http_port), timeout=10) for _ in range(100)]
    try:
        for connection in connections:
            connection.sendall(b"GET /v1/jobs HTTP/1.1\r\n")
        began = time.monotonic()
        still_fine(door)
        assert time.monotonic() - began < 1
        assert [connection.recv(1) for connection in connections] == [b""] * len(connections)
    finally:
        for connection in connections:
            connection.close()


def test_slow_bodies_are_let_go(door, monkeypatch):
    monkeypatch.setattr("service.rest.exchange.PART_DEADLINE_S", 0.3)
    token = door.token("kim")
    head = (
        "POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
        f"authorization: Bearer {token}\r\ncontent-length: 100\r\n\r\n{{"
    )
    code, error = error_of_raw(raw(door, head.encode()))
    assert (code, error["status"]) == (504, "DEADLINE_EXCEEDED")


def test_compressed_requests(door):
    kim = door.token("kim")
    request = jobs_pb2.ListJobsRequest(page_token="x" * 500)
    metadata = [("authorization", f"Bearer {kim}")]
    with pytest.raises(grpc.RpcError) as error:
        door.method("JobService.ListJobs")(request, metadata=metadata, compression=grpc.Compression.Gzip)
    assert refusal_of_rpc(error.value).code == "UNIMPLEMENTED"
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    response = door.rest("POST", "/v1/jobs", kim, headers, content=b"\x1f\x8b")
    assert response.status_code == 415
    assert refusal_of_rest(response).reason == "UNSUPPORTED_CONTENT"
    still_fine(door)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data"])
def test_bodies_that_do_not_call_themselves_json(door, kind):
    response = door.rest("POST", "/v1/jobs", door.token("kim"), {"content-type": kind}, content=b"{}")
    assert response.status_code == 415
    assert "application/json" in refusal_of_rest(response).message


def test_json_with_a_charset_is_json(door):
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    response = door.rest("POST", "/v1/jobs", door.token("kim"), headers, content=b"{}")
    assert refusal_of_rest(response).reason == "INVALID_FIELD"


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
def test_files_do_not_come_as_forms(door, kind):
    response = door.rest(
        "POST", "/v1/datasets:upload?datasetId=x", door.token("kim"), {"content-type": kind}, content=b"x"
    )
    assert response.status_code == 415
    assert "--data-binary" in refusal_of_rest(response).message


def test_a_body_where_none_belongs(door):
    response = door.rest("GET", "/v1/jobs", door.token("kim"), {"content-type": "application/json"}, content=b"{}")
    assert refusal_of_rest(response).reason == "MALFORMED_BODY"


def test_500_violations_fit_into_a_client_s_metadata(door):
    """A client with default limits gets them, each time; and they say how many were left out."""
    request = jobs_pb2.CreateJobRequest()
    request.job.dataset = "x"
    request.job.train.inputs.extend(f"\x01{'한' * 60}{i}" for i in range(500))
    request.job.train.target.append("y")
    request.job.train.network.linear.SetInParent()
    for _ in range(10):
        by_rpc = door.rpc("JobService.CreateJob", request, door.token("kim"))
        assert (by_rpc.code, by_rpc.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
        assert 5 < len(by_rpc.violations) <= statuses.MOST_VIOLATIONS
        assert "and 499 more" in by_rpc.message


def test_parts_of_a_file_above_one_mebibyte(door):
    parts = iter([uploads_pb2.WriteUploadRequest(name="uploads/x", data=b"x" * (MIB + 1))])
    by_rpc = door.rpc("UploadService.WriteUpload", parts, door.token("kim"))
    assert [field for field, _ in by_rpc.violations] == ["data"]
    assert "1048576" in by_rpc.violations[0][1]


def test_a_stream_without_messages(door):
    by_rpc = door.rpc("UploadService.WriteUpload", iter([]), door.token("kim"))
    assert [field for field, _ in by_rpc.violations] == ["name"]
    by_rpc = door.rpc("DatasetService.UploadDataset", iter([]), door.token("kim"))
    assert [field for field, _ in by_rpc.violations] == ["dataset_id"]


def test_a_deadline_of_zero(door):
    """It passes before the answer comes, but now and then the answer is faster than the client's clock."""
    answers = [door.rpc("ServerService.GetServerInfo", INFO, door.token("kim"), timeout=0) for _ in range(20)]
    refused = [answer for answer in answers if not isinstance(answer, server_pb2.ServerInfo)]
    assert refused
    assert {answer.code for answer in refused} == {"DEADLINE_EXCEEDED"}
    still_fine(door)
