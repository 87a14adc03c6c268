"""Writes the seeds of the readers' fuzz into `corpus/`: `python -m tests.fuzz.make_corpus`.

What once broke a reader stands beside them as `broke-…` and is kept when this runs again.
"""

import json
import pathlib
import tempfile

import numpy as np
import torch

from service.model_files import description
from service.modelling.tensors import encode_tensors
from service.store.database import Database
from tests import servers
from tests.fuzz.readers import CORPUS
from tests.service import carried
from tests.service.apps import push
from tests.service.lab import Lab
from tests.worker.descents import OPTIMIZERS, learning, spec_for
from worker import checkpoints

_PLAIN = {"target": ["price"], "inputs": ["area", "rooms", "city"], "network": {"linear": {}}}
_SPECS = {
    "linear": {"network": {"linear": {"bias": False}}, "learn": {"exact": {}}, "dtype": "FLOAT64"},
    "mlp": {
        "network": {"mlp": {"hidden": [8, 4], "activation": "GELU", "dropout": 0.2, "normalisation": "BATCH"}},
        "loss": {"huber": {"delta": 0.7}},
        "split": {"holdOut": {"fraction": 0.25}},
        "everyEpoch": ["MAE", "R2"],
    },
    "perceptron": {"network": {"perceptron": {}}, "learn": {"perceptronRule": {"epochs": 5}}, "target": ["good"]},
    "classes": {
        "inputs": ["area", "rooms"],
        "target": ["city"],
        "loss": {"crossEntropy": {"classWeights": {"weights": {"Seoul": 2.5}}, "labelSmoothing": 0.1}},
        "split": {"column": {"column": "rooms", "heldOut": ["3"]}},
    },
    "switch": {"target": ["good"], "loss": {"bce": {"positiveWeight": 2.5}}, "everyEpoch": ["ROC_AUC"]},
    "several": {"target": ["price", "rooms"], "inputs": ["area"], "loss": {"gaussianNll": {}}, "seed": 4294967295},
    "given": {
        "inputs": ["area"],
        "preprocess": {"scale": "NONE"},
        "learn": {
            "given": {
                "weights": {"weight": {"shape": [1, 1], "values": [0.1]}, "bias": {"shape": [1], "values": ["1e-3"]}}
            }
        },
    },
    "groups": {
        "inputs": ["area", "city", "sold", "gaps"],
        "preprocess": {
            "groups": [
                {"columns": ["gaps"], "impute": {"how": "MEDIAN"}, "clip": {"low": -1, "high": 2.5}, "scale": "ROBUST"},
                {"columns": ["city"], "encode": {"embedding": {"width": 2}}, "unseen": "UNKNOWN"},
                {"columns": ["area"], "transform": "LOG1P"},
                {"columns": ["sold"], "dateParts": ["YEAR", "HOUR"]},
            ],
            "target": {"scale": "STANDARD", "missing": "DROP_ROW", "transform": "YEO_JOHNSON"},
        },
        "split": {"time": {"column": "sold", "fraction": 0.2}},
    },
}
_CSV = {
    "plain": b"area,rooms,price\n32,3,6.0\n33,3,7.0\n36,4,8.5\n",
    "quoted": b'a,b\r\n"x, ""y""","1\r\n2"\r\n"",2\r\n',
    "semicolons": b"a;b;c\n1,5;2;x\n;NA;y\n",
    "tabs": b"a\tb\n1\t 2\n3 \t4\n",
    "marked": b"\xef\xbb\xbfa,b\n1,true\n2,false\n",
    "times": b"when,value\n2024-02-29T12:00:00Z,1e3\n2024-03-01,0x10\n",
    "one-column": b'words\nalpha\n""\nbeta\n',
    "numbers": b"a,b\n-0,1e308\n9223372036854775807,5e-324\n9223372036854775808,.5\n",
    "hangul-cp949": "지역,가격\n서울,1\n부산,2\n".encode("cp949"),
    "lines": b'{"a": 1, "b": "x"}\n{"a": null, "b": "y"}\n',
    "refused-gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "refused-ragged": b"a,b\n1,2\n3\n",
    "refused-header": b"a,a\n1,2\n",
}


def spec_seeds():
    """Jobs as JSON."""
    for name, spec in _SPECS.items():
        yield f"{name}.json", json.dumps({"dataset": "d", "model": "m", "train": _PLAIN | spec}).encode()
    for name, fields in OPTIMIZERS.items():
        gradient = {"optimizer": {name: fields}, "epochs": 9, "earlyStopping": {"patience": 2}}
        if name not in {"gradientDescent", "lbfgs"}:
            gradient |= {"batchSize": 7, "clip": {"norm": 1.0}, "schedule": {"oneCycle": {"warmUpShare": 0.3}}}
        train = _PLAIN | {"learn": {"gradient": gradient}}
        yield f"optimizer-{name}.json", json.dumps({"dataset": "d", "train": train}).encode()
    evaluate = {"model": "m", "loss": {"mse": {}}}
    yield "evaluate.json", json.dumps({"dataset": "d", "evaluate": evaluate, "displayName": "펭귄"}).encode()


def csv_seeds():
    """Files of text."""
    yield from ((f"{name}.txt", data) for name, data in _CSV.items())


def tensor_seeds():
    """Weights and checkpoints."""
    numbers = np.arange(6).reshape(2, 3)
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool):
        weights = {"weight": torch.tensor(numbers, dtype=dtype), "bias": torch.zeros(0, dtype=dtype)}
        yield f"weights-{str(dtype).removeprefix('torch.')}.safetensors", encode_tensors(weights, {"a": "b"})
    origin = checkpoints.Origin("ab" * 32, "{}", "{}", 9, np.array([0, 7]))
    for name in ("adam", "lbfgs", "sgd"):
        ours = learning(spec_for("linear", "mse", name, "FLOAT32", epochs=1))
        list(ours.epochs())
        yield f"checkpoint-{name}.safetensors", checkpoints.encode(checkpoints.capture(ours.state, origin))


def model_seeds():
    """Files of models, as an export writes them; their ids and times differ at every run."""
    with servers.fresh_database("sqlite") as url, tempfile.TemporaryDirectory() as folder:
        database = Database(url)
        database.migrate()
        lab = Lab(database, pathlib.Path(folder))
        push(lab.app, lab.caller, carried.table(), "houses")
        for name in ("perceptron", "classes", "gaussian", "batch", "embedded"):
            lab.submit(carried.job(name))
            lab.work()
            data = carried.export(lab, name)
            yield f"{name}.safetensors", data
        yield "refused-format.safetensors", carried.changed(data, format=description.FORMAT + 1)
        yield "refused-cut.safetensors", data[:-8]
        database.dispose()


def main():
    for name, found in (
        ("spec", spec_seeds()),
        ("csv", csv_seeds()),
        ("tensors", tensor_seeds()),
        ("model", model_seeds()),
    ):
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for kept, data in found:
            (folder / kept).write_bytes(data)
        print(name, len(list(folder.iterdir())), "files")


if __name__ == "__main__":
    main()
