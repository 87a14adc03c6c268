"""B18 to B30: specs that cannot be learned, at both doors of a real server process."""

import time
import unicodedata

import pytest
from google.protobuf import json_format

from tests.service.doors.refused import refused, upload
from tests.service.doors.running import Refusal
from traind.v1 import jobs_pb2

MOST_SECONDS_OF_A_GLANCE = 0.05


@pytest.fixture
def kim(api):
    return api.token("kim")


def ways(api, token, job):
    """A job that is checked only, at both doors."""
    request = json_format.ParseDict({"job": job, "validate_only": True}, jobs_pb2.CreateJobRequest())
    return (
        lambda: api.rpc("JobService.CreateJob", request, token),
        lambda: by_rest(api, token, job),
    )


def by_rest(api, token, job):
    return api.rest("POST", "/v1/jobs", token, params={"validateOnly": "true"}, json=job)


def job_of(train, **fields):
    return {"dataset": "mixed", "train": {"target": ["price"], "network": {"linear": {}}} | train} | fields


def mlp(*hidden, **more):
    return {"network": {"mlp": {"hidden": list(hidden)} | more}}


def adam(lr):
    return {"learn": {"gradient": {"optimizer": {"adam": {"lr": lr}}}}}


def gradient(**fields):
    return {"learn": {"gradient": fields}}


SPECS = {
    "B18 no network": ({"network": {}}, "job.train.network", ["linear", "mlp"]),
    "B19 100,000 layers": (mlp(*[4] * 100_000), "job.train.network.mlp.hidden", ["100000", "512"]),
    "B20 a trillion parameters": (
        mlp(10**6, 10**6),
        "job.train.network",
        ["50,000,000", "1,000,00", "parameters", "narrower"],
    ),
    "B21 a width of 2^31 - 1": (mlp(2**31 - 1), "job.train.network.mlp.hidden[0]", ["2147483647", "1048576"]),
    "B22 a width of 0": (mlp(0), "job.train.network.mlp.hidden[0]", ["1"]),
    "B22 a width of -1": (mlp(-1), "job.train.network.mlp.hidden[0]", ["-1", "1"]),
    "B24 shapes that do not match": (
        {"learn": {"given": {"weights": {"weight": {"shape": [1, 2], "values": [1, 2]}}}}, "inputs": ["area"]},
        'job.train.learn.given.weights["weight"]',
        ["[1, 2]", "[1, 1]"],
    ),
    "B25 cross-entropy of numbers": (
        {"loss": {"crossEntropy": {}}, "target": ["ratio"]},
        "job.train.loss",
        ["numbers", "mse"],
    ),
    "B25 mse of classes": ({"loss": {"mse": {}}, "target": ["city"]}, "job.train.loss", ["classes", "bce"]),
    "B26 a rate of 0": (adam(0), "job.train.learn.gradient.optimizer.adam.lr", ["0"]),
    "B26 a negative rate": (adam(-0.1), "job.train.learn.gradient.optimizer.adam.lr", ["-0.1", "0"]),
    "B26 a rate of 1e30": (adam(1e30), "job.train.learn.gradient.optimizer.adam.lr", ["1e+30", "1000"]),
    "B28 a batch of 0": (gradient(batchSize=0), "job.train.learn.gradient.batch_size", ["1"]),
    "B28 a batch above the rows": (gradient(batchSize=41), "job.train.learn.gradient.batch_size", ["41", "40 rows"]),
    "B28 a batch of 10^9": (gradient(batchSize=10**9), "job.train.learn.gradient.batch_size", ["1048576"]),
    "B28 no epochs": (gradient(epochs=0), "job.train.learn.gradient.epochs", ["1"]),
    "B28 10^9 epochs": (gradient(epochs=10**9), "job.train.learn.gradient.epochs", ["1000000"]),
    "B37 a target with gaps": ({"target": ["gaps"]}, "job.train.target[0]", ["2 missing", "preprocess.target.missing"]),
    "B37 an input with gaps": ({"inputs": ["gaps"]}, "job.train.inputs[0]", ["2 missing", "impute"]),
    "B40 a target of one class": ({"target": ["country"]}, "job.train.target[0]", ["one class"]),
    "a column that is not there": ({"inputs": ["aera"]}, "job.train.inputs[0]", ['"aera"', '"area"']),
    "a clip without room": (
        {"preprocess": {"groups": [{"columns": ["area"], "clip": {"low": 2, "high": 1}}]}},
        "job.train.preprocess.groups[0].clip.low",
        ["2", "1"],
    ),
    "a dropout of 1": (mlp(4, dropout=1), "job.train.network.mlp.dropout", ["1"]),
    "a patience of 0": (
        gradient(earlyStopping={"patience": 0}),
        "job.train.learn.gradient.early_stopping.patience",
        ["1"],
    ),
    "65 targets": ({"target": [f"y{n}" for n in range(65)]}, "job.train.target", ["65", "64"]),
}
MIXED = b"area,ratio,city,country,gaps,price\n" + b"".join(
    b"%d,0.%d,%s,Korea,%s,%d\n" % (n, n + 1, (b"Seoul", b"Busan")[n % 2], b"" if n in {3, 7} else b"%d" % n, 3 * n)
    for n in range(40)
)


@pytest.fixture(scope="module")
def mixed(api):
    """A data set with a column for each case."""
    assert upload(api, api.token("kim"), MIXED, "mixed").status_code == 200


@pytest.mark.parametrize("case", SPECS)
def test_at_both_doors(api, kim, mixed, case):
    train, field, says = SPECS[case]
    calls = ways(api, kim, job_of({"inputs": ["area"]} | train))
    code = "RESOURCE_EXHAUSTED" if case.startswith("B20") else "INVALID_ARGUMENT"
    refused(api, *calls, code=code, field=field, says=says)


# Numbers beyond a field's type and names that are none, which protobuf has no way to write.
JSON_ALONE = {
    "B21 a width of 2^40": (mlp(2**40), "job.train.network.mlp.hidden[0]", [2**40]),
    "B21 a width of 2^62": (mlp(2**62), "job.train.network.mlp.hidden[0]", [2**62]),
    "B21 a width of 2^70": (mlp(2**70), "job.train.network.mlp.hidden[0]", []),
    "B23 an unknown network": ({"network": {"Lambda": {}}}, "job.train.network.Lambda", ["linear", "mlp"]),
    "B23 code for a name": (
        {"network": {"mlp": {"activation": "__import__"}}},
        "job.train.network.mlp.activation",
        ["__import__", "RELU"],
    ),
    "B29 a seed of -1": ({"seed": -1}, "job.train.seed", [-1, 0, 2**32 - 1]),
    "B29 a seed of 2^64": ({"seed": 2**64}, "job.train.seed", [2**32 - 1]),
    "a misspelled name": ({"preprocess": {"scale": "STANDRAD"}}, "job.train.preprocess.scale", ["STANDRAD"]),
    "an unknown metric": ({"every_epoch": ["F2"]}, "job.train.every_epoch[0]", ["F2"]),
}


@pytest.mark.parametrize("case", JSON_ALONE)
def test_what_json_alone_can_say(api, kim, mixed, case):
    train, field, says = JSON_ALONE[case]
    refusal = refused(api, lambda: by_rest(api, kim, job_of(train)), field=field, says=says)
    assert "overflow" not in refusal.message


@pytest.mark.alone
def test_b19_many_layers_cost_a_glance(api, kim, mixed):
    (by_rpc, _) = ways(api, kim, job_of(mlp(*[4] * 100_000)))
    spent = []
    for _ in range(5):
        begin = time.monotonic()
        assert by_rpc().code == "INVALID_ARGUMENT"
        spent.append(time.monotonic() - begin)
    assert min(spent) < MOST_SECONDS_OF_A_GLANCE


def test_b30_a_name_of_a_million_characters(api, kim, mixed):
    calls = ways(api, kim, job_of({"inputs": ["area"]}, displayName="x" * 10**6))
    refused(api, *calls, field="job.display_name", says=[10**6, 128])


@pytest.mark.parametrize("name", ["펭귄 모델", "مرحبا", "🐧" * 100, "\u1112\u1161\u11ab"])
def test_b30_names_of_people(api, kim, mixed, name):
    by_rpc, by_http = (call() for call in ways(api, kim, job_of({"inputs": ["area"]}, displayName=name)))
    assert not isinstance(by_rpc, Refusal), by_rpc
    assert by_rpc.display_name == by_http.json()["displayName"] == unicodedata.normalize("NFC", name)
