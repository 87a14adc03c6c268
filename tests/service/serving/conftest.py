"""A server with models of each kind of input, which it trained a moment ago."""

import numpy as np
import pytest

from tests.service.doors.learned import learn
from tests.service.doors.refused import upload
from tests.service.doors.running import answer_of_rest, running
from tests.service.serving import wires
from traind.v1 import jobs_pb2

ROWS = 60


def tables():
    draw = np.random.default_rng(4)
    x = draw.normal(size=(ROWS, 3))
    numbers = "a,b,c,y\n" + "".join(f"{a},{b},{c},{2 * a - b + 5}\n" for a, b, c in x.round(4))
    city = ["서울", "부산", "대구"]
    mixed = "area,rooms,city,new,price\n" + "".join(
        f"{20 + n % 30}.5,{1 + n % 4},{city[n % 3]},{'true' if n % 2 else 'false'},{n % 30 * 3 + n % 3}\n"
        for n in range(ROWS)
    )
    classes = "a,b,kind\n" + "".join(
        f"{a},{b},{('빨강', '파랑', '초록')[n % 3]}\n" for n, (a, b, _) in enumerate(x.round(4))
    )
    gaps = "a,b,y\n" + "".join(f"{'' if n % 7 == 0 else a},{b},{a + b}\n" for n, (a, b, _) in enumerate(x.round(4)))
    return {"numbers": numbers, "mixed": mixed, "classes": classes, "gaps": gaps}


FILLED = {"groups": [{"columns": ["a"], "impute": {"how": "MEAN"}}]}
SPECS = {
    "linear": ("numbers", {"target": ["y"], "network": {"linear": {}}, "seed": 1}),
    "plain": ("numbers", {"target": ["y"], "network": {"mlp": {"hidden": [8, 8], "activation": "TANH"}}, "seed": 1}),
    "double": ("numbers", {"target": ["y"], "network": {"mlp": {"hidden": [8]}}, "dtype": "FLOAT64", "seed": 1}),
    "two": ("numbers", {"target": ["y", "c"], "inputs": ["a", "b"], "network": {"linear": {}}, "seed": 1}),
    "mixed": ("mixed", {"target": ["price"], "network": {"mlp": {"hidden": [8]}}, "seed": 1}),
    "classes": ("classes", {"target": ["kind"], "network": {"mlp": {"hidden": [8]}}, "seed": 1}),
    "filled": ("gaps", {"target": ["y"], "network": {"linear": {}}, "preprocess": FILLED, "seed": 1}),
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(request, tmp_path_factory):
    with running(request.param, tmp_path_factory.mktemp("serving")) as doors:
        kim = doors.token("kim")
        for name, text in tables().items():
            assert upload(doors, kim, text.encode(), name).status_code == 200, name
        for model, (dataset, spec) in SPECS.items():
            body = {"dataset": dataset, "model": model, "train": spec}
            job = answer_of_rest(doors.rest("POST", "/v1/jobs", kim, json=body), jobs_pb2.Job)
            ended = learn(doors, kim, job.name)
            assert ended.state == jobs_pb2.Job.SUCCEEDED, ended
        yield doors


@pytest.fixture
def wire(server):
    with wires.rpc(server.predict_port, server.token("kim")) as found:
        yield found


def columns_of(model, rows=5):
    """Inputs of a model: arrays and texts by column."""
    draw = np.random.default_rng(rows)
    if SPECS[model][0] == "mixed":
        return {
            "area": draw.uniform(20, 50, rows),
            "rooms": draw.integers(1, 5, rows),
            "city": [("서울", "부산", "대구")[n % 3] for n in range(rows)],
            "new": draw.integers(0, 2, rows).astype(bool),
        }
    names = SPECS[model][1].get("inputs") or ["a", "b", "c"][: 3 if SPECS[model][0] == "numbers" else 2]
    return {name: draw.normal(size=rows) for name in names}


def predicted(server, model, columns):
    """What Predict of the main door answers: values, and probabilities [rows, classes] or None."""
    told = []
    for name, values in columns.items():
        if isinstance(values, list):
            told.append({"name": name, "strings": values})
        else:
            numbers = ["NaN" if np.isnan(one) else float(one) for one in values]
            told.append({"name": name, "numbers": numbers})
    answer = server.rest("POST", f"/v1/models/{model}:predict", server.token("kim"), json={"columns": told})
    assert answer.status_code == 200, answer.text
    said = answer.json()
    values = [one.get("numbers") or one.get("strings") for one in said["predictions"]]
    probabilities = [one["numbers"] for one in said.get("probabilities", [])]
    return values, np.array(probabilities).T if probabilities else None
