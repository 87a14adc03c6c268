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
