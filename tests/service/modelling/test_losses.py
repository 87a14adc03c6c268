"""Each loss against its formula in NumPy, and the lecture's weight tables."""

import numpy as np
import pytest
import torch

from service.modelling import losses
from tests.service.modelling.cases import HOUSES, WEIGHT_TABLES, spec_of

DRAW = np.random.default_rng(11)
Y = DRAW.standard_normal((50, 1)) * 3
NUMBERS = DRAW.standard_normal(50)
BITS = DRAW.integers(0, 2, 50)
LOGITS = DRAW.standard_normal((50, 4)) * 3
CODES = DRAW.integers(0, 4, 50)


def bce(y, t):
    p = 1 / (1 + np.exp(-y[:, 0]))
    return -(t * np.log(p) + (1 - t) * np.log(1 - p))


def cross_entropy(y, t):
    p = np.exp(y) / np.exp(y).sum(1, keepdims=True)
    return -np.log(p[np.arange(len(t)), t])


FORMULAS = {
    "mse": ("regression", Y, NUMBERS, lambda y, t: (y[:, 0] - t) ** 2),
    "mae": ("regression", Y, NUMBERS, lambda y, t: np.abs(y[:, 0] - t)),
    "bce": ("binary", Y, BITS, bce),
    "crossEntropy": ("multiclass", LOGITS, CODES, cross_entropy),
}


@pytest.mark.parametrize("kind", FORMULAS)
@pytest.mark.parametrize("reduction", ["MEAN", "SUM"])
def test_against_its_formula(kind, reduction):
    task, y, t, formula = FORMULAS[kind]
    loss = spec_of({"loss": {kind: {"reduction": reduction}}}).loss
    targets = losses.target_tensor(task, t, torch.float64)
    assert targets.shape == ((50,) if task == "multiclass" else (50, 1))
    rows = formula(y, t)
    expected = rows.mean() if reduction == "MEAN" else rows.sum()
    assert float(losses.build_loss(loss)(torch.from_numpy(y), targets)) == pytest.approx(expected, rel=1e-12)
    assert losses.reduction_of(loss) == reduction.lower()


@pytest.mark.parametrize(("weights", "bias", "predictions", "mae"), WEIGHT_TABLES)
def test_weight_tables_of_the_lecture(weights, bias, predictions, mae):
    rows = np.array([HOUSES[name] for name in ("area", "rooms", "station_km")]).T
    y = torch.from_numpy(rows @ np.array(weights) + (bias or 0)).unsqueeze(1)
    np.testing.assert_allclose(y[:, 0].numpy(), predictions, atol=1e-12)
    t = losses.target_tensor("regression", np.array(HOUSES["price"]), torch.float64)
    assert float(losses.build_loss(spec_of({"loss": {"mae": {}}}).loss)(y, t)) == pytest.approx(mae, abs=5e-5)


def test_sure_and_wrong_costs_much_and_is_finite():
    outputs, targets = torch.tensor([[1000.0]]), torch.tensor([[0.0]])
    assert float(losses.build_loss(spec_of({"loss": {"bce": {}}}).loss)(outputs, targets)) == 1000
    logits = torch.tensor([[1000.0, 0.0]])
    assert float(losses.build_loss(spec_of({"loss": {"crossEntropy": {}}}).loss)(logits, torch.tensor([1]))) == 1000


def test_a_perceptron_is_measured_by_its_share_of_errors():
    loss = losses.build_loss(spec_of({}).loss)
    outputs = torch.tensor([[1.0], [0.0], [1.0], [1.0]])
    targets = losses.target_tensor("binary", np.array([1, 0, 0, 1]), torch.float32)
    assert float(loss(outputs, targets)) == 0.25
