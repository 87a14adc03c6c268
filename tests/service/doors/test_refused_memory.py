"""Refused calls that bring much leave nothing behind: memory of a real server process over 40 of each kind."""

import json

import pytest

from tests.service.doors.process import ApiProcess
from tests.service.doors.refused import JSON, MIB, MOST_GROWTH, refusal_of, still_fine
from traind.v1 import jobs_pb2, predictions_pb2, tables_pb2

TIMES = 40
MOST = int(3.9 * MIB)
NAME = {"dataset": "nothing", "displayName": "x" * MOST}
INPUTS = jobs_pb2.Job(dataset="nothing", train={"inputs": [f"c{n}" for n in range(400_000)]})
STRINGS = tables_pb2.ColumnValues(name="a", strings=[f"s{n}" for n in range(430_000)])


def over_rpc(method, request):
    assert MOST * 0.85 < request.ByteSize() < 4 * MIB
    return lambda api, token: api.rpc(method, request, token)


def over_rest(path, content):
    assert MOST * 0.85 < len(content) < 4 * MIB
    return lambda api, token: api.rest("POST", path, token, JSON, content=content)


CALLS = {
    "a long list over gRPC": over_rpc("JobService.CreateJob", jobs_pb2.CreateJobRequest(job=INPUTS)),
    "many strings over gRPC": over_rpc(
        "PredictionService.Predict",
        predictions_pb2.PredictRequest(name="models/nothing", columns=[STRINGS]),
    ),
    "a long name over REST": over_rest("/v1/jobs", json.dumps(NAME).encode()),
    "JSON that breaks off": over_rest("/v1/jobs", b'{"dataset": "' + b"x" * MOST),
    "a scope that is missing": over_rest("/v1/models/nothing:predict", json.dumps(NAME).encode()),
}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A process of its own, in which nothing has taken and kept memory before."""
    with ApiProcess(tmp_path_factory.mktemp("fresh")) as api:
        still_fine(api)
        yield api


@pytest.mark.parametrize("kind", CALLS)
def test_refused_calls_leave_nothing_behind(fresh, kind):
    token = fresh.token("kim", ["read"] if "scope" in kind else ["read", "submit", "predict"])
    before = fresh.memory()
    for _ in range(TIMES):
        assert refusal_of(CALLS[kind](fresh, token)).code in {"INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED"}
    grown = fresh.memory() - before
    assert grown < MOST_GROWTH, f"{TIMES} refused calls have left {grown >> 20} MiB"
    still_fine(fresh)
