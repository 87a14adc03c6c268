"""Files that are no models, at both doors of a real server process: each refused in words, with nothing left behind."""

import base64
import hashlib
import io
import json
import pickle
import re
import struct
import zipfile

import pytest
import torch

from service.model_files import layout
from service.modelling.tensors import decode_tensors, encode_tensors, weights_sha256
from tests.service.carried import changed, closed, opened
from tests.service.doors.refused import JSON, MIB, refused
from tests.service.doors.running import answer_of_rest
from traind.v1 import models_pb2, uploads_pb2

pytestmark = pytest.mark.usefixtures("world")


@pytest.fixture
def kim(api):
    return api.token("kim")


@pytest.fixture(scope="package")
def good(api, world):
    """The file of the model `price`, as REST sends it."""
    response = api.rest("GET", "/v1/models/price/versions/1:export", api.token("kim"))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["content-disposition"] == 'attachment; filename="kim.price-1.safetensors"'
    assert int(response.headers["content-length"]) == len(response.content)
    return response.content


def put(api, token, data):
    """The name of an upload with these bytes."""
    made = answer_of_rest(api.rest("POST", "/v1/uploads", token, json={}), uploads_pb2.Upload)
    if data:
        assert api.rest("PUT", f"/v1/{made.name}?offset=0", token, content=data).status_code == 200
    return made.name


def imports(api, token, upload, **more):
    """An import, at both doors."""
    request = models_pb2.ImportModelRequest(upload=upload, **more)
    body = {"upload": upload} | more
    return (
        lambda: api.rpc("ModelService.ImportModel", request, token),
        lambda: api.rest("POST", "/v1/models:import", token, JSON, content=json.dumps(body).encode()),
    )


def header(data, change):
    """A file whose header's text is changed, and its length with it."""
    begin = 8 + int.from_bytes(data[:8], "little")
    text = change(data[8:begin])
    return len(text).to_bytes(8, "little") + text + data[begin:]


def entries(data, change):
    """A file whose entries are changed."""
    found, told, tensors = opened(data)
    change(found)
    return closed(found, told, tensors)


def described(data, change):
    """A file whose description is changed."""
    found, told, tensors = opened(data)
    change(told)
    return closed(found, told, tensors)


def weights(data, change):
    """A file with other weights, whose hash and entries are right."""
    _, told, _ = opened(data)
    plain = layout.encode_header(opened(data)[0]) + opened(data)[2]
    found = decode_tensors(plain)
    change(found)
    made = encode_tensors(found)
    begin = 8 + int.from_bytes(made[:8], "little")
    told["weightsSha256"] = weights_sha256(found)
    return closed(json.loads(made[8:begin]), told, made[begin:])


def preprocessing(data, change):
    """A file whose preprocessing is changed."""

    def put_back(told):
        kept = json.loads(told["preprocessing"])
        change(kept)
        told["preprocessing"] = json.dumps(kept)

    return described(data, put_back)


def flipped(data, place):
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def mlp(**more):
    """Another network in place of a linear one."""

    def change(told):
        told["spec"]["network"] = {"mlp": {"hidden": [4], "activation": "RELU"} | more}

    return change


def zipped(_):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": [1.0]}))
    return stream.getvalue()


def plain(_):
    return encode_tensors({"weight": torch.zeros(1, 4)}, {"format": "pt"})


def doubles(*values):
    return base64.b64encode(struct.pack(f"<{len(values)}d", *values)).decode()


def series(name, *values, split="train"):
    return {"name": name, "split": split, "values": doubles(*values)}


def text(data, told):
    """A file whose description is this text, with the right hash."""
    found, _, tensors = opened(data)
    return closed(found, told, tensors)


def nested(data):
    found, _, tensors = opened(data)
    return closed(found, '{"format":1,"x":' + "[" * 5000 + "]" * 5000 + "}", tensors)


def doubled(data):
    """A key of the description that stands twice."""
    found, told, tensors = opened(data)
    return closed(found, json.dumps(told)[:-1] + ',"format":1}', tensors)


def overlapping(found):
    found["weight"]["data_offsets"] = [0, 16]


def infinite(data):
    """A number of the preprocessing that no float can hold, as JSON has it."""
    _, told, _ = opened(data)
    text, count = re.subn(r'"mean": [0-9.]+', '"mean": 1e999', told["preprocessing"], count=1)
    assert count
    return changed(data, preprocessing=text)


def in_place(place, *keys):
    """Change a value of a description by the way to it."""

    def change(told):
        for key in keys[:-2]:
            told = told[key]
        told[keys[-2]] = keys[-1]

    return lambda data: described(data, change) if place == "told" else preprocessing(data, change)


BAD = {
    "empty": (lambda _: b"", ["0 bytes", "export the model again"]),
    "seven bytes": (lambda data: data[:7], ["7 bytes"]),
    "cut in the header": (lambda data: data[:200], ["200 bytes", "cut"]),
    "cut in the weights": (lambda data: data[:-1], ["its spec makes"]),
    "one byte more": (lambda data: data + b"\0", ["its spec makes"]),
    "a bit of the weights": (lambda data: flipped(data, len(data) - 2), ["weights", "SHA-256", "damaged"]),
    "a bit of the description": (
        lambda data: flipped(data, data.index(b"displayName") + 3),
        ["description", "SHA-256", "changed"],
    ),
    "a bit of its hash": (lambda data: flipped(data, data.index(b'"sha256":"') + 12), ["description", "SHA-256"]),
    "a header without end": (lambda data: b"\xff" * 8 + data[8:], ["no safetensors"]),
    "a huge header": (lambda _: (17 * MIB).to_bytes(8, "little") + b" " * (17 * MIB), ["17,825,792", "16,777,216"]),
    "many values": (lambda _: len(b"[" * (3 * MIB)).to_bytes(8, "little") + b"[" * (3 * MIB), ["500,000 values"]),
    "a header that is no JSON": (lambda data: header(data, lambda h: b"x" + h[1:]), ["no JSON"]),
    "a header that is a list": (lambda data: header(data, lambda _: b"[]"), ["no JSON object"]),
    "a header that is no UTF-8": (lambda data: header(data, lambda h: b'{"\xff":1,' + h[1:]), ["no JSON"]),
    "a tensor twice": (lambda data: header(data, lambda h: b'{"bias":{},' + h[1:]), ["key twice"]),
    "a key of the description twice": (doubled, ["key twice"]),
    "a description that is nested": (nested, ["no JSON"]),
    "a bare NaN": (lambda data: text(data, '{"format":NaN}'), ["no JSON"]),
    "half a character as a name": (lambda data: text(data, '{"format":1,"\\ud800":1}'), ["half a character"]),
    "half a character as a value": (
        lambda data: text(data, json.dumps(opened(data)[1] | {"displayName": "\ud800"})),
        ["half a character"],
    ),
    "metadata that are no texts": (
        lambda data: header(data, lambda _: b'{"__metadata__":{"traind":1}}'),
        ["metadata", "no texts"],
    ),
    "an entry with more": (lambda data: entries(data, lambda f: f["bias"].update(more=1)), ["dtype, shape", "bias"]),
    "a shape that is no number": (
        lambda data: entries(data, lambda f: f["bias"].update(data_offsets=[False, 4])),
        ["not where its header says"],
    ),
    "metadata of more": (
        lambda data: closed(opened(data)[0], opened(data)[1], opened(data)[2], format="pt"),
        ["not written by an export", "traind export"],
    ),
    "of another program": (plain, ["not written by an export"]),
    "a pickle": (lambda _: pickle.dumps({"weight": [0.0] * 99}), ["no safetensors"]),
    "a zip archive": (zipped, ["no safetensors"]),
    "NaN weights": (lambda data: weights(data, lambda w: w["bias"].fill_(float("nan"))), ["NaN"]),
    "infinite weights": (lambda data: weights(data, lambda w: w["weight"].fill_(float("inf"))), ["infinite"]),
    "another shape": (lambda data: weights(data, lambda w: w.update(weight=torch.zeros(2, 2))), ["weight", "[1, 4]"]),
    "another dtype": (lambda data: weights(data, lambda w: w.update(bias=torch.zeros(1).double())), ["F64", "F32"]),
    "a tensor less": (lambda data: weights(data, lambda w: w.pop("bias")), ["lacks", "bias"]),
    "a tensor more": (lambda data: weights(data, lambda w: w.update(x=torch.zeros(1))), ["too many", "x"]),
    "tensors over each other": (lambda data: entries(data, overlapping), ["not where its header says"]),
    "a newer format": (lambda data: changed(data, format=3), ["format 3", "upgrade this server"]),
    "a format that is no number": (lambda data: changed(data, format="1"), ["no format"]),
    "no format": (lambda data: changed(data, format=True), ["no format"]),
    "an unknown field": (lambda data: changed(data, colour="red"), ["colour", "upgrade this server"]),
    "an unknown field of the spec": (in_place("told", "spec", "warmth", 1), ["warmth"]),
    "an unknown activation": (lambda data: described(data, mlp(activation="SWISH")), ["SWISH", "upgrade"]),
    "an activation by number": (
        lambda data: described(data, mlp(activation=77)),
        ["spec.network.mlp.activation", "77"],
    ),
    "no activation": (lambda data: described(data, mlp(activation=0)), ["activation"]),
    "another network": (lambda data: described(data, mlp()), ["parameters"]),
    "layers of nothing": (lambda data: described(data, mlp(hidden=[0])), ["spec.network.mlp.hidden[0]"]),
    "no kind of network": (in_place("told", "spec", "network", {}), ["spec", "network"]),
    "a loss of classes": (in_place("told", "spec", "loss", {"crossEntropy": {}}), ["classes", "loss"]),
    "no loss": (in_place("told", "spec", "loss", {}), ["loss"]),
    "no dtype": (in_place("told", "spec", "dtype", 0), ["dtype"]),
    "a spec of other columns": (in_place("told", "spec", "inputs", ["area", "rooms"]), ["other columns"]),
    "no spec": (lambda data: described(data, lambda told: told.pop("spec")), ["spec", "required"]),
    "no task": (lambda data: described(data, lambda told: told.pop("train")), ["train", "required"]),
    "a rate below 0": (
        in_place("told", "resolved", "learn", {"gradient": {"optimizer": {"adam": {"lr": -1}}, "epochs": 1}}),
        ["resolved.learn.gradient.optimizer.adam.lr"],
    ),
    "an unknown step": (
        in_place("pre", "fitted", "columns", 0, "steps", 0, "kind", "eval"),
        ["steps that this server does not know"],
    ),
    "a step with more": (in_place("pre", "fitted", "columns", 0, "steps", 0, "more", 1), ["does not know"]),
    "a step beyond 64 bits": (in_place("pre", "fitted", "columns", 0, "steps", 0, "mean", 10**400), ["64 bits"]),
    "a step that is infinite": (infinite, ["64 bits"]),
    "a preprocessing that is no JSON": (in_place("told", "preprocessing", "{"), ["preprocessing", "no JSON"]),
    "a text to learn from": (in_place("pre", "fitted", "columns", 0, "type", "TEXT"), ["steps", "area"]),
    "a category without encoding": (in_place("pre", "fitted", "columns", 2, "steps", []), ["steps", "city"]),
    "a category twice": (
        in_place("pre", "fitted", "columns", 2, "steps", 0, "categories", ["Seoul", "Seoul"]),
        ["steps", "city"],
    ),
    "an indicator of nothing": (in_place("pre", "fitted", "columns", 0, "indicator", 1), ["steps", "area"]),
    "classes of a number": (in_place("pre", "target", "classes", ["1", "2"]), ["2 classes"]),
    "other inputs": (in_place("told", "inputs", [{"name": "area", "type": "NUMBER"}]), ["other columns"]),
    "no inputs": (lambda data: described(data, lambda told: told.pop("inputs")), ["inputs"]),
    "another count": (in_place("told", "parameterCount", "6"), ["6 parameters", "makes 5"]),
    "a display name with a line end": (in_place("told", "displayName", "a\nb"), ["display name"]),
    "a long display name": (in_place("told", "displayName", "x" * 129), ["display_name", "128"]),
    "an engine that is no version": (in_place("told", "engine", "; DROP TABLE"), ["no version"]),
    "no origin": (lambda data: described(data, lambda told: told.pop("origin")), ["origin", "required"]),
    "an origin that is no model": (in_place("told", "origin", "model", "../../etc"), ["origin"]),
    "an origin of a longer model": (
        in_place("told", "origin", "model", f"models/kim.{'a' * 64}/versions/1"),
        ["no server could have named"],
    ),
    "an origin with a line end": (in_place("told", "origin", "user", "kim\n"), ["origin", "control"]),
    "an origin that is too long": (in_place("told", "origin", "job", "x" * 201), ["origin.job", "200"]),
    "figures of one name": (in_place("told", "metrics", [{"name": "r2"}, {"name": "r2"}]), ["figures"]),
    "a figure without a name": (in_place("told", "metrics", [{"value": 1.0}]), ["figures"]),
    "a history of other lengths": (
        in_place("told", "history", [series("train_loss", 1, 2), series("val_loss", 1, split="val")]),
        ["history", "epochs"],
    ),
    "a history of bytes": (
        in_place("told", "history", [series("train_loss") | {"values": "QUJD"}]),
        ["history", "epochs"],
    ),
    "a history that is too long": (
        in_place("told", "history", [series("train_loss", *([0.5] * 200_001))]),
        ["200,001 figures", "200,000"],
    ),
    "a history without a loss": (in_place("told", "history", [series("mae", 1)]), ["train_loss"]),
    "a history of no rows": (in_place("told", "history", [series("train_loss", 1, split="a b")]), ["history"]),
    "a best epoch that was not done": (in_place("told", "bestEpoch", "99"), ["99"]),
    "more epochs than asked for": (in_place("told", "epochs", "1"), ["of 1 epochs"]),
    "rows twice": (in_place("told", "rows", {"rowCount": "8", "trainRows": "AQ==", "valRows": "AQ=="}), ["8 rows"]),
    "rows that are too short": (in_place("told", "rows", {"rowCount": "80", "trainRows": "AQ=="}), ["80 rows"]),
    "answers of other classes": (
        in_place("told", "confusion", [{"split": "train", "classes": ["a"], "counts": {"shape": ["1", "1"]}}]),
        ["classes"],
    ),
    "a finding that does not end": (in_place("told", "findings", [{"message": "x" * 4001}]), ["4,000"]),
    "much to tell": (
        in_place("told", "findings", [{"message": "x" * 4000, "figures": {"y" * 200: 1.0}}] * 999),
        ["describes its model", "4,177,920"],
    ),
    "a job with much to tell": (
        in_place("told", "jobFindings", [{"message": "x" * 4000, "figures": {"y" * 200: 1.0}}] * 999),
        ["describes its job", "4,177,920"],
    ),
    "more inputs than a table has columns": (
        in_place("told", "inputs", [{"name": "a", "type": "NUMBER"}] * 4097),
        ["4,097 inputs", "4,096"],
    ),
    "more outputs than there are targets": (
        in_place("told", "outputs", [{"name": "a", "type": "NUMBER"}] * 65),
        ["65 outputs", "at most 64"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file(api, kim, good, name):
    make, says = BAD[name]
    data = make(good)
    before = api.rest("GET", "/v1/models?pageSize=1000", kim).json()
    upload = put(api, kim, data)
    refused(
        api,
        *imports(api, kim, upload),
        reason="INVALID_MODEL_FILE",
        field="upload",
        says=says,
        seconds=6.0 if len(data) > MIB else 1.0,
    )
    assert api.rest("GET", "/v1/models?pageSize=1000", kim).json() == before
    assert int(api.rest("GET", f"/v1/{upload}", kim).json().get("offset", 0)) == len(data)


def test_the_good_one_is_taken(api, kim, good):
    """What the others are made of."""
    made = api.rest("POST", "/v1/models:import", kim, json={"upload": put(api, kim, good), "modelId": "taken"})
    assert made.status_code == 200
    assert made.json()["origin"]["model"] == "models/kim.price/versions/1"
    assert api.rest("GET", "/v1/models/taken:export", kim).content == good


def test_a_display_name_is_taken_as_a_job_s_is(api, kim, good):
    named = described(good, lambda told: told.update(displayName="집\u3000값 👩\u200d👧"))
    made = api.rest("POST", "/v1/models:import", kim, json={"upload": put(api, kim, named), "modelId": "named"})
    assert made.json()["displayName"] == "집\u3000값 👩\u200d👧"


def test_more_parameters_than_the_server_allows(api, kim, good):
    big = described(good, mlp(hidden=[100_000, 100_000]))
    refused(
        api,
        *imports(api, kim, put(api, kim, big)),
        code="RESOURCE_EXHAUSTED",
        reason="TOO_MANY_PARAMETERS",
        says=["50,000,000", "TRAIND_MAX_PARAMETERS"],
    )


def test_an_upload_that_is_not_whole(api, kim, good):
    wanted = {"sizeBytes": str(len(good)), "sha256": hashlib.sha256(good).hexdigest()}
    made = api.rest("POST", "/v1/uploads", kim, json=wanted).json()["name"]
    api.rest("PUT", f"/v1/{made}?offset=0", kim, content=good[:100])
    refused(api, *imports(api, kim, made), reason="INVALID_FIELD", field="upload", says=["100 of", "write the rest"])
    api.rest("PUT", f"/v1/{made}?offset=100", kim, content=flipped(good, 300)[100:])
    refused(api, *imports(api, kim, made), reason="INVALID_FIELD", field="upload", says=["SHA-256", "again"])


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"upload": ""}, "upload", ["is required"]),
        ({"upload": "uploads/1"}, "upload", ["UUID"]),
        ({"model_id": "No!"}, "model_id", ["lower-case"]),
        ({"request_id": "again"}, "request_id", ["UUID"]),
    ],
)
def test_wrong_fields(api, kim, fields, field, says):
    upload = "uploads/00000000-0000-4000-8000-000000000000"
    refused(api, *imports(api, kim, **({"upload": upload} | fields)), reason="INVALID_FIELD", field=field, says=says)


def test_an_upload_that_is_not_there(api, kim):
    upload = "uploads/00000000-0000-4000-8000-000000000000"
    refused(api, *imports(api, kim, upload), code="NOT_FOUND", reason="RESOURCE_NOT_FOUND", says=["POST /v1/uploads"])


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("models/none", "NOT_FOUND", "RESOURCE_NOT_FOUND"),
        ("models/price/versions/99", "NOT_FOUND", "RESOURCE_NOT_FOUND"),
        ("models/broken", "FAILED_PRECONDITION", "WRONG_STATE"),
        ("models/No", "INVALID_ARGUMENT", "INVALID_FIELD"),
    ],
)
def test_an_export_of_what_is_none(api, kim, name, code, reason):
    def by_rpc():
        metadata = [("authorization", f"Bearer {kim}")]
        return api.rpc_stream("ModelService.ExportModel", models_pb2.ExportModelRequest(name=name), metadata)

    refused(api, by_rpc, lambda: api.rest("GET", f"/v1/{name}:export", kim), code=code, reason=reason)


def test_both_doors_send_the_same_bytes(api, kim, good):
    metadata = [("authorization", f"Bearer {kim}")]
    request = models_pb2.ExportModelRequest(name="models/price/versions/1")
    parts = api.rpc_stream("ModelService.ExportModel", request, metadata)
    assert b"".join(part.data for part in parts) == good
    assert (parts[0].file_name, parts[0].size_bytes) == ("kim.price-1.safetensors", len(good))
    assert not any(part.file_name or part.size_bytes for part in parts[1:])
