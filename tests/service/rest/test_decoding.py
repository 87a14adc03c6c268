"""JSON and query parameters as messages: all of proto3 JSON, and every wrong value by its path."""

import math

import pytest
from google.protobuf import json_format

from service.calling.requests import Findings
from service.rest.decoding import fill, fill_query
from traind.v1 import (
    jobs_pb2,
    learning_pb2,
    losses_pb2,
    models_pb2,
    networks_pb2,
    optimizers_pb2,
    predictions_pb2,
    specs_pb2,
    splits_pb2,
    tables_pb2,
    uploads_pb2,
)


def read(message, given):
    found = Findings()
    fill(message, given, "", found)
    return [(v.field, v.description) for v in found.violations]


def paths(message, given):
    return [path for path, _ in read(message, given)]


ROUND_TRIPS = [
    jobs_pb2.Job(
        display_name="펭귄",
        dataset="penguins",
        train=specs_pb2.TrainSpec(
            inputs=["a", "b"],
            target=["c"],
            network=networks_pb2.Network(mlp=networks_pb2.Mlp(hidden=[3, 4], activation="TANH", bias=False)),
            split=splits_pb2.Split(none={}),
            loss=losses_pb2.Loss(mse=losses_pb2.Mse(reduction="SUM")),
            learn=learning_pb2.Learn(
                given=learning_pb2.Given(weights={"w": tables_pb2.Tensor(shape=[1, 2], values=[math.inf, -0.0])})
            ),
            dtype="FLOAT64",
            seed=2**32 - 1,
        ),
    ),
    models_pb2.EvaluateModelRequest(name="models/m", dataset="d", dof=2**63 - 1),
    predictions_pb2.PredictRequest(
        name="models/m",
        columns=[
            tables_pb2.ColumnValues(name="x", numbers=[1, 2.5, math.nan], strings=["", "é"], missing=[True, False])
        ],
        return_hidden=True,
    ),
    uploads_pb2.WriteUploadRequest(name="uploads/x", offset=2**40, data=bytes(range(256))),
]


@pytest.mark.parametrize("message", ROUND_TRIPS, ids=lambda m: m.DESCRIPTOR.name)
@pytest.mark.parametrize("snake", [False, True], ids=["camelCase", "snake_case"])
def test_what_protobuf_writes_is_read_back(message, snake):
    given = json_format.MessageToDict(message, preserving_proto_field_name=snake)
    again = type(message)()
    assert read(again, given) == []
    assert again.SerializeToString(deterministic=True) == message.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("given", "value"), [(3, 3), ("3", 3), (3.0, 3), (1e3, 1000), (0, 0), (2**32 - 1, 2**32 - 1), (None, 0)]
)
def test_whole_numbers(given, value):
    spec = specs_pb2.TrainSpec()
    assert read(spec, {"seed": given}) == []
    assert spec.seed == value


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (True, "boolean (true)"),
        (3.5, "number (3.5)"),
        ("3.5", 'text ("3.5")'),
        ("", "text"),
        (" 3", "text"),
        ("0x10", "text"),
        ("1_000", "text"),
        ("٣", "text"),
        ([], "a list"),
        ({}, "an object"),
        (-1, "from 0 to 4294967295"),
        (2**32, "from 0 to 4294967295"),
        (10**4000, "from 0 to 4294967295"),
        (math.inf, "must be a whole number"),
        (1e300, "from 0 to 4294967295"),
    ],
)
def test_what_is_no_whole_number(given, says):
    ((path, text),) = read(specs_pb2.TrainSpec(), {"seed": given})
    assert path == "seed"
    assert says in text
    assert len(text) < 200


@pytest.mark.parametrize(
    ("given", "value"),
    [(1, 1.0), ("1.5e3", 1500.0), (10**30, 1e30), ("Infinity", math.inf), ("-Infinity", -math.inf), (-0.0, -0.0)],
)
def test_numbers(given, value):
    adam = optimizers_pb2.Adam()
    assert read(adam, {"lr": given}) == []
    assert adam.lr == value


@pytest.mark.parametrize("given", [math.nan, math.inf, -math.inf, 10**400, "1e999", True, "nan", "inf", "1 ", "", []])
def test_what_is_no_number(given):
    """A float that is not finite can only have come from a bare NaN, Infinity or 1e999."""
    assert paths(optimizers_pb2.Adam(), {"lr": given}) == ["lr"]
    tensor = tables_pb2.Tensor()
    assert paths(tensor, {"values": [1.5, given, 2]}) == ["values[1]"]


@pytest.mark.parametrize(
    ("message", "given", "expected"),
    [
        (predictions_pb2.PredictRequest(), {"returnHidden": "true"}, ["return_hidden"]),
        (predictions_pb2.PredictRequest(), {"returnHidden": 1}, ["return_hidden"]),
        (predictions_pb2.PredictRequest(), {"columns": {"name": "x"}}, ["columns"]),
        (predictions_pb2.PredictRequest(), {"columns": [None, 1, {}]}, ["columns[0]", "columns[1]"]),
        (
            predictions_pb2.PredictRequest(),
            {"columns": [{"strings": ["a", None, 3]}]},
            ["columns[0].strings[1]", "columns[0].strings[2]"],
        ),
        (predictions_pb2.PredictRequest(), {"name": 3}, ["name"]),
        (predictions_pb2.PredictRequest(), {"name": "\ud800"}, ["name"]),
        (predictions_pb2.PredictRequest(), {"columns": [{"strings": ["a", "\udfff"]}]}, ["columns[0].strings[1]"]),
        (predictions_pb2.PredictRequest(), [], ["(body)"]),
        (predictions_pb2.PredictRequest(), None, ["(body)"]),
        (specs_pb2.TrainSpec(), {"dtype": "FLOAT16"}, ["dtype"]),
        (specs_pb2.TrainSpec(), {"dtype": True}, ["dtype"]),
        (specs_pb2.TrainSpec(), {"dtype": "\ud800FLOAT32"}, ["dtype"]),
        (networks_pb2.Network(), {"linear": {}, "mlp": {}}, ["mlp"]),
        (specs_pb2.TrainSpec(), {"network": {"linear": {}, "mlp": {}}}, ["network"]),
        (learning_pb2.Gradient(), {"batchSize": 1, "batch_size": 2}, ["batch_size"]),
        (learning_pb2.Given(), {"weights": {"\ud800": {}}}, ['weights["\\ud800"]']),
        (learning_pb2.Given(), {"weights": [1]}, ["weights"]),
        (learning_pb2.Given(), {"weights": {"w": {"shape": ["x"]}}}, ['weights["w"].shape[0]']),
        (uploads_pb2.WriteUploadRequest(), {"data": "%%"}, ["data"]),
    ],
)
def test_every_wrong_value_has_its_path(message, given, expected):
    assert paths(message, given) == expected


def test_unknown_fields_get_the_nearest_name():
    job = jobs_pb2.Job()
    assert read(job, {"train": {"netwrk": {}, "learn": {"gradient": {"batchsize": 3}}}, "admin": True}) == [
        ("train.netwrk", "is unknown; did you mean network?"),
        ("train.learn.gradient.batchsize", "is unknown; did you mean batch_size?"),
        ("admin", "is unknown; known are display_name, dataset, model, train, evaluate, predict, webhooks"),
    ]
    ((path, _),) = read(job, {"a\r\nlevel=ERROR" + "x" * 200: 1})
    assert path.startswith('"a\\r\\nlevel=ERROR')
    assert len(path) < 100


def test_what_only_the_server_sets_is_not_even_looked_at():
    job = jobs_pb2.Job()
    assert read(job, {"name": 3, "state": "NEW", "createTime": "yesterday", "metrics": 1, "done": []}) == []
    assert job == jobs_pb2.Job()


def query(message, pairs, closed=()):
    found = Findings()
    fill_query(message, pairs, set(closed), found)
    return [(v.field, v.description) for v in found.violations]


def test_query_parameters_in_both_spellings_repeated_and_dotted():
    jobs = jobs_pb2.ListJobsRequest()
    assert query(jobs, [("pageSize", "5"), ("states", "QUEUED"), ("states", "FAILED"), ("page_token", "é")]) == []
    assert jobs == jobs_pb2.ListJobsRequest(page_size=5, states=["QUEUED", "FAILED"], page_token="é")
    request = jobs_pb2.CreateJobRequest()
    assert query(request, [("validateOnly", "true"), ("job.train.seed", "7"), ("job.train.inputs", "a")]) == []
    assert (request.validate_only, request.job.train.seed, list(request.job.train.inputs)) == (True, 7, ["a"])


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("pageSize", "x")], "page_size"),
        ([("pageSize", "")], "page_size"),
        ([("pageSize", "1"), ("page_size", "2")], "page_size"),
        ([("page_size", "1"), ("pageSize", "2")], "page_size"),
        ([("states", "queued")], "states[0]"),
        ([("state", "QUEUED")], "state"),
        ([("page.size", "1")], '"page.size"'),
        ([("states.x", "1")], '"states.x"'),
    ],
)
def test_wrong_query_parameters(pairs, expected):
    ((path, _),) = query(jobs_pb2.ListJobsRequest(), pairs)
    assert path == expected


def test_what_stands_elsewhere_does_not_stand_in_the_query():
    request = jobs_pb2.CreateJobRequest()
    found = query(request, [("job", "x"), ("job.dataset", "x"), ("validateOnly", "yes")], ["job"])
    assert [path for path, _ in found] == ["job", '"job.dataset"', "validate_only"]
    assert query(jobs_pb2.CreateJobRequest(), [("job.train", "x")])[0][0] == "job.train"
