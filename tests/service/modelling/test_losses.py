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


def huber(y, t):
    e = np.abs(y - t)
    return np.where(e < 0.5, e**2 / 2, 0.5 * (e - 0.25))


def gaussian_nll(y, t):
    v = np.maximum(np.exp(y[:, 2:]), 1e-6)
    return (np.log(v) + (y[:, :2] - t) ** 2 / v) / 2


def weighted_bce(y, t):
    p = 1 / (1 + np.exp(-y[:, 0]))
    return -(3 * t * np.log(p) + (1 - t) * np.log(1 - p))


def smoothed(y, t):
    """The target of a row is 0.7 for its class, plus 0.3 / 4 for every class."""
    target = 0.7 * np.eye(4)[t] + 0.3 / 4
    return -(target * np.log(np.exp(y) / np.exp(y).sum(1, keepdims=True))).sum(1)


FORMULAS = {
    "mse": ("regression", Y, NUMBERS, lambda y, t: (y[:, 0] - t) ** 2),
    "mae": ("regression", Y, NUMBERS, lambda y, t: np.abs(y[:, 0] - t)),
    "bce": ("binary", Y, BITS, bce),
    "crossEntropy": ("multiclass", LOGITS, CODES, cross_entropy),
}


PAIRS = DRAW.standard_normal((50, 2))
# Some of the told variances are below the smallest one.
TOLD = np.column_stack([DRAW.standard_normal((50, 2)), DRAW.uniform(-20, 3, (50, 2))])
WIDER = {
    "mse of two": ("regression", Y[:, [0, 0]], PAIRS, {"mse": {}}, lambda y, t: (y - t) ** 2),
    "huber": ("regression", Y[:, [0, 0]], PAIRS, {"huber": {"delta": 0.5}}, huber),
    "gaussian_nll": ("regression", TOLD, PAIRS, {"gaussianNll": {}}, gaussian_nll),
    "bce": ("binary", Y, BITS, {"bce": {"positiveWeight": 3}}, weighted_bce),
    "smoothing": ("multiclass", LOGITS, CODES, {"crossEntropy": {"labelSmoothing": 0.3}}, smoothed),
}


def loss_of(spec, reduction="MEAN"):
    ((kind, fields),) = spec.items()
    return spec_of({"loss": {kind: fields | {"reduction": reduction}}}).loss


@pytest.mark.parametrize("kind", WIDER)
@pytest.mark.parametrize("reduction", ["MEAN", "SUM"])
def test_wider_losses_against_their_formulas(kind, reduction):
    task, y, t, spec, formula = WIDER[kind]
    loss = losses.build_loss(loss_of(spec, reduction))
    targets = losses.target_tensor(task, t, torch.float64)
    parts = formula(y, t)
    expected = parts.mean() if reduction == "MEAN" else parts.sum()
    assert float(loss(torch.from_numpy(y), targets)) == pytest.approx(expected, rel=1e-12)
    assert loss.denominator(targets) == (50 if reduction == "MEAN" else 1)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_factors_of_classes(smoothing):
    spec = {"crossEntropy": {"classWeights": {"weights": {"b": 5.0, "d": 0.5}}, "labelSmoothing": smoothing}}
    factors = np.array([1, 5, 1, 0.5])[CODES]
    rows = smoothed(LOGITS, CODES) if smoothing else cross_entropy(LOGITS, CODES)
    y, t = torch.from_numpy(LOGITS), torch.from_numpy(CODES)
    loss = losses.build_loss(loss_of(spec), "abcd")
    assert float(loss(y, t)) == pytest.approx((factors * rows).sum() / factors.sum(), rel=1e-12)
    assert float(loss.denominator(t)) == pytest.approx(factors.sum(), rel=1e-12)
    total = losses.build_loss(loss_of(spec, "SUM"), "abcd")
    assert float(total(y, t)) == pytest.approx((factors * rows).sum(), rel=1e-12)
    assert total.denominator(t) == 1
    if not smoothing:
        weight = torch.tensor([1, 5, 1, 0.5], dtype=torch.float64)
        assert float(loss(y, t)) == pytest.approx(float(torch.nn.CrossEntropyLoss(weight)(y, t)), rel=1e-12)
    assert loss(y.float(), t).dtype == torch.float32


def test_balanced_factors_are_written_down():
    spec = loss_of({"crossEntropy": {"classWeights": {"balanced": True}, "labelSmoothing": 0.1}})
    codes = np.array([0, 0, 0, 0, 0, 0, 2, 2])
    written = losses.balanced(spec, codes, ("a", "b", "c")).cross_entropy
    assert dict(written.class_weights.weights) == pytest.approx({"a": 8 / (3 * 6), "c": 8 / (3 * 2)}, rel=1e-15)
    assert not written.class_weights.balanced
    assert written.label_smoothing == 0.1
    assert spec.cross_entropy.class_weights.balanced, "the spec that was given stays"
    for other in (loss_of({"mse": {}}), spec_of({}).loss):
        assert losses.balanced(other, codes, ()) == other


def test_gradient_of_gaussian_nll():
    """The outputs' gradient is that of the formula, also where the variance is at its smallest."""
    t = torch.from_numpy(PAIRS[:8])
    logs = torch.tensor([-20.0, -14, -13, -8, -1, 0, 1, 3], dtype=torch.float64).repeat(2, 1).T
    y = torch.cat([t + 1e-3, logs], 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda outputs: losses.build_loss(loss_of({"gaussianNll": {}}))(outputs, t), [y])


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
