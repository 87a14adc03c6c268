import json

import numpy as np
import pytest

from traind.errors import InvalidSpec
from traind.specs import build_job, change_spec, load_spec, parse_job
from traind.v1 import jobs_pb2, learning_pb2, optimizers_pb2

HOUSE = {
    "dataset": "house-prices",
    "model": "house",
    "train": {
        "inputs": ["area", "rooms", "station_km"],
        "target": ["price"],
        "network": {"linear": {"bias": False}},
        "preprocess": {"scale": "NONE"},
        "split": {"none": {}},
        "loss": {"mse": {}},
        "learn": {"gradient": {"optimizer": {"gradientDescent": {"lr": 0.0001}}, "epochs": 1000}},
        "dtype": "FLOAT64",
        "seed": 7,
    },
}


def test_dictionary_keywords_message_and_files_are_one_job(tmp_path):
    wanted = parse_job(HOUSE)
    assert wanted.train.learn.gradient.optimizer.gradient_descent.lr == 0.0001
    as_json = tmp_path / "house.json"
    as_json.write_text(json.dumps(HOUSE))
    as_toml = tmp_path / "house.toml"
    as_toml.write_text(
        'dataset = "house-prices"\nmodel = "house"\n[train]\ninputs = ["area", "rooms", "station_km"]\n'
        'target = ["price"]\ndtype = "FLOAT64"\nseed = 7\nnetwork.linear.bias = false\npreprocess.scale = "NONE"\n'
        "split.none = {}\nloss.mse = {}\n[train.learn.gradient]\nepochs = 1000\n"
        "optimizer.gradient_descent.lr = 0.0001\n"
    )
    forms = [
        build_job(HOUSE),
        build_job(wanted),
        build_job(as_json),
        build_job(str(as_toml)),
        build_job(None, dataset="house-prices", model="house", train=HOUSE["train"]),
        build_job(None, dataset="house-prices", model="house", train=wanted.train),
        build_job(HOUSE | {"model": "other"}, model="house"),
    ]
    assert forms == [wanted] * len(forms)


def test_python_values_are_taken_as_they_are():
    job = parse_job(
        {
            "train": {
                "target": "price",
                "inputs": ("a", "b"),
                "seed": np.int64(3),
                "learn": {"given": {"weights": {"weight": np.array([[0.1, 0.3]]), "bias": [0.5], "scalar": 2.0}}},
            }
        }
    )
    assert list(job.train.target) == ["price"]
    assert list(job.train.inputs) == ["a", "b"]
    assert parse_job({"train": {"seed": None, "dtype": None}}) == parse_job({"train": {}})
    assert job.train.seed == 3
    weights = job.train.learn.given.weights
    assert (list(weights["weight"].shape), list(weights["weight"].values)) == ([1, 2], [0.1, 0.3])
    assert (list(weights["bias"].shape), list(weights["bias"].values)) == ([1], [0.5])
    assert (list(weights["scalar"].shape), list(weights["scalar"].values)) == ([], [2.0])


@pytest.mark.parametrize(
    ("spec", "field", "said"),
    [
        ({"train": {"network": {"liner": {}}}}, "job.train.network.liner", "did you mean 'linear'"),
        ({"tran": {}}, "job.tran", "did you mean 'train'"),
        ({"train": {"seed": 3.5}}, "job.train.seed", "whole number, got 3.5"),
        ({"train": {"seed": True}}, "job.train.seed", "got True"),
        ({"train": {"seed": "x"}}, "job.train.seed", "got 'x'"),
        ({"train": {"target": ["a", 3]}}, "job.train.target[1]", "expected a text, got 3"),
        ({"train": [1]}, "job.train", "got a list"),
        ({"dataset": 3}, "job.dataset", "expected a text"),
        ({"train": {"network": {"mlp": {"hidden": 3}}}}, "job.train.network.mlp.hidden", "write [3]"),
        ({"train": {"network": {"linear": {"bias": 1}}}}, "job.train.network.linear.bias", "true or false"),
        ({"train": {"learn": {"gradient": {"keep": "BST"}}}}, "job.train.learn.gradient.keep", "one of BEST, LAST"),
        ({"train": {"learn": {"sgd": {}}}}, "job.train.learn.sgd", "known there: gradient, exact, perceptron_rule"),
        (
            {"train": {"learn": {"gradient": {"optimizer": {"adam": {"lr": "a"}}}}}},
            "job.train.learn.gradient.optimizer.adam.lr",
            "expected a number",
        ),
        (
            {"train": {"learn": {"given": {"weights": {"w": [[1, 2], [3]]}}}}},
            "job.train.learn.given.weights.w",
            "different lengths",
        ),
        (
            {"train": {"learn": {"given": {"weights": {"w": {"values": [1, float("nan")]}}}}}},
            "job.train.learn.given.weights.w.values[1]",
            "got nan",
        ),
        ({"train": {"learn": {"exact": {}, "gradient": {}}}}, "job.train.learn", "only one can be meant"),
    ],
)
def test_wrong_fields_are_named(spec, field, said):
    with pytest.raises(InvalidSpec) as refused:
        parse_job(spec)
    assert refused.value.field == field
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.yaml", "a: 1", "no spec"),
        ("a.json", '{"a": 1,}', "line 1 column"),
        ("a.json", '{"seed": 1, "seed": 2}', "'seed' stands twice"),
        ("a.json", "[1]", "holds no job"),
        ("a.toml", "a = ", "no TOML"),
    ],
)
def test_broken_files_are_told(tmp_path, name, text, said):
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(InvalidSpec, match=said):
        load_spec(file)
    with pytest.raises(InvalidSpec, match="cannot be read"):
        load_spec(tmp_path / "none.json")


def changed(*changes):
    spec = json.loads(json.dumps(HOUSE))
    for change in changes:
        change_spec(spec, change)
    return parse_job(spec)


def test_changes():
    job = changed("seed=9", "train.learn.gradient.epochs=5", "display_name=시험 1", "dataset=other:2")
    assert (job.train.seed, job.train.learn.gradient.epochs) == (9, 5)
    assert (job.display_name, job.dataset) == ("시험 1", "other:2")
    # The path that an error names can be given as it is.
    assert changed("job.train.seed=4").train.seed == 4
    # Either spelling finds the field that is there.
    assert changed("learn.gradient.optimizer.gradient_descent.lr=1").train.learn.gradient.optimizer == (
        optimizers_pb2.Optimizer(gradient_descent=optimizers_pb2.GradientDescent(lr=1))
    )


def test_a_change_of_kind_takes_the_other_kind_away():
    assert changed("learn.exact={}").train.learn == learning_pb2.Learn(exact=learning_pb2.Exact())
    assert changed("learn.gradient.optimizer.adam.lr=0.01").train.learn.gradient.optimizer.WhichOneof("kind") == "adam"
    job = changed('evaluate={"model": "house"}')
    assert job.WhichOneof("task") == "evaluate"
    assert job.evaluate == jobs_pb2.EvaluateSpec(model="house")


@pytest.mark.parametrize("change", ["seed", "=3", "", "seed.x=3"])
def test_changes_that_are_none(change):
    with pytest.raises(InvalidSpec):
        changed(change)
