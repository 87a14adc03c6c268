"""Models of every network, preprocessing and target, and rows for them with whatever may be missing."""

import datetime
import io
import random
import zipfile

import numpy as np

from service import exporting, predictions
from traind.v1 import models_pb2, predictions_pb2, tables_pb2

Column = tables_pb2.Column
Format = models_pb2.ExportModelRequest.Format
ROWS = 1000
KINDS = ("flat", "house", "옥탑", 'say "hi"')


def rows(count=ROWS):
    """The rows of the table, None where a value is missing; the same at every call."""
    draw, made = random.Random(11), []
    for row in range(count):
        area, rooms = 30 + draw.random() * 90, draw.randrange(1, 6)
        price = 2 * area + 9 * rooms + 12 * draw.random()
        moment = datetime.datetime(1890, 1, 1) + datetime.timedelta(hours=draw.randrange(200 * 365 * 24))
        made.append({
            "area": round(area, 4),
            "rooms": rooms,
            "층": draw.randrange(-2, 30),
            "kind": draw.choice(KINDS),
            "lift": draw.choice(("true", "false")),
            "built": moment.isoformat(),
            "gaps": None if row % 11 == 4 else round(draw.random() * 4 - 1, 5),
            "kind gaps": None if row % 7 == 2 else draw.choice(KINDS),
            "lift gaps": None if row % 13 == 5 else draw.choice(("true", "false")),
            "built gaps": None if row % 9 == 1 else moment.isoformat() + "Z",
            "price": round(price, 4),
            "dear": ("싸다", "fair", "dear")[int(price > 150) + int(price > 220)],
            "stars": 1 + row % 3,
            "side": int(price > 180),
        })  # fmt: skip
    return made


def csv(table):
    lines = [",".join(table[0])]
    for row in table:
        lines.append(",".join("" if v is None else '"' + str(v).replace('"', '""') + '"' for v in row.values()))
    return "\n".join(lines).encode() + b"\n"


def learn(epochs=2):
    return {"gradient": {"optimizer": {"adam": {"lr": 0.01}}, "epochs": epochs, "batchSize": 128}}


def tensor(*shape):
    draw = random.Random(sum(shape))
    return {"shape": list(shape), "values": [draw.uniform(-1, 1) for _ in range(int(np.prod(shape)))]}


PLAIN = ["area", "rooms", "층", "kind", "lift"]
EVERY = [*PLAIN, "built", "gaps", "kind gaps", "lift gaps", "built gaps"]
PARTS = ["YEAR", "MONTH", "DAY", "WEEKDAY", "DAY_OF_YEAR", "HOUR", "MINUTE", "DAYS"]
FILLED = [
    {"columns": ["built"], "dateParts": PARTS, "scale": "NONE"},
    {"columns": ["gaps"], "impute": {"indicator": True}, "clip": {"low": -0.5, "high": 2.5}},
    {"columns": ["kind gaps"], "impute": {"how": "CONSTANT", "text": "빈칸", "indicator": True}},
    {"columns": ["lift gaps"], "impute": {"indicator": True}},
    {"columns": ["built gaps"], "dateParts": ["YEAR", "DAY_OF_YEAR"], "impute": {"how": "MEAN", "indicator": True}},
    {"columns": ["area"], "transform": "YEO_JOHNSON", "scale": "ROBUST"},
    {"columns": ["rooms"], "transform": "LOG1P", "scale": "MIN_MAX"},
    {"columns": ["층"], "clip": {"quantile": 0.1}},
]
EMBEDDED = [
    *FILLED[:2],
    {"columns": ["kind gaps"], "impute": {"indicator": True}, "encode": {"embedding": {"width": 3}}},
    {"columns": ["lift gaps"], "impute": {}, "encode": {"ordinal": {}}},
    {"columns": ["built gaps"], "dateParts": ["MONTH"], "impute": {"how": "CONSTANT", "number": 6}},
    {"columns": ["kind"], "encode": {"embedding": {"width": 2}}, "unseen": "UNKNOWN"},
]
STEP_WEIGHTS = {
    "layers.0.weight": tensor(3, 2),
    "layers.0.bias": tensor(3),
    "layers.1.weight": tensor(1, 3),
    "layers.1.bias": tensor(1),
}


def mlp(activation="RELU", **more):
    return {"mlp": {"hidden": [6, 6], "activation": activation} | more}


def target(transform, scale):
    return {"groups": FILLED, "target": {"transform": transform, "scale": scale}}


SPECS = {
    "linear": {"network": {"linear": {"bias": False}}, "dtype": "FLOAT64"},
    "exact": {"network": {"linear": {}}, "learn": {"exact": {}}},
    "linear-embedded": {"inputs": EVERY, "network": {"linear": {}}, "preprocess": {"groups": EMBEDDED}},
    "perceptron": {
        "target": ["side"],
        "network": {"perceptron": {}},
        "learn": {"perceptronRule": {"epochs": 3}},
        "dtype": "FLOAT64",
    },
    "logistic": {"target": ["lift"], "inputs": ["area", "kind"], "network": {"linear": {}}, "loss": {"bce": {}}},
    "numbered": {"target": ["stars"], "network": mlp("TANH"), "loss": {"crossEntropy": {}}},
    "classes": {
        "target": ["dear"],
        "inputs": EVERY,
        "network": mlp("GELU", normalisation="LAYER", residual=True),
        "preprocess": {"groups": FILLED},
        "loss": {"crossEntropy": {}},
    },
    "batch-residual": {
        "inputs": EVERY,
        "network": mlp("SILU", normalisation="BATCH", residual=True, dropout=0.2, hidden=[7, 7, 4, 4]),
        "preprocess": {"groups": EMBEDDED, "target": {"scale": "STANDARD"}},
    },
    "gaussian": {
        "target": ["price", "area"],
        "inputs": ["rooms", "층", "kind"],
        "network": mlp("TANH"),
        "loss": {"gaussianNll": {}},
        "preprocess": {"unseen": "UNKNOWN", "target": {"transform": "YEO_JOHNSON", "scale": "ROBUST"}},
    },
    "step": {
        "inputs": ["area", "rooms"],
        "network": mlp("STEP", hidden=[3]),
        "learn": {"given": {"weights": STEP_WEIGHTS}},
    },
    "flat": {"network": {"mlp": {"hidden": []}}, "preprocess": {"scale": "NONE"}},
    "log": {"inputs": EVERY, "network": mlp("LEAKY_RELU"), "preprocess": target("LOG1P", "MIN_MAX")},
    "power": {
        "inputs": EVERY,
        "network": mlp("SOFTPLUS", bias=False),
        "preprocess": target("YEO_JOHNSON", "STANDARD"),
        "dtype": "FLOAT64",
    },
    "robust": {"inputs": EVERY, "network": mlp("SIGMOID"), "preprocess": target("IDENTITY", "ROBUST")},
    "gelu-64": {"network": mlp("GELU"), "dtype": "FLOAT64"},
    "drops": {
        "inputs": ["area", "gaps", "lift"],
        "network": mlp("IDENTITY"),
        "preprocess": {"groups": [{"columns": ["gaps"], "impute": {"how": "DROP_ROW"}}]},
    },
}


def job(name):
    """A job of a kind of model, on the data set `flats`."""
    usual = {"inputs": PLAIN, "target": ["price"], "seed": 3, "learn": learn()}
    if name not in {"exact", "perceptron", "step"}:
        usual["preprocess"] = {"unseen": "UNKNOWN"}
    train = usual | SPECS[name]
    train["inputs"] = [one for one in train["inputs"] if one not in train["target"]]
    return {"dataset": "flats", "model": name, "train": train}


def export(lab, name, kind):
    """A model as the bytes of a file, and what it is called."""
    opened = exporting.open_export(lab.app, lab.caller, models_pb2.ExportModelRequest(name=name, format=kind))
    parts = list(exporting.parts(lab.app, opened))
    data = b"".join(part.data for part in parts)
    assert parts[0].size_bytes == len(data)
    assert all(len(part.data) <= 1 << 20 for part in parts)
    return data, parts[0].file_name


def columns(inputs, table):
    """Rows as Predict takes them."""
    made = []
    for one in inputs:
        values = [row[one.name] for row in table]
        missing = [value is None for value in values]
        if one.type in {Column.INTEGER, Column.NUMBER}:
            numbers = [0.0 if value is None else value for value in values]
            made.append(tables_pb2.ColumnValues(name=one.name, numbers=numbers, missing=missing))
        else:
            strings = ["" if value is None else str(value) for value in values]
            made.append(tables_pb2.ColumnValues(name=one.name, strings=strings, missing=missing))
    return made


def predict(lab, model, table):
    request = predictions_pb2.PredictRequest(name=model.name, columns=columns(model.inputs, table))
    return predictions.predict(lab.app, lab.caller, request)


def complete(model, table):
    """The rows without those that the model does not take."""
    taken = {one.name for one in model.inputs} & {"gaps"} if model.name.split(".")[1].startswith("drops") else set()
    return [row for row in table if all(row[name] is not None for name in taken)]


def feed(inputs, table):
    """Rows as the graph takes them."""
    made = {}
    for one in inputs:
        values = [row[one.name] for row in table]
        if one.type in {Column.INTEGER, Column.NUMBER}:
            made[one.name] = np.array([np.nan if value is None else value for value in values], np.float64)
        elif one.type == Column.TIMESTAMP:
            texts = ["NaT" if value is None else value.removesuffix("Z") for value in values]
            made[one.name] = np.array(texts, "datetime64[us]").astype(np.int64)
        else:
            made[one.name] = np.array(["" if value is None else str(value) for value in values], object)
    return made


def unpacked(data, folder):
    """The files of a zip, in a new folder."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["predict.py", "weights.safetensors"]
        archive.extractall(folder)
    return folder
