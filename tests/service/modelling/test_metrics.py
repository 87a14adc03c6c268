"""Figures against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from service.modelling import metrics

DRAW = np.random.default_rng(2)


def test_numbers():
    t, y = DRAW.standard_normal(40), DRAW.standard_normal(40)
    figures = metrics.regression_metrics(y, t, 38)
    assert figures["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(t, y), rel=1e-12)
    assert figures["mse"] == pytest.approx(sklearn_metrics.mean_squared_error(t, y), rel=1e-12)
    assert figures["r2"] == pytest.approx(sklearn_metrics.r2_score(t, y), rel=1e-12)
    assert figures["residual_mse"] == pytest.approx(((y - t) ** 2).sum() / 38, rel=1e-12)


def test_what_has_no_value_is_nan():
    assert math.isnan(metrics.regression_metrics(np.ones(3), np.ones(3) * 2, 1)["r2"])
    assert math.isnan(metrics.regression_metrics(np.ones(3), np.arange(3.0), 0)["residual_mse"])
    assert math.isnan(metrics.regression_metrics(np.ones(3), np.arange(3.0), -1)["residual_mse"])
    assert all(map(math.isnan, metrics.regression_metrics(np.ones(0), np.ones(0), 0).values()))


def test_errors_beyond_float64_become_inf():
    assert metrics.regression_metrics(np.array([1e300, 1.0]), np.array([0.0, 1.0]), 1)["mse"] == math.inf


@pytest.mark.parametrize("classes", [2, 3])
def test_classes(classes):
    logits, t = DRAW.standard_normal((60, classes)) * 2, DRAW.integers(0, classes, 60)
    logs = metrics.log_probabilities(logits)
    np.testing.assert_allclose(np.exp(logs).sum(1), 1, atol=1e-12)
    figures = metrics.class_metrics(logits.argmax(1), t, logs)
    assert figures["accuracy"] == sklearn_metrics.accuracy_score(t, logits.argmax(1))
    expected = sklearn_metrics.log_loss(t, np.exp(logs), labels=range(classes))
    assert figures["log_loss"] == pytest.approx(expected, rel=1e-10)


def test_one_logit_is_that_of_the_second_class():
    logits, t = DRAW.standard_normal((60, 1)) * 2, DRAW.integers(0, 2, 60)
    logs = metrics.log_probabilities(logits)
    p = 1 / (1 + np.exp(-logits[:, 0]))
    np.testing.assert_allclose(np.exp(logs), np.column_stack([1 - p, p]), atol=1e-12)
    figures = metrics.class_metrics((logits[:, 0] > 0).astype(int), t, logs)
    assert figures["log_loss"] == pytest.approx(sklearn_metrics.log_loss(t, p), rel=1e-10)


def test_sure_and_wrong_keeps_its_price():
    assert metrics.class_metrics(np.array([1]), np.array([0]), metrics.log_probabilities(np.array([[900.0]]))) == {
        "accuracy": 0.0,
        "log_loss": 900.0,
    }


def test_no_rows_and_no_probabilities():
    none = metrics.class_metrics(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2)))
    assert all(map(math.isnan, none.values()))
    assert metrics.class_metrics(np.array([1, 0]), np.array([1, 1]), None) == {"accuracy": 0.5}
