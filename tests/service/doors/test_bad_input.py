"""B1 to B17: calls that are no calls of the contract, at both doors of a real server process.

B18 to B30 stand in test_bad_specs.py, B31 to B42 in test_bad_tables.py, B43 and B48 to B51 in test_bad_files.py, B52 to
B60 in test_bad_uses.py, how memory fares in test_refused_memory.py. What a refusal must be stands in refused.py.
"""

import time

import grpc
import pytest

from tests.service.doors.refused import JSON, MIB, quick, refusal_of, refused, still_fine, tells_nothing, told
from tests.service.doors.running import refusal_of_rpc
from traind.v1 import jobs_pb2, predictions_pb2, server_pb2, tables_pb2

INFO = server_pb2.GetServerInfoRequest()


@pytest.fixture
def kim(api):
    return api.token("kim")


def create(api, token, content, headers=JSON):
    """CreateJob over REST with a body as it is."""
    return lambda: api.rest("POST", "/v1/jobs", token, headers, content=content)


def raw(api, method, data, token):
    """A gRPC call whose request is raw bytes."""

    def call():
        unary = api.channel.unary_unary(f"/traind.v1.{method}", request_serializer=bytes, response_deserializer=bytes)
        with pytest.raises(grpc.RpcError) as failed:
            unary(data, metadata=[("authorization", f"Bearer {token}")], timeout=5)
        return refusal_of_rpc(failed.value)

    return call


def job(**fields):
    """A CreateJob that lacks nothing but what `fields` break."""
    request = jobs_pb2.CreateJobRequest(job=jobs_pb2.Job(dataset="houses", **fields))
    request.job.train.target.append("price")
    request.job.train.network.linear.SetInParent()
    return request


def adam(lr):
    request = job()
    request.job.train.learn.gradient.optimizer.adam.lr = lr
    return request


TRAIN = b'"train": {"target": ["price"], "network": {"linear": {}}'
LR = b'{"dataset": "houses", ' + TRAIN + b', "learn": {"gradient": {"optimizer": {"adam": {"lr": %s}}}}}}'
NAMED = b'{"dataset": "houses", "displayName": "%s", ' + TRAIN + b"}}"
AT_LR = "job.train.learn.gradient.optimizer.adam.lr"

# What both doors can be told: the message, the JSON, the field, what must be said.
AT_BOTH = {
    "B1 an empty message": (jobs_pb2.CreateJobRequest(), b"", "job", ["is required"]),
    "B1 an empty job": (
        jobs_pb2.CreateJobRequest(job=jobs_pb2.Job()),
        b"{}",
        "job.dataset",
        ["is required", "exactly one of train, evaluate, predict"],
    ),
    "B4 NaN": (adam(float("nan")), LR % b"NaN", AT_LR, ["must be finite"]),
    "B5 infinity": (adam(float("inf")), LR % b"1e999", AT_LR, ["must be finite"]),
    "B5 less than nothing": (adam(float("-inf")), LR % b"-1e999", AT_LR, ["must be finite"]),
    "B7 NUL": (job(display_name="a\0b"), NAMED % b"a\\u0000b", "job.display_name", ["\\x00", "control character"]),
    "B7 the end of a line": (job(display_name="a\r\nb"), NAMED % b"a\\r\\nb", "job.display_name", ["\\r\\n"]),
    "B7 a separator of lines": (job(display_name="\u2028"), NAMED % b"\\u2028", "job.display_name", ["\\u2028"]),
    "B7 a separator of paragraphs": (job(display_name="\u2029"), NAMED % b"\\u2029", "job.display_name", ["\\u2029"]),
    "B7 in the name of a data set": (
        jobs_pb2.CreateJobRequest(job=jobs_pb2.Job(dataset="a\x1bb", train=job().job.train)),
        b'{"dataset": "a\\u001bb", ' + TRAIN + b"}}",
        "job.dataset",
        ["\\x1b", "control character"],
    ),
}


@pytest.mark.parametrize("case", AT_BOTH)
def test_at_both_doors(api, kim, case):
    request, content, field, says = AT_BOTH[case]
    by_rpc = refused(api, lambda: api.rpc("JobService.CreateJob", request, kim), field=field, says=says)
    by_rest = refused(api, create(api, kim, content), field=field, says=says)
    assert by_rpc.reason == by_rest.reason == "INVALID_FIELD"


# What JSON alone can say: the body, the reason, the field, what must be said.
JSON_ALONE = {
    "B2 no JSON": (b"{\nhello}", "MALFORMED_BODY", None, ["2:1", "line:column"]),
    "B2 half of it": (NAMED[:40], "MALFORMED_BODY", None, ["1:", "line:column"]),
    "B2 a list": (b"[1]", "INVALID_FIELD", "job", ["must be an object"]),
    "B6 half of a pair": (NAMED % b"\\ud800", "INVALID_FIELD", "job.display_name", ["\\ud800"]),
    "B8 a key twice": (b'{"dataset": "a", "dataset": "b"}', "MALFORMED_BODY", None, ['"dataset"']),
    "B8 in both spellings": (
        b'{"displayName": "a", "display_name": "b"}',
        "INVALID_FIELD",
        "job.display_name",
        ["displayName", "display_name", "keep one"],
    ),
    "B9 a boolean": (b'{"train": {"seed": true}}', "INVALID_FIELD", "job.train.seed", ["true", "whole number"]),
    "B9 a fraction": (b'{"train": {"seed": 3.5}}', "INVALID_FIELD", "job.train.seed", ["3.5", "whole number"]),
    "B9 a text": (b'{"train": {"seed": "x"}}', "INVALID_FIELD", "job.train.seed", ['"x"', "whole number"]),
    "B10 unknown": (b'{"dataset": "a", "admin": true}', "INVALID_FIELD", "job.admin", ["unknown", "dataset"]),
    "B10 nearly known": (b'{"display_nam": "x"}', "INVALID_FIELD", "job.display_nam", ["display_name"]),
    "B11 50,000 objects deep": (b'{"train":' * 50_000, "MALFORMED_BODY", None, ["deeper than 20"]),
    "B11 50,000 lists deep": (b"[" * 50_000, "MALFORMED_BODY", None, ["deeper than 20"]),
    "B12 5,000 digits": (b'{"train": {"seed": ' + b"7" * 5000 + b"}}", "MALFORMED_BODY", None, ["4300"]),
    "B15 no UTF-8": (b'{"dataset": "\xff"}', "MALFORMED_BODY", None, ["UTF-8"]),
}


@pytest.mark.parametrize("case", JSON_ALONE)
def test_what_json_alone_can_say(api, kim, case):
    content, reason, field, says = JSON_ALONE[case]
    refused(api, create(api, kim, content), reason=reason, field=field, says=says)


def test_b9_a_number_as_text_is_a_number(api, kim):
    """As proto3 JSON has it, for 64-bit numbers do not fit into those of JavaScript."""
    body = b'{"dataset": "nothing", ' + TRAIN + b', "seed": "3"}}'
    assert refusal_of(create(api, kim, body)()).reason == "RESOURCE_NOT_FOUND"


@pytest.mark.alone
def test_b11_nesting_costs_nothing(api, kim):
    spent = []
    for _ in range(5):
        begin = time.monotonic()
        assert create(api, kim, b"[" * 50_000)().status_code == 400
        spent.append(time.monotonic() - begin)
    assert min(spent) < 0.05


# What bytes alone can say over gRPC: the bytes, the reason, what must be said.
BYTES_ALONE = {
    "B6 text that is no UTF-8": (b"\x0a\x04\x1a\x02\xff\xfe", "MALFORMED_BODY", ["UTF-8"]),
    "B9 a text for a message": (b"\x08\x01", "INVALID_FIELD", ["numbered 1"]),
    "B10 an unknown field": (b"\xfa\x07\x01x", "INVALID_FIELD", ["numbered 127", "leave it out"]),
    "B15 no protobuf": (b"\xff" * 100, "MALFORMED_BODY", ["wire format"]),
    "B15 ends in the middle": (b"\x0a\xff\x01ab", "MALFORMED_BODY", ["wire format"]),
    "B16 200 groups deep": (b"\x0b" * 200 + b"\x0c" * 200, "MALFORMED_BODY", ["nested too deep"]),
}


@pytest.mark.parametrize("case", BYTES_ALONE)
def test_what_bytes_alone_can_say(api, kim, case):
    data, reason, says = BYTES_ALONE[case]
    refused(api, raw(api, "JobService/CreateJob", data, kim), reason=reason, says=says)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data"])
def test_b3_a_body_that_does_not_call_itself_json(api, kim, kind):
    refused(
        api, create(api, kim, b"{}", {"content-type": kind}), code="UNIMPLEMENTED", reason="UNSUPPORTED_CONTENT",
        says=["application/json", f'"{kind}"'],
    )  # fmt: skip


def test_b13_messages_of_five_mebibytes(api, kim):
    columns = [tables_pb2.ColumnValues(name="a", strings=["x" * (5 * MIB)])]
    request = predictions_pb2.PredictRequest(name="models/m", columns=columns)
    # What grpcio refuses by itself carries its sentence and no more.
    by_rpc = quick(api, lambda: api.rpc("PredictionService.Predict", request, kim))
    assert by_rpc.code == "RESOURCE_EXHAUSTED"
    assert str(4 * MIB) in by_rpc.message
    tells_nothing(api, by_rpc)
    body = b'{"columns": [{"name": "a", "strings": ["' + b"x" * (5 * MIB) + b'"]}]}'
    for content in (lambda: body, lambda: iter([body[:MIB], body[MIB:]])):  # with Content-Length, and without
        refused(
            api, lambda content=content: api.rest("POST", "/v1/models/m:predict", kim, JSON, content=content()),
            code="RESOURCE_EXHAUSTED", reason="TOO_LARGE", says=["body", 4 * MIB],
        )  # fmt: skip


def test_b14_headers_of_64_kibibytes(api, kim):
    by_rpc = quick(
        api, lambda: api.rpc("ServerService.GetServerInfo", INFO, kim, metadata=[("x-padding", "x" * 65536)])
    )
    assert by_rpc.code == "RESOURCE_EXHAUSTED"
    tells_nothing(api, by_rpc)
    refused(
        api, lambda: api.rest("GET", "/v1/serverInfo", kim, {"x-padding": "x" * 65536}),
        lambda: api.rest("GET", "/v1/serverInfo?x=" + "y" * 20_000, kim),
        code="RESOURCE_EXHAUSTED", reason="HEADERS_TOO_LARGE", says=["headers", 16384],
    )  # fmt: skip


def test_b17_methods_paths_and_verbs_that_are_not_there(api, kim):
    unknown = raw(api, "JobService/Nonsense", b"", kim)
    refused(api, unknown, code="UNIMPLEMENTED", reason="METHOD_NOT_FOUND", says=["traind.v1.JobService.Nonsense"])
    absent = [lambda path=path: api.rest("GET", path, kim) for path in ("/v1/nonsense", "/v3", "/v1/jobs/../../etc/x")]
    for call in absent:
        refused(api, call, code="UNIMPLEMENTED", reason="METHOD_NOT_FOUND")
    refusal = refused(
        api, lambda: api.rest("PATCH", "/v1/jobs", kim), code="UNIMPLEMENTED", reason="VERB_NOT_ALLOWED",
        says=["PATCH", "GET", "POST"],
    )  # fmt: skip
    assert "/v1/jobs" in told(refusal)
    still_fine(api)
