"""The Open Inference Protocol at every door answers what Predict answers."""

import gzip
import json
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from service import accounts, believing, policy
from service.rpc.oip import open_inference_pb2 as oip
from tests.service.doors.learned import learn
from tests.service.doors.running import answer_of_rest
from tests.service.serving import wires
from tests.service.serving.conftest import SPECS, columns_of, predicted
from tests.waiting import wait_until
from traind.v1 import jobs_pb2

DOORS = ["predictions", "main", "rest", "rest binary"]


def infer(server, door, model, inputs, version="", outputs=()):
    """Outputs by name: arrays, labels as a list."""
    kim = server.token("kim")
    if door in {"predictions", "main"}:
        with wires.rpc(server.predict_port if door == "predictions" else server.grpc_port, kim) as wire:
            return wire.infer(f"kim.{model}", inputs, version, outputs=outputs)[1]
    path = f"/v2/models/kim.{model}{f'/versions/{version}' if version else ''}/infer"
    wanted = {"outputs": [{"name": name} for name in outputs]} if outputs else {}
    if door == "rest":
        answer = server.rest("POST", path, kim, json={"inputs": wires.json_of(inputs)} | wanted)
        assert answer.status_code == 200, answer.text
        return {
            one["name"]: one["data"] if one["datatype"] == "BYTES" else np.array(one["data"]).reshape(one["shape"])
            for one in answer.json()["outputs"]
        }
    body, size = wires.binary_of(inputs, parameters={"binary_data_output": True}, **wanted)
    answer = server.rest("POST", path, kim, {"inference-header-content-length": str(size)}, content=body)
    assert answer.status_code == 200, answer.text
    return wires.binary_outputs(answer.content, int(answer.headers["inference-header-content-length"]))


def assert_as_predicted(server, model, columns, found):
    values, probabilities = predicted(server, model, columns)
    if probabilities is None:
        assert found["prediction"].shape == (len(values[0]), len(values))
        assert pytest.approx(np.array(values), rel=1e-6, abs=1e-6) == found["prediction"].T
        return
    assert found["label"] == values[0]
    assert found["probabilities"] == pytest.approx(probabilities, rel=1e-6, abs=1e-6)
    assert found["prediction"].reshape(-1).tolist() == probabilities.argmax(axis=1).tolist()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("model", SPECS)
def test_columns_of_each_model_at_each_door(server, door, model):
    columns = columns_of(model)
    assert_as_predicted(server, model, columns, infer(server, door, model, columns))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_one_matrix_for_all_columns(server, door, dtype):
    columns = columns_of("plain", 7)
    matrix = np.column_stack(list(columns.values())).astype(dtype)
    columns = {name: matrix[:, at].astype(float) for at, name in enumerate(columns)}
    assert_as_predicted(server, "plain", columns, infer(server, door, "plain", {"input": matrix}))


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT64"])
def test_every_type_of_numbers(server, wire, datatype):
    values = np.array([0, 1, 2, 3])
    dtype = wires.DTYPES[datatype]
    columns = {name: values.astype(float) for name in ("a", "b", "c")}
    _, found = wire.infer("kim.linear", {name: values.astype(dtype) for name in columns})
    assert_as_predicted(server, "linear", columns, found)


@pytest.mark.parametrize("contents", [False, True])
def test_contents_and_raw_say_the_same(server, wire, contents):
    columns = columns_of("mixed")
    _, found = wire.infer("kim.mixed", columns, contents=contents)
    assert_as_predicted(server, "mixed", columns, found)


def test_shapes_of_one_column(server, wire):
    columns = columns_of("linear")
    _, flat = wire.infer("kim.linear", columns)
    _, tall = wire.infer("kim.linear", {name: values.reshape(-1, 1) for name, values in columns.items()})
    assert np.array_equal(flat["prediction"], tall["prediction"])


def test_missing_numbers_follow_the_models_policy(server, wire):
    columns = {"a": np.array([np.nan, 1.0]), "b": np.array([0.5, 0.25])}
    _, found = wire.infer("kim.filled", columns)
    assert_as_predicted(server, "filled", columns, found)
    refused = wire.refusal("ModelInfer", wires.request_of("kim.linear", columns | {"c": np.array([1.0, 2.0])}))
    assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert '"a" is missing in 1 rows, the first at index 0' in refused.details()


def test_ids_are_echoed_or_made(wire):
    answer, _ = wire.infer("kim.linear", columns_of("linear"), request_id="요청 7")
    assert answer.id == "요청 7"
    made = {wire.infer("kim.linear", columns_of("linear"))[0].id for _ in range(2)}
    assert len(made) == 2
    assert all(made)


@pytest.mark.parametrize("door", DOORS)
def test_outputs_that_are_asked_for(server, door):
    found = infer(server, door, "classes", columns_of("classes"), outputs=["probabilities", "label"])
    assert list(found) == ["probabilities", "label"]


def test_versions_by_number(server, wire):
    answer, _ = wire.infer("kim.linear", columns_of("linear"), version="1")
    assert (answer.model_name, answer.model_version) == ("kim.linear", "1")
    refused = wire.refusal("ModelInfer", wires.request_of("kim.linear", columns_of("linear"), version="9"))
    assert refused.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("rows", [0, 1, 33, 5000])
def test_any_number_of_rows(server, wire, rows):
    for model in ("plain", "mixed", "classes"):
        columns = columns_of(model, rows)
        _, found = wire.infer(f"kim.{model}", columns)
        assert all(len(values) == rows for values in found.values())
        if rows:
            assert_as_predicted(server, model, columns, found)


def test_metadata_tells_every_tensor(server, wire):
    for model in SPECS:
        told = wire.call("ModelMetadata", oip.ModelMetadataRequest(name=f"kim.{model}"), oip.ModelMetadataResponse)
        rest = server.rest("GET", f"/v2/models/kim.{model}", server.token("kim")).json()
        inputs = {tensor.name: (tensor.datatype, list(tensor.shape)) for tensor in told.inputs}
        assert {one["name"]: (one["datatype"], one["shape"]) for one in rest["inputs"]} == inputs
        columns = columns_of(model)
        assert set(inputs) == {*columns, *(["input"] if "city" not in columns else [])}
        _, found = wire.infer(f"kim.{model}", columns)
        assert [tensor.name for tensor in told.outputs] == list(found) == [one["name"] for one in rest["outputs"]]
        for tensor in told.outputs:
            if tensor.datatype != "BYTES":
                assert list(found[tensor.name].shape)[1:] == list(tensor.shape)[1:]
    classes = server.rest("GET", "/v2/models/kim.classes", server.token("kim")).json()
    assert json.loads(classes["properties"]["classes"]) == ["빨강", "초록", "파랑"]


def test_live_ready_and_server_metadata(server, wire):
    for port in (server.predict_port, server.grpc_port):
        with wires.rpc(port, None) as nobody:
            assert nobody.call("ServerLive", oip.ServerLiveRequest(), oip.ServerLiveResponse).live
            assert nobody.call("ServerReady", oip.ServerReadyRequest(), oip.ServerReadyResponse).ready
            refused = nobody.refusal("ServerMetadata", oip.ServerMetadataRequest())
            assert refused.code() is grpc.StatusCode.UNAUTHENTICATED
    told = wire.call("ServerMetadata", oip.ServerMetadataRequest(), oip.ServerMetadataResponse)
    assert told.name == "traind"
    assert wire.call("ModelReady", oip.ModelReadyRequest(name="kim.plain"), oip.ModelReadyResponse).ready
    assert server.rest("GET", "/v2/health/live").json() == {"live": True}
    assert server.rest("GET", "/v2/health/ready").json() == {"live": True, "ready": True}
    assert server.rest("GET", "/v2", server.token("kim")).json()["extensions"] == list(told.extensions)
    ready = server.rest("GET", "/v2/models/kim.plain/versions/1/ready", server.token("kim"))
    assert ready.json() == {"name": "kim.plain", "ready": True}


def test_the_index_has_ones_own_models(server, wire):
    told = wire.call("RepositoryIndex", oip.RepositoryIndexRequest(), oip.RepositoryIndexResponse)
    assert {(one.name, one.version, one.state) for one in told.models} == {
        (f"kim.{name}", "1", "READY") for name in SPECS
    }
    rest = server.rest("POST", "/v2/repository/index", server.token("kim"), json={"ready": True}).json()
    assert {one["name"] for one in rest} == {f"kim.{name}" for name in SPECS}
    assert set(server.rest("GET", "/v2/models", server.token("kim")).json()["models"]) == {
        f"kim.{name}" for name in SPECS
    }
    assert server.rest("POST", "/v2/repository/index", server.token("lee"), json={}).json() == []


@pytest.mark.parametrize("door", DOORS)
def test_anothers_model_is_as_one_that_is_not_there(server, door):
    texts = []
    for model in ("kim.linear", "kim.nothing"):
        if door in {"predictions", "main"}:
            with wires.rpc(
                server.predict_port if door == "predictions" else server.grpc_port, server.token("lee")
            ) as lee:
                refused = lee.refusal("ModelInfer", wires.request_of(model, columns_of("linear")))
                assert refused.code() is grpc.StatusCode.NOT_FOUND
                texts.append(refused.details().replace(model, "M"))
        else:
            body = {"inputs": wires.json_of(columns_of("linear"))}
            answer = server.rest("POST", f"/v2/models/{model}/infer", server.token("lee"), json=body)
            assert answer.status_code == 404
            texts.append(answer.json()["error"].replace(model, "M"))
    assert texts[0] == texts[1]


@pytest.mark.parametrize("method", sorted(name for name in policy.TABLE if name.startswith("inference.")))
def test_nobody_without_a_token_that_may(server, method):
    revoked = accounts.create_token(server.database, "kim", ["predict"])
    accounts.revoke_token(server.database, revoked[4:12])
    said = {
        None: grpc.StatusCode.UNAUTHENTICATED,
        revoked: grpc.StatusCode.UNAUTHENTICATED,
        server.token("kim", ["read", "submit"]): grpc.StatusCode.PERMISSION_DENIED,
    }
    for port in (server.predict_port, server.grpc_port):
        for token, code in said.items():
            with wires.rpc(port, token) as wire:
                assert wire.refusal(method.rpartition(".")[2], b"").code() is code


def test_the_scope_is_predict(server):
    reader = server.token("kim", ["read", "submit"])
    for port in (server.predict_port, server.grpc_port):
        with wires.rpc(port, reader) as wire:
            for _ in range(2):  # at first by SQL, then remembered
                refused = wire.refusal("ModelInfer", wires.request_of("kim.linear", columns_of("linear")))
                assert refused.code() is grpc.StatusCode.PERMISSION_DENIED
    assert server.rest("GET", "/v2/models/kim.linear", reader).status_code == 403


def test_predict_at_the_door_of_predictions(server, wire):
    from traind.v1 import predictions_pb2, tables_pb2

    columns = columns_of("mixed")
    told = [
        tables_pb2.ColumnValues(name=name, strings=values)
        if isinstance(values, list)
        else tables_pb2.ColumnValues(name=name, numbers=values.astype(float))
        for name, values in columns.items()
    ]
    request = predictions_pb2.PredictRequest(name="mixed", columns=told)
    answer = wire.call("Predict", request, predictions_pb2.PredictResponse, service="traind.v1.PredictionService")
    assert [list(one.numbers) for one in answer.predictions] == predicted(server, "mixed", columns)[0]


@pytest.mark.parametrize(("encoding", "packed"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_bodies_that_are_packed(server, encoding, packed):
    columns = columns_of("linear")
    body, size = wires.binary_of(columns, parameters={"binary_data_output": True})
    headers = {"inference-header-content-length": str(size), "content-encoding": encoding}
    answer = server.rest("POST", "/v2/models/kim.linear/infer", server.token("kim"), headers, content=packed(body))
    assert answer.status_code == 200, answer.text
    found = wires.binary_outputs(answer.content, int(answer.headers["inference-header-content-length"]))
    assert_as_predicted(server, "linear", columns, found)


def test_a_body_that_is_large_once_unpacked_is_refused(server):
    headers = {"content-encoding": "gzip"}
    bomb = gzip.compress(b" " * (65 << 20))
    answer = server.rest("POST", "/v2/models/kim.linear/infer", server.token("kim"), headers, content=bomb)
    assert answer.status_code == 413
    assert "67,108,864 bytes, unpacked" in answer.json()["error"]


BAD = [
    ({"a": np.zeros(2), "b": np.zeros(2)}, 'inputs: lacks "c"'),
    ({"a": np.zeros(2), "b": np.zeros(2), "c": np.zeros(2), "d": np.zeros(2)}, 'inputs[3].name: "d" is unknown'),
    ({"a": np.zeros(2), "b": np.zeros(3), "c": np.zeros(2)}, "inputs[1].shape: has 3 rows"),
    ({"a": np.zeros(2), "b": np.zeros((2, 2)), "c": np.zeros(2)}, "inputs[1].shape: is [2, 2]"),
    ({"a": ["1", "2"], "b": np.zeros(2), "c": np.zeros(2)}, "inputs[0].datatype: is BYTES"),
    ({"a": np.array([1.0, np.inf]), "b": np.zeros(2), "c": np.zeros(2)}, "inputs[0][1]: is inf"),
    ({"input": np.zeros((2, 4))}, "inputs[0].shape: is [2, 4]; `input` takes [rows, 3], the columns being a, b, c"),
    ({"input": np.zeros((2, 3)), "a": np.zeros(2)}, "inputs[0].name: `input` stands for all columns"),
    ({"a": ("FP99", np.zeros(2)), "b": np.zeros(2), "c": np.zeros(2)}, 'inputs[0].datatype: is "FP99"; there are BOOL'),
    (
        {"a": ("FP32", np.zeros(2)), "b": np.zeros(2), "c": np.zeros(2)},
        "inputs[0]: has 16 bytes, and FP32 of shape [2]",
    ),
]


@pytest.mark.parametrize(("inputs", "says"), BAD, ids=range(len(BAD)))
@pytest.mark.parametrize("door", ["predictions", "rest binary"])
def test_bad_inputs(server, wire, door, inputs, says):
    if door == "predictions":
        refused = wire.refusal("ModelInfer", wires.request_of("kim.linear", inputs))
        assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert says in refused.details()
        return
    body, size = wires.binary_of(inputs)
    headers = {"inference-header-content-length": str(size)}
    answer = server.rest("POST", "/v2/models/kim.linear/infer", server.token("kim"), headers, content=body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]


def test_an_unseen_category_is_never_a_number(server, wire):
    columns = columns_of("mixed", 2) | {"city": ["서울", "제주"]}
    refused = wire.refusal("ModelInfer", wires.request_of("kim.mixed", columns))
    assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert 'inputs[2].strings[1]: "제주" is no category' in refused.details()


BODIES = [
    (b"", "no JSON"),
    (b"[]", "must be a JSON object"),
    (b"{}", "inputs: is required"),
    (b'{"inputs":[{}]}', "inputs[0].name: is required"),
    (b'{"inputs":[{"name":"a","datatype":"FP64","shape":[2],"data":[1]}]}', "inputs[0].data: has 1 values"),
    (b'{"inputs":[{"name":"a","datatype":"FP64","shape":[-1],"data":[1]}]}', "inputs[0].shape: is [-1]"),
    (b'{"inputs":[{"name":"a","datatype":"FP64","shape":[1],"data":["x"]}]}', "inputs[0].data: holds text"),
    (b'{"inputs":[{"name":"a","datatype":"INT8","shape":[1],"data":[300]}]}', "a number that it cannot hold"),
    (b'{"inputs":[{"name":"a","datatype":"INT8","shape":[1],"data":[1.5]}]}', "holds fractions"),
    (b'{"inputs":[{"name":"a","datatype":"FP64","shape":[2],"data":[[1],[2,3]]}]}', "different lengths"),
    (b'{"inputs":[{"name":"a","datatype":"FP64","shape":[1],"data":[NaN]}]}', "no JSON"),
    (b'{"inputs":[{"name":"a","datatype":"BYTES","shape":[1],"data":[1]}]}', "other values than texts"),
    (
        b'{"inputs":[{"name":"a","datatype":"FP64","shape":[1],"parameters":{"binary_data_size":8}}]}',
        "0 bytes are left",
    ),
]


@pytest.mark.parametrize(("body", "says"), BODIES, ids=range(len(BODIES)))
def test_bad_bodies(server, body, says):
    answer = server.rest("POST", "/v2/models/kim.linear/infer", server.token("kim"), content=body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]


def test_paths_that_are_not_there(server):
    kim = server.token("kim")
    assert "there is no" in server.rest("GET", "/v2/nothing", kim).json()["error"]
    assert server.rest("GET", "/v2/nothing", kim).status_code == 404
    wrong = server.rest("GET", "/v2/models/kim.linear/infer", kim)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


def test_nulls_are_missing_numbers(server):
    body = {
        "inputs": [
            {"name": "a", "datatype": "FP64", "shape": [2], "data": [None, 1]},
            {"name": "b", "datatype": "FP32", "shape": [2, 1], "data": [[0.5], [0.25]]},
        ]
    }
    answer = server.rest("POST", "/v2/models/kim.filled/infer", server.token("kim"), json=body)
    found = np.array(answer.json()["outputs"][0]["data"])
    values, _ = predicted(server, "filled", {"a": np.array([np.nan, 1.0]), "b": np.array([0.5, 0.25])})
    assert found == pytest.approx(np.array(values[0]))


def retrained(server, model, seed):
    """Another version of a model, by another seed."""
    kim, (dataset, spec) = server.token("kim"), SPECS[model]
    body = {"dataset": dataset, "model": model, "train": spec | {"seed": seed}}
    job = answer_of_rest(server.rest("POST", "/v1/jobs", kim, json=body), jobs_pb2.Job)
    assert learn(server, kim, job.name).state == jobs_pb2.Job.SUCCEEDED


def switch(server, model, version):
    body = {"alias": "champion", "version": version}
    answer = server.rest("POST", f"/v1/models/{model}:setAlias", server.token("kim"), json=body)
    assert answer.status_code == 200, answer.text


def test_an_alias_is_switched_under_clients_and_no_answer_is_mixed(server):
    """Every answer is whole of the version that it names, and after the switch none is of the old one."""
    retrained(server, "two", 5)
    columns = columns_of("two", 20)
    with wires.rpc(server.predict_port, server.token("kim")) as wire:
        told = {version: wire.infer("kim.two", columns, version)[1]["prediction"] for version in ("1", "2")}
    assert not np.allclose(told["1"], told["2"])
    switch(server, "two", 1)
    over, switched, wrong, seen = threading.Event(), threading.Event(), [], set()

    def ask(door):
        with wires.rpc(server.predict_port if door else server.grpc_port, server.token("kim")) as wire:
            while not over.is_set():
                after = switched.is_set()
                answer, found = wire.infer("kim.two", columns, "champion")
                seen.add(answer.model_version)
                if not np.array_equal(found["prediction"], told[answer.model_version]):
                    wrong.append("mixed")
                if after and answer.model_version != "2":
                    wrong.append("old")

    with ThreadPoolExecutor(16) as pool:
        asking = [pool.submit(ask, n % 2) for n in range(16)]
        time.sleep(1.0)
        switch(server, "two", 2)
        switched.set()
        time.sleep(1.0)
        over.set()
        for one in asking:
            one.result()
    assert (wrong, seen) == ([], {"1", "2"})


def test_a_deleted_version_stops_at_once(server):
    retrained(server, "double", 6)
    columns = columns_of("double")
    with wires.rpc(server.predict_port, server.token("kim")) as wire:
        assert wire.infer("kim.double", columns)[0].model_version == "2"
        assert server.rest("DELETE", "/v1/models/double/versions/2", server.token("kim")).status_code == 200
        refused = wire.refusal("ModelInfer", wires.request_of("kim.double", columns, version="2"))
        assert refused.code() is grpc.StatusCode.NOT_FOUND
        assert wire.infer("kim.double", columns)[0].model_version == "1"


def test_a_revoked_token_stops_within_a_second(server):
    token = accounts.create_token(server.database, "kim", ["predict"])
    columns = columns_of("linear")
    with wires.rpc(server.predict_port, token) as wire:
        wire.infer("kim.linear", columns)
        assert accounts.revoke_token(server.database, token[4:12])
        revoked = time.monotonic()

        def stopped():
            try:
                wire.infer("kim.linear", columns)
            except grpc.RpcError as error:
                return error.code() is grpc.StatusCode.UNAUTHENTICATED
            return False

        wait_until(stopped, "it is rejected", 5)
        assert time.monotonic() - revoked < believing.BELIEVED_S + 0.5
