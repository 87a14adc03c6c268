"""Models of every network, preprocessing and target, and rows for them with whatever may be missing."""

import functools
import io
import json
import random
import zipfile
import zlib

import numpy as np
import torch

from service.data import preprocessing, targets
from service.data.table import Table, TableColumn, table_from_values
from service.file_parts import Stored, StoredTensor
from service.modelling import networks, specs, tensors
from service.modelling.predictor import Predictor
from service.onnx_files.file import onnx_parts
from service.script_files import archive
from service.script_files.script import write_script
from tests.service.modelling import cases
from traind.v1 import tables_pb2

Column = tables_pb2.Column
DROP = {"how": "DROP_ROW"}
ROWS = 1000
KINDS = ("flat", "house", "옥탑", 'say "hi"')


def rows(count=ROWS):
    """The rows of the table, None where a value is missing; the same at every call."""
    draw, made = random.Random(11), []
    for row in range(count):
        area, rooms = 30 + draw.random() * 90, draw.randrange(1, 6)
        price = 2 * area + 9 * rooms + 12 * draw.random()
        moment = np.datetime64("1890-01-01T00:00") + np.timedelta64(draw.randrange(200 * 365 * 24 * 60), "m")
        made.append({
            "area": round(area, 4),
            "rooms": rooms,
            "층": draw.randrange(-2, 30),
            "kind": draw.choice(KINDS),
            "lift": draw.choice(("true", "false")),
            "built": str(moment),
            "gaps": None if row % 11 == 4 else round(draw.random() * 4 - 1, 5),
            "kind gaps": None if row % 7 == 2 else draw.choice(KINDS),
            "lift gaps": None if row % 13 == 5 else draw.choice(("true", "false")),
            "built gaps": None if row % 9 == 1 else f"{moment}Z",
            "price": round(price, 4),
            "dear": ("싸다", "fair", "dear")[int(price > 150) + int(price > 220)],
            "stars": 1 + row % 3,
            "side": int(price > 180),
        })  # fmt: skip
    return made


def learn(epochs=2):
    return {"gradient": {"optimizer": {"adam": {"lr": 0.01}}, "epochs": epochs, "batchSize": 128}}


def tensor(*shape):
    draw = random.Random(sum(shape))
    return {"shape": list(shape), "values": [draw.uniform(-1, 1) for _ in range(int(np.prod(shape)))]}


PLAIN = ["area", "rooms", "층", "kind", "lift"]
EVERY = [*PLAIN, "built", "gaps", "kind gaps", "lift gaps", "built gaps"]
PARTS = ["YEAR", "MONTH", "DAY", "WEEKDAY", "DAY_OF_YEAR", "HOUR", "MINUTE", "DAYS"]
FILLED = [
    {"columns": ["built"], "dateParts": PARTS},
    {"columns": ["gaps"], "impute": {"indicator": True}, "clip": {"low": -0.5, "high": 2.5}},
    {"columns": ["kind gaps"], "impute": {"how": "CONSTANT", "text": "빈칸", "indicator": True}},
    {"columns": ["lift gaps"], "impute": {"indicator": True}},
    {"columns": ["built gaps"], "dateParts": ["YEAR", "DAY_OF_YEAR"], "impute": {"how": "MEAN", "indicator": True}},
    {"columns": ["area"], "transform": "YEO_JOHNSON", "scale": "ROBUST"},
    {"columns": ["rooms"], "transform": "LOG1P", "scale": "MIN_MAX"},
    {"columns": ["층"], "clip": {"quantile": 0.1}},
]
UNSCALED = [{"columns": ["built"], "dateParts": PARTS, "scale": "NONE"}]
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
    "batch-64": {"network": mlp("RELU", normalisation="BATCH"), "dtype": "FLOAT64"},
    "layer-64": {"network": mlp("SILU", normalisation="LAYER"), "dtype": "FLOAT64"},
    "drops": {
        "inputs": ["area", "gaps", "lift"],
        "network": mlp("IDENTITY"),
        "preprocess": {"groups": [{"columns": ["gaps"], "impute": DROP}]},
    },
}


def spec_of(name):
    """The spec of a kind of model."""
    usual = {"inputs": PLAIN, "target": ["price"], "seed": 3, "learn": learn()}
    if name not in {"exact", "perceptron", "step"}:
        usual["preprocess"] = {"unseen": "UNKNOWN"}
    spec = usual | SPECS[name]
    spec["inputs"] = [one for one in spec["inputs"] if one not in spec["target"]]
    return spec


def types(table):
    """The columns of rows."""
    numbers = dict.fromkeys(("area", "gaps", "price"), Column.NUMBER)
    numbers |= dict.fromkeys(("rooms", "층", "stars", "side"), Column.INTEGER)
    made = []
    for name in table[0]:
        kind = numbers.get(name, Column.CATEGORY)
        kind = Column.TIMESTAMP if name.startswith("built") else Column.BOOLEAN if name.startswith("lift") else kind
        made.append(Column(name=name, type=kind))
    return made


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


def table_of(inputs, table):
    """Rows as a model takes them."""
    return table_from_values(columns(inputs, table), inputs)


def learned_from(inputs, table):
    """Rows as a data set has them, whose whole numbers are INTEGER."""
    made = dict(table_of(inputs, table).columns)
    for one in inputs:
        if one.type == Column.INTEGER:
            made[one.name] = TableColumn(one.name, one.type, made[one.name].values.astype(np.int64))
    return Table(made, len(table))


def predictor_of(spec, table, seed=5):
    """A model of drawn weights, its preprocessing and target fitted on the rows that it uses."""
    told = [one for one in types(table) if one.name in {*spec["inputs"], *spec["target"]}]
    dropped = {c for g in spec.get("preprocess", {}).get("groups", []) for c in g["columns"] if g.get("impute") == DROP}
    used = [row for row in table if all(row[name] is not None for name in dropped)]
    whole = learned_from(told, used)
    full = cases.resolved(spec, whole)
    fitted = preprocessing.fit(whole, list(full.inputs), full.preprocess, np.arange(len(used)))
    classes, steps = specs.task_of(full) != "regression", full.preprocess.target
    target = targets.find_target(whole, full.target, steps, None, classes=classes)
    target = targets.fit_target(target, target.encode(whole), steps)
    shapes = networks.weight_shapes(full.network, fitted.layout, networks.output_width(full, len(target.classes)))
    draw = torch.Generator().manual_seed(seed)
    weights = {name: torch.randn(shape, generator=draw, dtype=torch.float64) / 2 for name, shape in shapes.items()}
    for name, weight in weights.items():
        if name.endswith("running_var"):
            weight.abs_().add_(0.5)
        if name.startswith("embeddings."):
            weight[0] = 0
    dtype = networks.torch_dtype(full)
    return Predictor.build(full, fitted, target, {name: weight.to(dtype) for name, weight in weights.items()})


@functools.cache
def model(name):
    """A model of a kind of `SPECS`."""
    return predictor_of(spec_of(name), rows())


def predict(predictor, table):
    """What Predict says."""
    return predictor.predict(table_of(predictor.inputs, table))


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


def stored(predictor):
    """The weights as they are stored, and where each is."""
    data = tensors.encode_tensors(predictor.network.state_dict())
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    places = {name: Stored(*(begin + at for at in entry["data_offsets"])) for name, entry in header.items()}
    return data, [StoredTensor(name, tuple(header[name]["shape"]), place) for name, place in places.items()]


def joined(parts, artifact):
    """A file of its parts."""
    return b"".join(part if isinstance(part, bytes) else artifact[part.begin : part.end] for part in parts)


def graph(predictor, name="models/kim.m/versions/1"):
    """A model as the bytes of an ONNX file."""
    data, places = stored(predictor)
    return joined(onnx_parts(name, predictor.spec, predictor.fitted, predictor.target, places, {"a": "b"}), data)


def script(predictor, folder, name="models/kim.m/versions/1"):
    """A model as a script and its weights in a folder; answers the script's text."""
    data, _ = stored(predictor)
    text = write_script(name, predictor.spec, predictor.fitted, predictor.target)
    entries = [
        archive.Entry("predict.py", text.encode()),
        archive.StoredEntry("weights.safetensors", Stored(0, len(data)), zlib.crc32(data)),
    ]
    unpack(joined(archive.zip_parts(entries), data), folder)
    return text


def unpack(data, folder):
    """The files of a zip, into a folder."""
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.testzip() is None
        assert opened.namelist() == ["predict.py", "weights.safetensors"]
        opened.extractall(folder)


def taken(name, table):
    """The rows that a model of a kind takes."""
    return [row for row in table if name != "drops" or row["gaps"] is not None]
