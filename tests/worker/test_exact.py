"""The exact solution against numpy.linalg.lstsq and the known answers."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

from tests.service.modelling.cases import HOUSES
from worker import exact

X = np.array([HOUSES[name] for name in ("area", "rooms", "station_km")], np.float64).T
T = np.array(HOUSES["price"])


def test_house_prices_without_bias():
    weights, rank = exact.solve(X, T, bias=False)
    np.testing.assert_allclose(weights["weight"], [[0, 1.5, 5]], atol=1e-9)
    assert set(weights) == {"weight"}
    assert rank == 3


def test_house_prices_with_bias_have_many_solutions():
    weights, rank = exact.solve(X, T, bias=True)
    assert rank == 3
    columns = np.column_stack([X, np.ones(3)])
    solution = np.append(weights["weight"][0], weights["bias"])
    np.testing.assert_allclose(columns @ solution, T, atol=1e-9)
    # Of minimum norm: it has no part in the direction that changes no prediction.
    np.testing.assert_allclose(solution, np.linalg.pinv(columns) @ T, atol=1e-8)
    assert np.linalg.norm(solution) < np.linalg.norm([0, 1.5, 5, 0])


@pytest.mark.parametrize("bias", [False, True])
def test_diabetes(bias):
    x, t = load_diabetes(return_X_y=True, scaled=False)
    weights, rank = exact.solve(x, t, bias=bias)
    columns = np.column_stack([x, np.ones(len(x))]) if bias else x
    expected = np.linalg.lstsq(columns, t, rcond=None)[0]
    found = np.append(weights["weight"][0], weights.get("bias", []))
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    assert rank == columns.shape[1]
    oracle = LinearRegression(fit_intercept=bias).fit(x, t)
    np.testing.assert_allclose(weights["weight"][0], oracle.coef_, rtol=1e-7)


def test_a_column_that_stands_twice():
    x = np.column_stack([X[:, 1], X[:, 1]])
    weights, rank = exact.solve(x, T, bias=False)
    assert rank == 1
    assert weights["weight"][0][0] == pytest.approx(weights["weight"][0][1])


@pytest.mark.parametrize("bias", [False, True])
def test_several_targets(bias):
    x, t = load_diabetes(return_X_y=True, scaled=False)
    targets = np.column_stack([t, x[:, 0] ** 2, t - 1])
    weights, _ = exact.solve(x, targets, bias=bias)
    assert weights["weight"].shape == (3, 10)
    for index in range(3):
        alone, _ = exact.solve(x, targets[:, index], bias=bias)
        np.testing.assert_allclose(weights["weight"][index], alone["weight"][0], rtol=1e-9)
        if bias:
            np.testing.assert_allclose(weights["bias"][index], alone["bias"][0], rtol=1e-9)


@pytest.mark.parametrize("bias", [False, True])
def test_many_rows_are_folded_in_parts(bias, monkeypatch):
    """With parts of 37 rows, the last of them narrower than the columns are many, and a column that stands twice."""
    x, t = load_diabetes(return_X_y=True, scaled=False)
    x = np.column_stack([x, x[:, 2]]).astype(np.float32)
    whole, rank = exact.solve(x[:412], t[:412], bias=bias)
    monkeypatch.setattr(exact, "ROWS_AT_ONCE", 37)
    parts, rank_of_parts = exact.solve(x[:412], t[:412], bias=bias)
    assert rank == rank_of_parts == 10 + bias
    for name, weight in whole.items():
        np.testing.assert_allclose(parts[name], weight, rtol=1e-8)
