"""A model answers by the transformation it was trained with, and is measured under any loss that fits."""

import json
import math

import numpy as np
import pytest
import torch
from google.protobuf import json_format
from sklearn import metrics as sklearn_metrics

from service.data import preprocessing, targets
from service.errors import DataCorrupt, InvalidField
from service.modelling import specs, tensors
from service.modelling.predictor import Predictor, encode_preprocessing
from tests.service.modelling.cases import (
    HOUSE_SPEC,
    HOUSES,
    POINTS,
    WEIGHT_TABLES,
    Column,
    resolved,
    spec_of,
    table_of,
    tensors_of,
)
from traind.v1 import tables_pb2

Finding = tables_pb2.Finding


def predictor_of(spec, table, **weights):
    """A model with given weights, preprocessing fitted on all rows."""
    spec = resolved(spec, table)
    fitted = preprocessing.fit(table, list(spec.inputs), spec.preprocess, np.arange(table.row_count))
    target = targets.fit_target(table, spec.target[0], specs.task_of(spec) != "regression")
    return Predictor.build(spec, fitted, target, tensors_of(**weights))


def stored(predictor):
    """The same model through the texts and bytes that are kept of it."""
    return Predictor.from_stored(
        json_format.MessageToJson(predictor.spec),
        encode_preprocessing(predictor.fitted, predictor.target),
        tensors.encode_tensors(predictor.network.state_dict()),
    )


def house(weights, bias=None):
    spec = HOUSE_SPEC | {"network": {"linear": {"bias": bias is not None}}}
    given = {"weight": [weights]} | ({} if bias is None else {"bias": [bias]})
    return predictor_of(spec, table_of(HOUSES), **given)


# The lecture moves the four points by two step units until a line separates them: at least one, and both.
MOVED = {
    "layers__0__weight": [[1.0, 1.0], [1.0, 1.0]],
    "layers__0__bias": [-0.5, -1.5],
    "layers__1__weight": [[1.0, -1.0]],
    "layers__1__bias": [-0.5],
}
POINTS_SPEC = {
    "inputs": ["x", "y"],
    "target": ["color"],
    "preprocess": {"scale": "NONE"},
    "dtype": "FLOAT64",
    "learn": {"given": {"weights": {}}},
}


def points(activation="STEP", **spec):
    network = {"mlp": {"hidden": [2], "activation": activation}}
    table = table_of(POINTS)
    unchecked = spec_of(POINTS_SPEC | {"network": network} | spec)
    unchecked.learn.given.weights.clear()
    fitted = preprocessing.fit(table, ["x", "y"], unchecked.preprocess, np.arange(4))
    target = targets.fit_target(table, "color", classes=True)
    unchecked.loss.bce.SetInParent()
    unchecked.network.mlp.bias = True
    return Predictor.build(unchecked, fitted, target, tensors_of(**MOVED))


@pytest.mark.parametrize(("weights", "bias", "predictions", "mae"), WEIGHT_TABLES)
def test_weight_tables_of_the_lecture(weights, bias, predictions, mae):
    predictor = house(weights, bias)
    predicted = predictor.predict(table_of(HOUSES))
    np.testing.assert_allclose(predicted.values, predictions, atol=1e-12)
    assert predicted.values.dtype == np.float64
    assert predicted.probabilities is None
    assert predicted.hidden == []
    figures, _ = predictor.evaluate(table_of(HOUSES), spec_of({"loss": {"mae": {}}}).loss)
    assert figures["loss"] == figures["mae"] == pytest.approx(mae, abs=5e-5)


def test_figures_of_numbers_against_scikit_learn():
    predictor, table = house([0.1, 0.3, 4.0], 0.5), table_of(HOUSES)
    t, y = np.array(HOUSES["price"]), predictor.predict(table).values
    figures, findings = predictor.evaluate(table, dof=1)
    assert figures == {
        "loss": pytest.approx(sklearn_metrics.mean_squared_error(t, y)),
        "mae": pytest.approx(sklearn_metrics.mean_absolute_error(t, y)),
        "mse": pytest.approx(sklearn_metrics.mean_squared_error(t, y)),
        "r2": pytest.approx(sklearn_metrics.r2_score(t, y)),
        "residual_mse": pytest.approx(((t - y) ** 2).sum()),
    }
    assert findings == []


def test_no_degrees_of_freedom():
    figures, (finding,) = house([0.1, 0.3, 4.0]).evaluate(table_of(HOUSES))
    assert math.isnan(figures["residual_mse"])
    assert finding.code == Finding.NO_DEGREES_OF_FREEDOM
    assert dict(finding.figures) == {"rows": 3, "parameters": 3}
    twice = table_of({name: values * 2 for name, values in HOUSES.items()})
    figures, findings = house([0.1, 0.3, 4.0]).evaluate(twice)
    assert figures["residual_mse"] == pytest.approx(figures["mse"] * 6 / 3)
    assert findings == []


def test_sum_and_mean():
    predictor, table = house([0.1, 0.3, 4.0]), table_of(HOUSES)
    mean, _ = predictor.evaluate(table, spec_of({"loss": {"mae": {"reduction": "MEAN"}}}).loss)
    total, _ = predictor.evaluate(table, spec_of({"loss": {"mae": {"reduction": "SUM"}}}).loss)
    assert total["loss"] == pytest.approx(3 * mean["loss"])


def test_hidden_layer_moves_the_points():
    predicted = points().predict(table_of(POINTS), hidden=True)
    ((name, moved),) = predicted.hidden
    assert name == "layers.0"
    assert moved.tolist() == [[0, 0], [1, 0], [1, 0], [1, 1]]
    # Classes are sorted: black is 0, white 1; the network says 1 for one of two, so for black points.
    assert predicted.values.tolist() == [0, 1, 1, 0]


def test_a_linear_hidden_layer_keeps_their_order():
    ((_, moved),) = points("IDENTITY").predict(table_of(POINTS), hidden=True).hidden
    assert moved.tolist() == [[-0.5, -1.5], [0.5, -0.5], [0.5, -0.5], [1.5, 0.5]]


def test_two_classes_by_one_logit():
    predictor, table = points("TANH"), table_of(POINTS)
    outputs = predictor.outputs(table)
    predicted = predictor.predict(table)
    p = 1 / (1 + np.exp(-outputs[:, 0]))
    np.testing.assert_allclose(predicted.probabilities, np.column_stack([1 - p, p]), atol=1e-12)
    assert predicted.values.tolist() == (outputs[:, 0] > 0).astype(int).tolist()
    t = np.array([1, 0, 0, 1])
    figures, findings = predictor.evaluate(table)
    assert figures["log_loss"] == figures["loss"] == pytest.approx(sklearn_metrics.log_loss(t, p))
    assert figures["accuracy"] == (predicted.values == t).mean()
    assert findings == []


def test_one_logit_under_cross_entropy_and_two_under_bce():
    table = table_of(POINTS)
    one = predictor_of(
        POINTS_SPEC | {"network": {"linear": {}}, "learn": {"gradient": {}}}, table, weight=[[1.0, 2.0]], bias=[0.3]
    )
    spec = POINTS_SPEC | {"network": {"linear": {}}, "loss": {"crossEntropy": {}}, "learn": {"gradient": {}}}
    two = predictor_of(spec, table, weight=[[0.5, 0.0], [1.5, 2.0]], bias=[0.1, 0.4])
    bce, cross_entropy = spec_of({"loss": {"bce": {}}}).loss, spec_of({"loss": {"crossEntropy": {}}}).loss
    expected = one.evaluate(table, bce)[0]["loss"]
    for predictor in (one, two):
        for loss in (bce, cross_entropy, None):
            assert predictor.evaluate(table, loss)[0]["loss"] == pytest.approx(expected, rel=1e-12)


def test_three_classes():
    colors = {"x": [0.0, 1.0, 2.0, 3.0], "color": ["blue", "green", "red", "red"]}
    table = table_of(colors)
    spec = {"target": ["color"], "network": {"linear": {}}, "preprocess": {"scale": "NONE"}, "dtype": "FLOAT64"}
    predictor = predictor_of(spec, table, weight=[[-1.0], [0.2], [1.0]], bias=[1.0, 0.5, -1.0])
    logits = predictor.outputs(table)
    predicted = predictor.predict(table)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(predicted.probabilities, p, atol=1e-12)
    assert predicted.values.tolist() == logits.argmax(1).tolist()
    t = [0, 1, 2, 2]
    figures, _ = predictor.evaluate(table)
    assert figures["loss"] == figures["log_loss"] == pytest.approx(sklearn_metrics.log_loss(t, p))
    with pytest.raises(InvalidField, match="bce tells 2 classes apart and the model has 3"):
        predictor.evaluate(table, spec_of({"loss": {"bce": {}}}).loss)


def test_perceptron():
    spec = {"target": ["color"], "network": {"perceptron": {}}, "preprocess": {"scale": "NONE"}, "dtype": "FLOAT64"}
    predictor = predictor_of(spec, table_of(POINTS), weight=[[1.0, 1.0]], bias=[0.0])
    predicted = predictor.predict(table_of(POINTS))
    assert predicted.values.tolist() == [0, 1, 1, 1]
    assert predicted.probabilities is None
    assert predictor.evaluate(table_of(POINTS))[0] == {"loss": 0.75, "accuracy": 0.25}
    with pytest.raises(InvalidField, match="loss: does not fit a perceptron"):
        predictor.evaluate(table_of(POINTS), spec_of({"loss": {"mse": {}}}).loss)


def test_a_loss_that_does_not_fit():
    with pytest.raises(InvalidField, match="loss: bce needs a model of classes"):
        house([0.1, 0.3, 4.0]).evaluate(table_of(HOUSES), spec_of({"loss": {"bce": {}}}).loss)


def test_stored_model_answers_the_same_bits():
    columns = {"area": [3.0, 1.0, 2.0, 5.5], "city": ["b", "a", "b", "a"], "new": [True, False, False, True]}
    table = table_of(columns | {"price": [1.0, 2.0, 3.0, 4.0]})
    spec = {"target": ["price"], "network": {"linear": {}}, "dtype": "FLOAT64"}
    predictor = predictor_of(spec, table, weight=[[0.1, 0.2, 0.3, 0.4, 0.5]], bias=[0.6])
    again = stored(predictor)
    assert again.predict(table).values.tobytes() == predictor.predict(table).values.tobytes()
    assert again.columns == ["area", "city", "new", "price"]
    assert [(c.name, c.type, list(c.categories)) for c in again.inputs] == [
        ("area", Column.NUMBER, []),
        ("city", Column.CATEGORY, ["a", "b"]),
        ("new", Column.BOOLEAN, ["false", "true"]),
    ]
    assert again.prediction == Column(name="price", type=Column.NUMBER)
    assert again.parameter_count == 6
    assert again.hidden_widths == []


def test_what_a_model_of_classes_answers():
    predictor = stored(points())
    assert predictor.prediction == Column(name="color", type=Column.CATEGORY, categories=["black", "white"])
    assert predictor.hidden_widths == [2]


def test_float32_is_computed_as_such_and_answered_in_float64():
    table = table_of(HOUSES)
    spec = resolved(HOUSE_SPEC | {"dtype": "FLOAT32"}, table)
    fitted = preprocessing.fit(table, list(spec.inputs), spec.preprocess, np.arange(3))
    weights = {"weight": torch.tensor([[0.1, 0.3, 4.0]])}
    predictor = Predictor.build(spec, fitted, targets.fit_target(table, "price", classes=False), weights)
    values = predictor.predict(table).values
    assert values.dtype == np.float64
    assert values.tolist() == values.astype(np.float32).tolist()
    np.testing.assert_allclose(values, [5.3, 6.2, 6.8], rtol=1e-6)


def test_more_rows_than_pass_at_once():
    predictor = house([0.1, 0.3, 4.0])
    many = table_of({name: values * 5000 for name, values in HOUSES.items()})
    np.testing.assert_allclose(predictor.predict(many).values, [5.3, 6.2, 6.8] * 5000, atol=1e-12)


def test_no_rows():
    empty = table_of(HOUSES)
    empty = type(empty)({n: type(c)(n, c.type, c.values[:0]) for n, c in empty.columns.items()}, 0)
    predictor = house([0.1, 0.3, 4.0])
    assert predictor.predict(empty).values.shape == (0,)
    assert points().predict(
        type(empty)(
            {n: type(c)(n, c.type, c.values[:0], None, c.categories) for n, c in table_of(POINTS).columns.items()}, 0
        ),
        hidden=True,
    ).probabilities.shape == (0, 2)
    assert math.isnan(predictor.evaluate(empty)[0]["mse"])


def test_corrupt_models_are_refused():
    predictor = house([0.1, 0.3, 4.0])
    spec, kept = json_format.MessageToJson(predictor.spec), encode_preprocessing(predictor.fitted, predictor.target)
    weights = tensors.encode_tensors(predictor.network.state_dict())
    for wrong in ("", "[]", "{}", json.dumps({"fitted": {}, "target": {}})):
        with pytest.raises(DataCorrupt):
            Predictor.from_stored(spec, wrong, weights)
    with pytest.raises(DataCorrupt):
        Predictor.from_stored(spec, kept, tensors.encode_tensors({"weight": torch.zeros(1, 2, dtype=torch.float64)}))
