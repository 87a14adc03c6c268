"""A model answers by the transformation it was trained with, and is measured under any loss that fits."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from google.protobuf import json_format
from sklearn import metrics as sklearn_metrics

from service.data import preprocessing, targets
from service.errors import DataCorrupt, InvalidField
from service.modelling import measuring, networks, specs, tensors
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
    return Predictor.build(spec, fitted, target_of(spec, table), tensors_of(**weights))


def target_of(spec, table):
    """The target, its steps fitted on all rows."""
    steps = spec.preprocess.target
    target = targets.find_target(table, spec.target, steps, None, classes=specs.task_of(spec) != "regression")
    return targets.fit_target(target, target.encode(table), steps)


def evaluate(predictor, table, loss=None, dof=None):
    """Figures and findings."""
    measured = measuring.evaluate(predictor, table, loss, dof)
    return measured.figures, measured.findings


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
    unchecked.loss.bce.SetInParent()
    target = target_of(unchecked, table)
    unchecked.network.mlp.bias = True
    return Predictor.build(unchecked, fitted, target, tensors_of(**MOVED))


@pytest.mark.parametrize(("weights", "bias", "predictions", "mae"), WEIGHT_TABLES)
def test_weight_tables_of_the_lecture(weights, bias, predictions, mae):
    predictor = house(weights, bias)
    predicted = predictor.predict(table_of(HOUSES))
    np.testing.assert_allclose(predicted.values[:, 0], predictions, atol=1e-12)
    assert predicted.values.dtype == np.float64
    assert predicted.probabilities is None
    assert predicted.hidden == []
    figures, _ = evaluate(predictor, table_of(HOUSES), spec_of({"loss": {"mae": {}}}).loss)
    assert figures["loss"] == figures["mae"] == pytest.approx(mae, abs=5e-5)


def test_figures_of_numbers_against_scikit_learn():
    predictor, table = house([0.1, 0.3, 4.0], 0.5), table_of(HOUSES)
    t, y = np.array(HOUSES["price"]), predictor.predict(table).values[:, 0]
    figures, findings = evaluate(predictor, table, dof=1)
    assert figures == {
        "loss": pytest.approx(sklearn_metrics.mean_squared_error(t, y)),
        "mae": pytest.approx(sklearn_metrics.mean_absolute_error(t, y)),
        "mse": pytest.approx(sklearn_metrics.mean_squared_error(t, y)),
        "rmse": pytest.approx(math.sqrt(sklearn_metrics.mean_squared_error(t, y))),
        "r2": pytest.approx(sklearn_metrics.r2_score(t, y)),
        "residual_mse": pytest.approx(((t - y) ** 2).sum()),
    }
    assert findings == []


def test_no_degrees_of_freedom():
    figures, (finding,) = evaluate(house([0.1, 0.3, 4.0]), table_of(HOUSES))
    assert math.isnan(figures["residual_mse"])
    assert finding.code == Finding.NO_DEGREES_OF_FREEDOM
    assert dict(finding.figures) == {"rows": 3, "parameters": 3}
    twice = table_of({name: values * 2 for name, values in HOUSES.items()})
    figures, findings = evaluate(house([0.1, 0.3, 4.0]), twice)
    assert figures["residual_mse"] == pytest.approx(figures["mse"] * 6 / 3)
    assert findings == []


def test_sum_and_mean():
    predictor, table = house([0.1, 0.3, 4.0]), table_of(HOUSES)
    mean, _ = evaluate(predictor, table, spec_of({"loss": {"mae": {"reduction": "MEAN"}}}).loss)
    total, _ = evaluate(predictor, table, spec_of({"loss": {"mae": {"reduction": "SUM"}}}).loss)
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
    figures, findings = evaluate(predictor, table)
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
    expected = evaluate(one, table, bce)[0]["loss"]
    for predictor in (one, two):
        for loss in (bce, cross_entropy, None):
            assert evaluate(predictor, table, loss)[0]["loss"] == pytest.approx(expected, rel=1e-12)


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
    figures, _ = evaluate(predictor, table)
    assert figures["loss"] == figures["log_loss"] == pytest.approx(sklearn_metrics.log_loss(t, p))
    with pytest.raises(InvalidField, match="bce tells 2 classes apart and the model has 3"):
        evaluate(predictor, table, spec_of({"loss": {"bce": {}}}).loss)


def test_perceptron():
    spec = {"target": ["color"], "network": {"perceptron": {}}, "preprocess": {"scale": "NONE"}, "dtype": "FLOAT64"}
    predictor = predictor_of(spec, table_of(POINTS), weight=[[1.0, 1.0]], bias=[0.0])
    predicted = predictor.predict(table_of(POINTS))
    assert predicted.values.tolist() == [0, 1, 1, 1]
    assert predicted.probabilities is None
    figures, _ = evaluate(predictor, table_of(POINTS))
    assert (figures["loss"], figures["accuracy"]) == (0.75, 0.25)
    assert not {"roc_auc", "log_loss"} & set(figures)
    with pytest.raises(InvalidField, match="loss: does not fit a perceptron"):
        evaluate(predictor, table_of(POINTS), spec_of({"loss": {"mse": {}}}).loss)


def test_a_loss_that_does_not_fit():
    with pytest.raises(InvalidField, match="loss: bce needs a model of classes"):
        evaluate(house([0.1, 0.3, 4.0]), table_of(HOUSES), spec_of({"loss": {"bce": {}}}).loss)


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
    assert again.predictions == [Column(name="price", type=Column.NUMBER)]
    assert again.parameter_count == 6
    assert again.hidden_widths == []


def test_what_a_model_of_classes_answers():
    predictor = stored(points())
    assert predictor.predictions == [Column(name="color", type=Column.CATEGORY, categories=["black", "white"])]
    assert predictor.hidden_widths == [2]


def test_float32_is_computed_as_such_and_answered_in_float64():
    table = table_of(HOUSES)
    spec = resolved(HOUSE_SPEC | {"dtype": "FLOAT32"}, table)
    fitted = preprocessing.fit(table, list(spec.inputs), spec.preprocess, np.arange(3))
    weights = {"weight": torch.tensor([[0.1, 0.3, 4.0]])}
    predictor = Predictor.build(spec, fitted, target_of(spec, table), weights)
    values = predictor.predict(table).values
    assert values.dtype == np.float64
    assert values.tolist() == values.astype(np.float32).tolist()
    np.testing.assert_allclose(values, [[5.3], [6.2], [6.8]], rtol=1e-6)


def test_more_rows_than_pass_at_once():
    predictor = house([0.1, 0.3, 4.0])
    many = table_of({name: values * 5000 for name, values in HOUSES.items()})
    np.testing.assert_allclose(predictor.predict(many).values, [[5.3], [6.2], [6.8]] * 5000, atol=1e-12)


def test_no_rows():
    empty = table_of(HOUSES)
    empty = type(empty)({n: type(c)(n, c.type, c.values[:0]) for n, c in empty.columns.items()}, 0)
    predictor = house([0.1, 0.3, 4.0])
    assert predictor.predict(empty).values.shape == (0, 1)
    assert points().predict(
        type(empty)(
            {n: type(c)(n, c.type, c.values[:0], None, c.categories) for n, c in table_of(POINTS).columns.items()}, 0
        ),
        hidden=True,
    ).probabilities.shape == (0, 2)
    assert math.isnan(evaluate(predictor, empty)[0]["mse"])


def test_corrupt_models_are_refused():
    predictor = house([0.1, 0.3, 4.0])
    spec, kept = json_format.MessageToJson(predictor.spec), encode_preprocessing(predictor.fitted, predictor.target)
    weights = tensors.encode_tensors(predictor.network.state_dict())
    for wrong in ("", "[]", "{}", json.dumps({"fitted": {}, "target": {}})):
        with pytest.raises(DataCorrupt):
            Predictor.from_stored(spec, wrong, weights)
    with pytest.raises(DataCorrupt):
        Predictor.from_stored(spec, kept, tensors.encode_tensors({"weight": torch.zeros(1, 2, dtype=torch.float64)}))


TWO = {"x": [0.0, 1.0, 2.0, 3.0, 4.0], "price": [1.0, 3.0, 9.0, 20.0, 80.0], "rent": [2.0, 4.0, 6.0, 8.0, 10.0]}
TWO_SPEC = {
    "inputs": ["x"],
    "target": ["price", "rent"],
    "network": {"linear": {}},
    "preprocess": {"scale": "NONE", "target": {"transform": "LOG1P", "scale": "STANDARD"}},
    "dtype": "FLOAT64",
    "split": {"none": {}},
}


def test_several_targets_are_answered_and_measured_in_their_own_units():
    table = table_of(TWO)
    predictor = predictor_of(TWO_SPEC, table, weight=[[0.5], [0.7]], bias=[-1.0, -1.4])
    again = stored(predictor)
    outputs = np.array(TWO["x"])[:, None] * [0.5, 0.7] + [-1.0, -1.4]
    t = np.column_stack([TWO["price"], TWO["rent"]])
    logs = np.log1p(t)
    expected = np.expm1(outputs * logs.std(0) + logs.mean(0))
    assert [c.name for c in again.predictions] == ["price", "rent"]
    np.testing.assert_allclose(again.predict(table).values, expected, rtol=1e-12)
    figures, findings = evaluate(again, table)
    assert figures == {
        "loss": pytest.approx(((outputs - (logs - logs.mean(0)) / logs.std(0)) ** 2).mean()),
        "mae": pytest.approx(sklearn_metrics.mean_absolute_error(t, expected)),
        "mse": pytest.approx(sklearn_metrics.mean_squared_error(t, expected)),
        "rmse": pytest.approx(math.sqrt(sklearn_metrics.mean_squared_error(t, expected))),
        "r2": pytest.approx(sklearn_metrics.r2_score(t, expected)),
        # Each target has two of the four parameters.
        "residual_mse": pytest.approx(((t - expected) ** 2).sum(0).mean() / 3),
    }
    assert findings == []


def test_deviations_of_a_model_that_tells_its_own_variance():
    table = table_of(TWO)
    spec = TWO_SPEC | {"target": ["price"], "loss": {"gaussianNll": {}}, "learn": {"gradient": {}}}
    predictor = predictor_of(spec, table, weight=[[0.5], [-9.0]], bias=[-1.0, 0.2])
    predicted = predictor.predict(table)
    logs = np.log1p(TWO["price"])
    means, log_variances = np.array(TWO["x"]) * 0.5 - 1, np.array(TWO["x"]) * -9 + 0.2
    answers = np.expm1(means * logs.std() + logs.mean())
    np.testing.assert_allclose(predicted.values[:, 0], answers, rtol=1e-12)
    # The slope of exp(s z + m) - 1 is s times one more than itself; a variance is at least 1e-6.
    spread = np.sqrt(np.maximum(np.exp(log_variances), 1e-6))
    assert spread[-1] == 1e-3
    np.testing.assert_allclose(predicted.deviations[:, 0], spread * logs.std() * (answers + 1), rtol=1e-12)
    figures, _ = evaluate(predictor, table)
    v, t = spread**2, (logs - logs.mean()) / logs.std()
    assert figures["loss"] == pytest.approx(((np.log(v) + (means - t) ** 2 / v) / 2).mean())
    assert figures["mae"] == pytest.approx(np.abs(answers - TWO["price"]).mean())
    by_mse, _ = evaluate(predictor, table, spec_of({"loss": {"mse": {}}}).loss)
    assert by_mse["loss"] == pytest.approx(((means - t) ** 2).mean())
    with pytest.raises(InvalidField, match="gaussian_nll needs a model"):
        evaluate(house([0.1, 0.3, 4.0]), table_of(HOUSES), spec_of({"loss": {"gaussianNll": {}}}).loss)


def test_confusion_of_classes():
    colors = {"x": [0.0, 1.0, 2.0, 3.0], "color": ["blue", "green", "red", "red"]}
    table = table_of(colors)
    spec = {"target": ["color"], "network": {"linear": {}}, "preprocess": {"scale": "NONE"}, "dtype": "FLOAT64"}
    predictor = predictor_of(spec, table, weight=[[-1.0], [0.2], [1.0]], bias=[1.0, 0.5, -1.0])
    matrix = measuring.evaluate(predictor, table).confusion
    assert list(matrix.classes) == ["blue", "green", "red"]
    assert list(matrix.counts.shape) == [3, 3]
    expected = sklearn_metrics.confusion_matrix([0, 1, 2, 2], predictor.predict(table).values)
    assert list(matrix.counts.values) == expected.ravel().tolist()
    assert measuring.evaluate(house([0.1, 0.3, 4.0]), table_of(HOUSES)).confusion is None
    many = [str(i) for i in range(101)]
    assert measuring.confusion_of(np.zeros((2, 101)), np.array([3, 100]), many) is None


def test_rows_that_a_model_leaves_out_are_not_measured():
    table = table_of(TWO)
    gone = np.array([False, True, False, False, False])
    columns = dict(table.columns)
    columns["x"] = dataclasses.replace(columns["x"], values=np.where(gone, np.nan, columns["x"].values), missing=gone)
    columns["price"] = dataclasses.replace(columns["price"], missing=gone[::-1])
    holey = type(table)(columns, 5)
    groups = [{"columns": ["x"], "impute": {"how": "DROP_ROW"}}]
    preprocess = {"scale": "NONE", "groups": groups, "target": {"missing": "DROP_ROW"}}
    spec = TWO_SPEC | {"target": ["price"], "preprocess": preprocess}
    predictor = stored(predictor_of(spec, table, weight=[[2.0]], bias=[1.0]))
    measured = measuring.evaluate(predictor, holey)
    y, t = np.array([1.0, 5.0, 9.0]), np.array([1.0, 9.0, 80.0])
    assert measured.rows == 3
    assert measured.figures["mae"] == pytest.approx(np.abs(y - t).mean())
    (finding,) = measured.findings
    assert finding.code == Finding.ROWS_DROPPED
    assert dict(finding.figures) == {"rows": 2, "left": 3}
    with pytest.raises(InvalidField, match="the model leaves such rows out"):
        predictor.predict(holey)


def test_embeddings_answer_zero_for_what_training_did_not_see():
    values = {"city": ["a", "b", "c", "a"], "price": [1.0, 2.0, 3.0, 4.0]}
    groups = [{"columns": ["city"], "encode": {"embedding": {"width": 2}}, "unseen": "UNKNOWN"}]
    spec = resolved(
        {
            "target": ["price"],
            "network": {"linear": {}},
            "preprocess": {"groups": groups},
            "dtype": "FLOAT64",
            "split": {"none": {}},
        },
        table_of(values),
    )
    fitted = preprocessing.fit(table_of(values), ["city"], spec.preprocess, np.arange(4))
    weights = tensors_of(weight=[[1.0, 10.0]], bias=[0.5])
    vectors = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype=torch.float64)
    weights["embeddings.0.weight"] = vectors
    assert networks.weight_shapes(spec.network, fitted.layout, 1)["embeddings.0.weight"] == (4, 2)
    predictor = Predictor.build(spec, fitted, target_of(spec, table_of(values)), weights)
    asked = table_of({"city": ["c", "z", "a", "b"]})
    assert predictor.predict(asked).values[:, 0].tolist() == [65.5, 0.5, 21.5, 43.5]


def test_what_is_told_after_each_epoch():
    table = table_of(TWO)
    spec = resolved(TWO_SPEC | {"everyEpoch": ["RMSE", "MAE"], "learn": {"gradient": {}}}, table)
    target = target_of(spec, table)
    own = target.encode(table)
    told = measuring.epoch_measures(spec, target, {"train": own, "val": own[:2]})
    outputs = target.to_loss_units(own)
    assert told(outputs, "train") == {"rmse": pytest.approx(0, abs=1e-9), "mae": pytest.approx(0, abs=1e-9)}
    assert told(outputs[1:3], "val")["mae"] == pytest.approx(np.abs(own[1:3] - own[:2]).mean())
    assert measuring.epoch_measures(resolved(TWO_SPEC, table), target, {}) is None
    classes = {"target": ["color"], "network": {"linear": {}}, "everyEpoch": ["F1", "LOG_LOSS", "ROC_AUC"]}
    spec = resolved(classes | {"learn": {"gradient": {}}}, table_of(POINTS))
    t, logits = np.array([1, 0, 0, 1]), np.array([[0.3], [-1.0], [2.0], [1.0]])
    told = measuring.epoch_measures(spec, target_of(spec, table_of(POINTS)), {"train": t})(logits, "train")
    p = 1 / (1 + np.exp(-logits[:, 0]))
    assert told == {
        "f1": pytest.approx(sklearn_metrics.f1_score(t, p > 0.5)),
        "log_loss": pytest.approx(sklearn_metrics.log_loss(t, p)),
        "roc_auc": pytest.approx(sklearn_metrics.roc_auc_score(t, p)),
    }


def test_what_an_asked_loss_leaves_out_is_filled_in():
    """Its defaults are those of a training: delta 1, and no class weighs more than the other."""
    predictor, table = house([0.1, 0.2, 3.0]), table_of(HOUSES)
    bare, _ = evaluate(predictor, table, spec_of({"loss": {"huber": {}}}).loss)
    told, _ = evaluate(predictor, table, spec_of({"loss": {"huber": {"delta": 1.0}}}).loss)
    errors = abs(np.array(HOUSES["price"]) - predictor.predict(table).values.ravel())
    expected = np.where(errors <= 1, errors**2 / 2, errors - 0.5).mean()
    assert bare["loss"] == told["loss"] == pytest.approx(expected, rel=1e-6)
