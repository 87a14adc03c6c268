"""Figures against scikit-learn."""

import math
import warnings

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from service.modelling import metrics

DRAW = np.random.default_rng(2)
ALL = (*metrics.CLASS_FIGURES, *metrics.PROBABILITY_FIGURES)


@pytest.mark.parametrize("targets", [1, 3])
def test_numbers(targets):
    t, y = DRAW.standard_normal((40, targets)), DRAW.standard_normal((40, targets))
    figures = metrics.regression_metrics(y, t, 38)
    assert figures == {
        "mae": pytest.approx(sklearn_metrics.mean_absolute_error(t, y), rel=1e-12),
        "mse": pytest.approx(sklearn_metrics.mean_squared_error(t, y), rel=1e-12),
        "rmse": pytest.approx(math.sqrt(sklearn_metrics.mean_squared_error(t, y)), rel=1e-12),
        "r2": pytest.approx(sklearn_metrics.r2_score(t, y), rel=1e-12),
        "residual_mse": pytest.approx((((y - t) ** 2).sum(axis=0) / 38).mean(), rel=1e-12),
    }
    assert metrics.regression_metrics(y, t, names=["rmse"]) == {"rmse": figures["rmse"]}


def test_what_has_no_value_is_nan():
    line, constant = np.arange(3.0)[:, None], np.ones((3, 1))
    assert math.isnan(metrics.regression_metrics(constant, constant * 2, 1)["r2"])
    assert math.isnan(metrics.regression_metrics(np.ones((3, 2)), np.hstack([line, constant]))["r2"])
    assert math.isnan(metrics.regression_metrics(constant, line, 0)["residual_mse"])
    assert math.isnan(metrics.regression_metrics(constant, line, -1)["residual_mse"])
    none = metrics.regression_metrics(np.ones((0, 1)), np.ones((0, 1)), 0)
    assert len(none) == 5
    assert all(map(math.isnan, none.values()))


def test_errors_beyond_float64_become_inf():
    figures = metrics.regression_metrics(np.array([[1e300], [1.0]]), np.array([[0.0], [1.0]]), 1)
    assert figures["mse"] == math.inf


def by_scikit_learn(t, codes, p):
    """Every class counts, also one that nobody answered and that is not there."""
    classes = p.shape[1]
    labels, average = list(range(classes)), "binary" if classes == 2 else "macro"
    there = sorted(set(t.tolist()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "accuracy": sklearn_metrics.accuracy_score(t, codes),
            "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(t, codes),
            "precision": sklearn_metrics.precision_score(t, codes, labels=labels, average=average, zero_division=0),
            "recall": sklearn_metrics.recall_score(
                t, codes, labels=labels if classes == 2 else there, average=average, zero_division=0
            ),
            "f1": sklearn_metrics.f1_score(t, codes, labels=labels, average=average, zero_division=0),
            "roc_auc": sklearn_metrics.roc_auc_score(t, p[:, 1])
            if classes == 2
            else np.mean([sklearn_metrics.roc_auc_score(t == code, p[:, code]) for code in there]),
            "log_loss": sklearn_metrics.log_loss(t, p, labels=labels),
        }


@pytest.mark.parametrize("draw", range(5))
@pytest.mark.parametrize(("classes", "there"), [(2, 2), (3, 3), (5, 5), (5, 3)])
def test_classes(classes, there, draw):
    rng = np.random.default_rng(draw)
    # Halves, so that some scores are equal, in every way to compute them.
    logits, t = np.round(rng.standard_normal((60, classes)) * 4) / 2, rng.integers(0, there, 60)
    logs = metrics.log_probabilities(logits)
    np.testing.assert_allclose(np.exp(logs).sum(1), 1, atol=1e-12)
    expected = by_scikit_learn(t, logits.argmax(1), np.exp(logs))
    figures = metrics.measure_classes(logits, t)
    assert figures == {name: pytest.approx(value, rel=1e-10) for name, value in expected.items()}
    assert list(figures) == list(ALL)
    assert metrics.measure_classes(logits, t, ["f1", "roc_auc"]) == {n: figures[n] for n in ("f1", "roc_auc")}


def test_one_logit_is_that_of_the_second_class():
    logits, t = DRAW.standard_normal((60, 1)) * 2, DRAW.integers(0, 2, 60)
    p = 1 / (1 + np.exp(-logits[:, 0]))
    p = np.column_stack([1 - p, p])
    np.testing.assert_allclose(np.exp(metrics.log_probabilities(logits)), p, atol=1e-12)
    expected = by_scikit_learn(t, (logits[:, 0] > 0).astype(int), p)
    assert metrics.measure_classes(logits, t) == {n: pytest.approx(value, rel=1e-10) for n, value in expected.items()}


def test_sure_answers_are_told_apart_where_probabilities_are_not():
    logits = np.array([[800.0], [900.0], [700.0]])
    assert metrics.measure_classes(logits, np.array([0, 1, 0]))["roc_auc"] == 1


def test_sure_and_wrong_keeps_its_price():
    figures = metrics.measure_classes(np.array([[900.0]]), np.array([0]))
    assert figures["log_loss"] == 900
    assert figures["accuracy"] == 0
    assert math.isnan(figures["roc_auc"])


def test_a_class_that_is_not_looked_for_in_vain():
    """Nobody answered the second class, and it is not there."""
    figures = metrics.measure_classes(np.array([[-1.0], [-2.0]]), np.array([0, 0]))
    assert (figures["accuracy"], figures["precision"], figures["recall"], figures["f1"]) == (1, 0, 0, 0)


def test_no_rows_and_no_probabilities():
    none = metrics.measure_classes(np.zeros((0, 2)), np.zeros(0, int))
    assert list(none) == list(ALL)
    assert all(map(math.isnan, none.values()))
    perceptron = metrics.measure_classes(np.array([[1.0], [0.0]]), np.array([1, 1]), probabilities=False)
    assert list(perceptron) == list(metrics.CLASS_FIGURES)
    assert perceptron["accuracy"] == 0.5


def test_confusion():
    t, codes = DRAW.integers(0, 4, 200), DRAW.integers(0, 4, 200)
    expected = sklearn_metrics.confusion_matrix(t, codes, labels=range(5))
    np.testing.assert_array_equal(metrics.confusion(codes, t, 5), expected)
