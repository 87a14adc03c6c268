"""The shorter way of ModelInfer answers what the whole way answers, and leaves to it what is wrong."""

import random

import numpy as np
import pytest

from service import accounts, believing
from service.app import App
from service.errors import TraindError
from service.model_names import Named
from service.rpc.oip import open_inference_pb2 as oip
from service.rpc.oip import shortcut
from service.rpc.oip.methods import SERVICE, PredictionMethods
from service.serving import keeping
from service.settings import Settings
from tests.service.modelling.cases import table_of
from tests.service.modelling.test_predictor import predictor_of

DRAW = np.random.default_rng(5)
TABLE = {
    "a": DRAW.normal(size=40).tolist(),
    "b": DRAW.normal(3, 2, size=40).tolist(),
    "y": DRAW.normal(size=40).tolist(),
    "kind": [("빨강", "파랑", "초록")[n % 3] for n in range(40)],
}
PLAIN = {
    "inputs": ["a", "b"],
    "preprocess": {"scale": "STANDARD"},
    "split": {"none": {}},
    "dtype": "FLOAT64",
    "seed": 1,
}
WIDE = {"layers__0__weight": (8, 2), "layers__0__bias": (8,)}
MODELS = {
    "line": ({"target": ["y"], "network": {"linear": {}}}, {"weight": (1, 2), "bias": (1,)}),
    "kind": (
        {"target": ["kind"], "network": {"mlp": {"hidden": [8], "activation": "TANH"}}},
        WIDE | {"layers__1__weight": (3, 8), "layers__1__bias": (3,)},
    ),
    # Not one that NumPy answers.
    "norm": (
        {"target": ["y"], "network": {"mlp": {"hidden": [8], "normalisation": "LAYER"}}},
        WIDE | {"norms__0__weight": (8,), "norms__0__bias": (8,), "layers__1__weight": (1, 8), "layers__1__bias": (1,)},
    ),
}
INFER = f"{SERVICE}.ModelInfer"
# Of each message: how often it is spoiled.
SPOILED = 150


@pytest.fixture
def methods(database, database_url, tmp_path, monkeypatch):
    """The table of a door whose models are in memory, and who calls."""
    monkeypatch.setattr(believing, "BELIEVED_S", 600.0)
    accounts.create_user(database, "kim")
    token = f"Bearer {accounts.create_token(database, 'kim', ['read', 'predict'])}"
    app = App(Settings(tmp_path, database_url), database, None)
    caller = app.tokens.authenticate(token)
    for name, (spec, shapes) in MODELS.items():
        weights = {weight: DRAW.normal(size=shape).tolist() for weight, shape in shapes.items()}
        predictor = predictor_of(PLAIN | spec, table_of(TABLE), **weights)
        assert (predictor.quick is None) == (name == "norm")
        named = Named(name, "kim", name, 1, predictor.parameter_count)
        app.models._kept[name] = (predictor, 0)
        for reference in (f"models/kim.{name}", f"models/kim.{name}/versions/1", f"models/kim.{name}@champion"):
            app.names.keep((caller.user_id, reference), named, app.names.moment())
    return PredictionMethods(app, 1 << 20, lambda: True), caller


def message(model="line", version="", datatype="FP32", rows=1, request_id="7", name="input", columns=2):
    dtype = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "INT64": "<i8", "UINT8": "u1", "BOOL": "?"}[datatype]
    made = oip.ModelInferRequest(model_name=f"kim.{model}", model_version=version, id=request_id)
    made.inputs.add(name=name, datatype=datatype, shape=[rows, columns])
    made.raw_input_contents.append((DRAW.normal(size=(rows, columns)) * 5).astype(dtype).tobytes())
    return made


def changed(made, change):
    change(made)
    return made


SHORT = {
    "one row": message(),
    "rows": message(rows=200),
    "classes": message("kind", rows=3),
    "float64": message(datatype="FP64", rows=3),
    "float16": message(datatype="FP16"),
    "whole numbers": message(datatype="INT64", rows=2),
    "bytes as numbers": message(datatype="UINT8"),
    "a version": message(version="1"),
    "an alias": message("kind", version="champion"),
    "no id": message(request_id=""),
    "a long id": message(request_id="x" * 300),
}
LONG = {
    "no rows": message(rows=0),
    "an id in Korean": message(request_id="요청"),
    "booleans": message(datatype="BOOL"),
    "another column": message(columns=3),
    "another tensor": message(name="a"),
    "no such model": message("nothing"),
    "not by NumPy": message("norm"),
    "a parameter": changed(message(), lambda made: made.parameters["x"].MergeFrom(oip.InferParameter(int64_param=1))),
    "an output": changed(message(), lambda made: made.outputs.add(name="prediction")),
    "two tensors": changed(message(), lambda made: made.inputs.add(name="input", datatype="FP32", shape=[1, 2])),
    "contents": changed(message(), lambda made: made.inputs[0].contents.fp32_contents.extend([1, 2])),
    "NaN": changed(message(), lambda made: made.raw_input_contents.__setitem__(0, np.full(2, np.nan, "<f4").tobytes())),
    "too short": changed(message(), lambda made: made.raw_input_contents.__setitem__(0, b"1234")),
}  # fmt: skip


def outcome(methods, data, *, short):
    """What a message comes to: the answer, its id left out where one was made; or the error's kind and text."""
    table, caller = methods
    taken = []

    def looked(*arguments, **more):
        answered = shortcut.Shortcut.answer(table._shortcut, *arguments, **more) if short else None
        taken.append(answered is not None)
        return answered

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table._shortcut, "answer", looked)
        try:
            answer = oip.ModelInferResponse.FromString(table.carry_out(INFER, caller, data, may_wait=True))
        except TraindError as error:
            return taken == [True], (type(error).__name__, str(error))
    if not oip.ModelInferRequest.FromString(data).id:
        assert len(answer.id) == 32
        answer.id = ""
    return taken == [True], answer


@pytest.mark.parametrize("name", [*SHORT, *LONG])
def test_both_ways_say_the_same(methods, name):
    data = {**SHORT, **LONG}[name].SerializeToString()
    for _ in range(2):  # what was kept says the same as what is new
        taken, found = outcome(methods, data, short=True)
        assert found == outcome(methods, data, short=False)[1]
        assert taken == (name in SHORT)


def spoil(rng, data):
    """A few bytes otherwise, gone, twice there, or in another place."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, to = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        match rng.randrange(6):
            case 0 if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
            case 1:
                del data[at : min(to, at + 8)]
            case 2:
                data[at:at] = data[at : min(to, at + 40)]
            case 3:
                data[at:at] = rng.randbytes(rng.randrange(5))
            case 4:
                del data[at:]
            case _:
                data = data[at:] + data[:at]
    return bytes(data)


@pytest.mark.parametrize("name", [*SHORT, *LONG])
def test_spoiled_messages_come_to_the_same_by_both_ways(methods, name):
    rng = random.Random(name)
    whole = {**SHORT, **LONG}[name].SerializeToString()
    for _ in range(SPOILED):
        data = spoil(rng, whole)
        assert outcome(methods, data, short=True)[1] == outcome(methods, data, short=False)[1], data.hex()


def test_fields_may_come_in_any_order(methods):
    made = SHORT["one row"]
    parts = [oip.ModelInferRequest(model_name=made.model_name), oip.ModelInferRequest(id=made.id)]
    parts += [
        oip.ModelInferRequest(inputs=made.inputs),
        oip.ModelInferRequest(raw_input_contents=made.raw_input_contents),
    ]
    expected = outcome(methods, made.SerializeToString(), short=False)[1]
    for number in range(10):
        random.Random(number).shuffle(parts)
        assert outcome(methods, b"".join(one.SerializeToString() for one in parts), short=True) == (True, expected)


def test_what_clients_send_is_kept_within_bounds(methods, monkeypatch):
    monkeypatch.setattr(keeping, "MOST_KEPT", 8)
    for rows in range(1, 30):
        data = message(rows=rows, version=str(1 + rows % 3)).SerializeToString()
        assert outcome(methods, data, short=True)[1] == outcome(methods, data, short=False)[1]
    kept = methods[0]._shortcut
    assert max(len(kept._described), len(kept._begins), len(kept._references)) <= 8
    huge = message()
    huge.inputs[0].name = "x" * 10_000
    outcome(methods, huge.SerializeToString(), short=True)
    assert all(len(key) <= keeping.MOST_KEPT_BYTES for key in kept._described._kept)
