"""The estimate of a job's memory, worked out by hand. That it is near the truth stands in acceptance/test_memory.py."""

import pytest
from google.protobuf import json_format

from service.modelling.inputs import InputLayout
from service.modelling.memory import BASE, FEATURES_IN_MEMORY, Sizes, estimate, estimate_evaluation
from traind.v1 import specs_pb2

NETWORK = {"mlp": {"hidden": [1000], "normalisation": "NO_NORMALISATION"}}


def spec(optimizer, dtype="FLOAT32", keep="BEST", **more):
    gradient = {"optimizer": optimizer, "batchSize": 10, "keep": keep, **more.pop("gradient", {})}
    body = {"network": NETWORK, "dtype": dtype, "learn": {"gradient": gradient}, "split": {"none": {}}} | more
    return json_format.ParseDict(body, specs_pb2.TrainSpec())


def sizes(rows=100, width=4, outputs=1, parameters=6001):
    return Sizes(rows, width + 1, InputLayout(width, ()), outputs, parameters)


@pytest.mark.parametrize(
    ("optimizer", "dtype", "keep", "copies"),
    [
        # Weights, gradient, moments, best copy; and three times all but the gradient.
        ({"adam": {}}, "FLOAT32", "BEST", 4 + 1 + 12),
        ({"adamw": {}}, "FLOAT32", "LAST", 3 + 1 + 9),
        ({"gradientDescent": {}}, "FLOAT64", "LAST", 1 + 1 + 3),
        ({"sgd": {"momentum": 0.9}}, "FLOAT32", "LAST", 2 + 1 + 6),
        ({"rmsprop": {"momentum": 0.9, "centered": True}}, "FLOAT32", "LAST", 4 + 1 + 12),
        ({"adagrad": {}}, "FLOAT32", "LAST", 2 + 1 + 6),
        ({"lbfgs": {"historySize": 5}}, "FLOAT32", "LAST", 17 + 1 + 51),
    ],
)
def test_another_weight_costs_what_is_kept_of_it(optimizer, dtype, keep, copies):
    asked = spec(optimizer, dtype, keep)
    more = estimate(asked, sizes(parameters=2_000_000)) - estimate(asked, sizes(parameters=1_000_000))
    assert more == copies * 1_000_000 * (8 if dtype == "FLOAT64" else 4)


def test_the_whole_sum_of_a_small_job():
    rows = 100 * 8 * (4 + 4)
    features, copy = 100 * 4 * 8, 100 * 4 * 4
    weights = 17 * 6001 * 4
    # Outside of a batch 100 rows are measured at once: features, and of each of 1,000 neurons three numbers.
    measured = 100 * 4 * (4 + 3000)
    gathered = 100 * 4 * 4
    assert estimate(spec({"adam": {}}), sizes()) == BASE + features + copy + rows + weights + measured + gathered


def test_features_that_lie_in_a_file_cost_nothing():
    in_memory, in_file = (sizes(rows=FEATURES_IN_MEMORY // 8 // 64 + more, width=64) for more in (0, 1))
    assert estimate(spec({"adam": {}}), in_memory) - estimate(spec({"adam": {}}), in_file) > FEATURES_IN_MEMORY


def test_dropout_normalisation_and_residuals_cost_their_share():
    def of(**more):
        network = {"mlp": NETWORK["mlp"] | more}
        return estimate(spec({"adam": {}}, network=network, gradient={"batchSize": 100_000}), sizes(rows=100_000))

    one = 100_000 * 1000 * 4
    assert of(dropout=0.1) - of() == of(normalisation="LAYER") - of() == of(residual=True) - of() == one


def test_held_out_rows_are_in_no_batch():
    whole = spec({"gradientDescent": {}}, gradient={"batchSize": 0})
    part = spec({"gradientDescent": {}}, gradient={"batchSize": 0}, split={"holdOut": {"fraction": 0.25}})
    many = sizes(rows=100_000)
    assert estimate(whole, many) - estimate(part, many) == 25_000 * 4 * (3000 + 3)


@pytest.mark.parametrize("way", [{"exact": {}}, {"perceptronRule": {"epochs": 3}}, {"given": {}}])
def test_other_ways_keep_few_copies(way):
    asked = spec({"adam": {}})
    asked.learn.CopyFrom(json_format.ParseDict({"learn": way}, specs_pb2.TrainSpec()).learn)
    assert estimate(asked, sizes(parameters=1001)) - estimate(asked, sizes(parameters=1)) == 4 * 1000 * 4


def test_measuring_a_model_takes_its_features():
    more = estimate_evaluation(sizes(rows=2_000_000)) - estimate_evaluation(sizes(rows=1_000_000))
    assert more == 1_000_000 * (4 * 8 + 8 * (4 + 4))
