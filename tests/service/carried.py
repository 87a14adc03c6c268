"""Models of every kind, and the ways in which one becomes a file and a file becomes one again."""

import hashlib
import json
import random

from service import exporting, importing, uploads
from service.model_files import layout
from tests.service.apps import open_upload
from traind.v1 import models_pb2, predictions_pb2, tables_pb2

ROWS = 60


def table():
    """A CSV file of numbers, categories, switches and times, some of them missing; the same bytes at every call."""
    draw = random.Random(5)
    lines = ["area,rooms,kind,lift,built,gaps,price,dear,side"]
    for row in range(ROWS):
        area, rooms = 30 + 7 * row % 41 + draw.random(), 1 + row % 5
        kind, lift = ("flat", "house", "옥탑")[row % 7 % 3], row % 3 == 0
        built = f"20{row % 24:02}-0{1 + row % 9}-1{row % 10}T{row % 24:02}:00:00Z"
        gaps = "" if row % 11 == 4 else f"{row % 13 / 4}"
        price = 2 * area + 3 * rooms + (4 if lift else 0) + draw.random()
        dear = ("cheap", "fair", "dear")[int(price > 90) + int(price > 120)]
        told = (f"{area:.4f}", rooms, kind, str(lift).lower(), built, gaps, f"{price:.4f}", dear, int(price > 100))
        lines.append(",".join(map(str, told)))
    return "\n".join(lines).encode() + b"\n"


NUMBERS = ["area", "rooms"]
EVERY = ["area", "rooms", "kind", "lift", "built", "gaps"]
GROUPS = [
    {"columns": ["gaps"], "impute": {"how": "MEDIAN", "indicator": True}, "clip": {"low": -1, "high": 2.5}},
    {"columns": ["area"], "transform": "YEO_JOHNSON", "scale": "ROBUST"},
    {"columns": ["rooms"], "transform": "LOG1P", "scale": "MIN_MAX"},
    {"columns": ["kind"], "encode": {"embedding": {"width": 2}}, "unseen": "UNKNOWN"},
    {"columns": ["built"], "dateParts": ["YEAR", "HOUR"]},
]


def learn(optimizer="adam", epochs=3):
    return {"gradient": {"optimizer": {optimizer: {"lr": 0.01}}, "epochs": epochs}}


GIVEN = {"weight": {"shape": [1, 2], "values": [0.1, 0.3]}, "bias": {"shape": [1], "values": ["-1e-300"]}}
SPECS = {
    "exact": {"target": ["price"], "network": {"linear": {}}, "learn": {"exact": {}}},
    "unbiased": {"target": ["price"], "network": {"linear": {"bias": False}}, "learn": learn(), "dtype": "FLOAT64"},
    "given": {
        "target": ["price"],
        "network": {"linear": {}},
        "preprocess": {"scale": "NONE"},
        "learn": {"given": {"weights": GIVEN}},
        "dtype": "FLOAT64",
    },
    "several": {
        "target": ["price", "area"],
        "inputs": ["rooms"],
        "network": {"mlp": {"hidden": [3]}},
        "learn": learn(),
    },
    "gaussian": {
        "target": ["price"],
        "network": {"mlp": {"hidden": [4]}},
        "loss": {"gaussianNll": {}},
        "preprocess": {"target": {"scale": "STANDARD"}},
        "learn": learn(),
    },
    "perceptron": {"target": ["side"], "network": {"perceptron": {}}, "learn": {"perceptronRule": {"epochs": 5}}},
    "logistic": {"target": ["lift"], "network": {"linear": {}}, "loss": {"bce": {}}, "learn": learn("sgd")},
    "classes": {
        "target": ["dear"],
        "inputs": ["area", "kind"],
        "network": {"mlp": {"hidden": [5], "activation": "TANH"}},
        "loss": {"crossEntropy": {"classWeights": {"balanced": True}}},
        "learn": learn(),
    },
    "batch": {
        "target": ["price"],
        "inputs": EVERY,
        "network": {"mlp": {"hidden": [8, 8], "activation": "GELU", "normalisation": "BATCH", "residual": True}},
        "preprocess": {"groups": GROUPS, "target": {"transform": "YEO_JOHNSON", "scale": "STANDARD"}},
        "learn": learn("adamw"),
        "everyEpoch": ["MAE", "R2"],
    },
    "layer": {
        "target": ["dear"],
        "inputs": ["area", "gaps", "lift"],
        "network": {"mlp": {"hidden": [6, 4], "activation": "SOFTPLUS", "normalisation": "LAYER", "dropout": 0.2}},
        "preprocess": {"groups": [{"columns": ["gaps"], "impute": {"how": "DROP_ROW"}}]},
        "learn": learn("rmsprop"),
    },
    "embedded": {
        "target": ["price"],
        "inputs": ["kind", "lift", "area"],
        "network": {"linear": {}},
        "preprocess": {"groups": [{"columns": ["kind"], "encode": {"embedding": {}}}]},
        "learn": learn(),
    },
}


def job(name):
    """A job of a kind of model, on the data set `houses`."""
    return {"dataset": "houses", "model": name, "train": {"inputs": NUMBERS, "seed": 3} | SPECS[name]}


def columns(inputs):
    """Rows that the inputs of a model take: the first rows of the table."""
    lines = [line.split(",") for line in table().decode().splitlines()]
    rows = {name: [line[place] for line in lines[1:12]] for place, name in enumerate(lines[0])}
    values = []
    for one in inputs:
        texts = rows[one.name]
        if one.type in {tables_pb2.Column.INTEGER, tables_pb2.Column.NUMBER}:
            values.append(tables_pb2.ColumnValues(name=one.name, numbers=[float(text or 1) for text in texts]))
        else:
            values.append(tables_pb2.ColumnValues(name=one.name, strings=texts))
    return values


def question(model):
    return predictions_pb2.PredictRequest(name=model.name, columns=columns(model.inputs), return_hidden=True)


def without_name(answer):
    """The bytes of an answer, whatever the model is called."""
    answer.ClearField("model")
    return answer.SerializeToString(deterministic=True)


def export(lab, name, caller=None):
    """A model as the bytes of its file."""
    request = models_pb2.ExportModelRequest(name=name)
    opened = exporting.open_export(lab.app, caller or lab.caller, request)
    parts = list(exporting.parts(lab.app, opened))
    data = b"".join(part.data for part in parts)
    assert parts[0].size_bytes == len(data)
    assert all(len(part.data) <= 1 << 20 for part in parts)
    return data


def put(lab, data, caller=None):
    """An upload with these bytes."""
    name = open_upload(lab.app, caller or lab.caller)
    for start in range(0, len(data), 1 << 20):
        uploads.write_chunk(lab.app, caller or lab.caller, name, start, data[start : start + (1 << 20)])
    return name


def take(lab, data, caller=None, **fields):
    """The model that is made of a file."""
    request = models_pb2.ImportModelRequest(upload=put(lab, data, caller), **fields)
    return importing.import_model(lab.app, caller or lab.caller, request)


def opened(data):
    """A file's entries, its description, and the bytes of its tensors."""
    begin = 8 + int.from_bytes(data[:8], "little")
    entries = json.loads(data[8:begin])
    return entries, json.loads(entries.pop("__metadata__")["traind"]), data[begin:]


def closed(entries, told, tensors, **metadata):
    """A file as an export writes it, whose hash of the description is right whatever that says."""
    text = told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)
    every = {"traind": text, "sha256": hashlib.sha256(text.encode()).hexdigest()} | metadata
    return layout.encode_header(entries, every) + tensors


def changed(data, **fields):
    """A file whose description says something else."""
    entries, told, tensors = opened(data)
    return closed(entries, told | fields, tensors)
