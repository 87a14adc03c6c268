"""A server of real processes, with models that it trained a moment ago, and what plain torch says of them."""

import csv
import functools
import io
import json

import numpy as np
import pytest
import torch

import traind
from tests.acceptance import stack as stacks
from tests.interop import environments

ROWS = 90
CITIES = ("서울", "부산", "대구")
KINDS = ("빨강", "파랑", "초록")
WAIT_S = 60


def tables():
    """CSV texts: numbers only, every kind of column, and classes in Korean."""
    draw = np.random.default_rng(8)
    x = draw.normal(size=(ROWS, 3)).round(4)
    numbers = [["a", "b", "c", "y"], *([a, b, c, 2 * a - b * c + 5] for a, b, c in x.tolist())]
    mixed = [["area", "rooms", "city", "new", "price"]]
    mixed += [
        [20.5 + n % 30, 1 + n % 4, CITIES[n % 3], str(n % 2 == 1).lower(), n % 30 * 3 + n % 3] for n in range(ROWS)
    ]
    classes = [["a", "b", "종류"], *([a, b, KINDS[n % 3]] for n, (a, b, _) in enumerate(x.tolist()))]
    return {"numbers": numbers, "mixed": mixed, "classes": classes}


GRADIENT = {"gradient": {"epochs": 3}}
NUMBERS = {"network": {"mlp": {"hidden": [16, 8], "activation": "TANH"}}, "split": {"none": {}}, "learn": GRADIENT}
SPECS = {
    "numbers": ("numbers", NUMBERS | {"target": ["y"], "seed": 1}),
    "doubles": ("numbers", NUMBERS | {"target": ["y"], "seed": 1, "dtype": "FLOAT64"}),
    "mixed": ("mixed", {"target": ["price"], "network": {"mlp": {"hidden": [8]}}, "learn": GRADIENT, "seed": 1}),
    "classes": ("classes", {"target": ["종류"], "network": {"mlp": {"hidden": [8]}}, "learn": GRADIENT, "seed": 1}),
}
ASKED = {
    "area": ("FP64", [33.5, 21.25, 40.0]),
    "rooms": ("INT64", [3, 1, 4]),
    "city": ("BYTES", ["대구", "서울", "부산"]),
    "new": ("BOOL", [True, False, True]),
}
POINTS = np.array([[0.5, -1.25, 2.0], [-0.75, 0.125, 1.5], [3.0, 0.25, -0.5]])
HALVES = POINTS[:, :2]  # exact in 16 bits


def cases():
    """(model, inputs, outputs) of each question."""
    by_column = dict(zip("abc", POINTS.T, strict=True))
    half = {name: ("FP16", values.tolist()) for name, values in zip("ab", HALVES.T, strict=True)}
    return {
        "numbers": ("numbers", {"input": ("FP32", POINTS.tolist())}, ["prediction"]),
        "columns": ("numbers", {name: ("FP32", values.tolist()) for name, values in by_column.items()}, ["prediction"]),
        "doubles": ("doubles", {"input": ("FP64", POINTS.tolist())}, ["prediction"]),
        "mixed": ("mixed", ASKED, ["prediction"]),
        "classes": ("classes", half, ["label", "prediction", "probabilities"]),
    }


class Server:
    """An installation, its models, and what they must answer."""

    def __init__(self, stack):
        self.stack = stack
        self.client = traind.Client(stack.address["grpc"], token=stack.token)
        self.owner = self.client.server_info().user
        self.models = {}
        for name, rows in tables().items():
            text = io.StringIO()
            csv.writer(text).writerows(rows)
            self.client.datasets.create(text.getvalue().encode(), name=name)
        for name, (dataset, train) in SPECS.items():
            self.models[name] = self.client.jobs.create(dataset=dataset, model=name, train=train).wait(WAIT_S).model

    @functools.cached_property
    def asked(self):
        """What the programs of the stock clients read."""
        address = self.stack.address
        return {
            "token": self.stack.token,
            "grpc": address["grpc"].removeprefix("grpc://"),
            "predict": address["predict"].removeprefix("grpc://"),
            "http": address["http"].removeprefix("http://"),
            "cases": {
                case: (f"{self.owner}.{model}", inputs, outputs) for case, (model, inputs, outputs) in cases().items()
            },
        }

    def answers(self, python, script):
        """What a program of stock clients was answered, by door and question."""
        path = environments.ROOT / "tests" / "interop" / script
        env = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
        done = environments.run(str(python), str(path), input=json.dumps(self.asked), env=env)
        return json.loads(done)

    def predicted(self, case):
        """What Predict says: outputs by name."""
        model, inputs, _ = cases()[case]
        columns = {name: values for name, (_, values) in inputs.items()}
        if "input" in columns:
            columns = dict(zip("abc", np.array(columns["input"]).T.tolist(), strict=True))
        answer = self.models[model].predict(columns, full=True)
        if case == "classes":
            places = np.array([sorted(KINDS).index(value) for value in answer.values])
            return {"label": answer.values, "prediction": places, "probabilities": np.array(answer.probabilities)}
        return {"prediction": np.array(answer.values)}

    def by_torch(self, case):
        """The outputs of a network of numbers: the weights that traind tells, and the scaling that the data have."""
        weights = {
            name: torch.tensor(values, dtype=torch.float64) for name, values in self.models[case].weights().items()
        }
        rows = np.array(tables()["numbers"][1:])[:, :3]
        hidden = torch.from_numpy((POINTS - rows.mean(axis=0)) / rows.std(axis=0))
        names = sorted(name.removesuffix(".weight") for name in weights if name.endswith(".weight"))
        for name in names:
            hidden = torch.nn.functional.linear(hidden, weights[f"{name}.weight"], weights[f"{name}.bias"])
            if name != names[-1]:
                hidden = torch.tanh(hidden)
        return hidden.numpy()


@pytest.fixture(scope="package")
def server():
    with stacks.up() as stack:
        found = Server(stack)
        with found.client:
            yield found
