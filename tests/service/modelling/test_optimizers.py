"""Each optimizer against its published rule, written in NumPy, over ten steps of float64."""

import numpy as np
import pytest
import torch

from service.modelling import optimizers
from tests.service.modelling.cases import spec_of
from traind.v1 import optimizers_pb2

STEPS = 10
GRADIENTS = np.random.default_rng(5).standard_normal((STEPS, 3, 2))
START = np.random.default_rng(6).standard_normal((3, 2))


def optimizer_of(spec):
    return spec_of({"learn": {"gradient": {"optimizer": spec}}}).learn.gradient.optimizer


def ours(spec):
    weight = torch.nn.Parameter(torch.from_numpy(START.copy()))
    optimizer = optimizers.build_optimizer(optimizer_of(spec), [weight])
    for gradient in GRADIENTS:
        optimizer.zero_grad()
        weight.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
    return weight.detach().numpy()


def sgd(lr, momentum=0.0, decay=0.0, nesterov=False):
    w, v = START.copy(), None
    for gradient in GRADIENTS:
        g = gradient + decay * w
        if momentum:
            v = g.copy() if v is None else momentum * v + g
            g = g + momentum * v if nesterov else v
        w = w - lr * g
    return w


def adam(lr, beta1, beta2, eps, decay=0.0):
    w, m, v = START.copy(), np.zeros_like(START), np.zeros_like(START)
    for step, gradient in enumerate(GRADIENTS, 1):
        g = gradient + decay * w
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        w = w - lr * (m / (1 - beta1**step)) / (np.sqrt(v / (1 - beta2**step)) + eps)
    return w


def adamw(lr, beta1, beta2, eps, decay):
    w, m, v = START.copy(), np.zeros_like(START), np.zeros_like(START)
    for step, g in enumerate(GRADIENTS, 1):
        w = w * (1 - lr * decay)
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        w = w - lr * (m / (1 - beta1**step)) / (np.sqrt(v / (1 - beta2**step)) + eps)
    return w


def adagrad(lr, eps, decay=0.0):
    w, total = START.copy(), np.zeros_like(START)
    for gradient in GRADIENTS:
        g = gradient + decay * w
        total = total + g * g
        w = w - lr * g / (np.sqrt(total) + eps)
    return w


def rmsprop(lr, alpha, eps, momentum=0.0, centered=False, decay=0.0):
    w, v, mean, step = START.copy(), np.zeros_like(START), np.zeros_like(START), np.zeros_like(START)
    for gradient in GRADIENTS:
        g = gradient + decay * w
        v, mean = alpha * v + (1 - alpha) * g * g, alpha * mean + (1 - alpha) * g
        root = np.sqrt(v - mean**2 if centered else v) + eps
        step = momentum * step + g / root
        w = w - lr * step
    return w


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"gradientDescent": {"lr": 0.3}}, sgd(0.3)),
        ({"sgd": {"lr": 0.1}}, sgd(0.1)),
        ({"sgd": {"lr": 0.1, "momentum": 0.9}}, sgd(0.1, 0.9)),
        ({"sgd": {"lr": 0.1, "momentum": 0.9, "nesterov": True}}, sgd(0.1, 0.9, nesterov=True)),
        ({"sgd": {"lr": 0.1, "weightDecay": 0.2}}, sgd(0.1, decay=0.2)),
        ({"adam": {"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}}, adam(0.1, 0.9, 0.999, 1e-8)),
        ({"adam": {"lr": 0.1, "beta1": 0.5, "beta2": 0.7, "eps": 0.1}}, adam(0.1, 0.5, 0.7, 0.1)),
        (
            {"adam": {"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weightDecay": 0.3}},
            adam(0.1, 0.9, 0.999, 1e-8, 0.3),
        ),
        (
            {"adamw": {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weightDecay": 0.3}},
            adamw(0.1, 0.9, 0.99, 1e-8, 0.3),
        ),
        ({"adagrad": {"lr": 0.1, "eps": 1e-10}}, adagrad(0.1, 1e-10)),
        ({"adagrad": {"lr": 0.1, "eps": 0.2, "weightDecay": 0.3}}, adagrad(0.1, 0.2, 0.3)),
        ({"rmsprop": {"lr": 0.1, "alpha": 0.9, "eps": 1e-8}}, rmsprop(0.1, 0.9, 1e-8)),
        (
            {"rmsprop": {"lr": 0.1, "alpha": 0.9, "eps": 0.1, "momentum": 0.5, "centered": True, "weightDecay": 0.3}},
            rmsprop(0.1, 0.9, 0.1, 0.5, centered=True, decay=0.3),
        ),
    ],
)
def test_against_its_rule(spec, expected):
    np.testing.assert_allclose(ours(spec), expected, rtol=0, atol=1e-12)


def test_every_kind_is_built():
    for field in optimizers_pb2.Optimizer.DESCRIPTOR.oneofs_by_name["kind"].fields:
        more = {"maxIterations": 3, "historySize": 2} if field.name == "lbfgs" else {}
        spec = optimizer_of({field.json_name: {"lr": 0.5} | more})
        assert optimizers.build_optimizer(spec, [torch.nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"] == 0.5
        assert optimizers.learning_rate(spec) == 0.5


def test_lbfgs_finds_the_bottom_of_a_bowl():
    """In a bowl of two dimensions the line search and two remembered steps are enough."""
    spec = optimizer_of({"lbfgs": {"lr": 1.0, "maxIterations": 20, "historySize": 10}})
    weight = torch.nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))
    optimizer = optimizers.build_optimizer(spec, [weight])

    def closure():
        optimizer.zero_grad()
        loss = (weight - torch.tensor([1.0, 5.0])).square() @ torch.tensor([1.0, 50.0], dtype=torch.float64)
        loss.backward()
        return loss

    assert float(optimizer.step(closure).detach()) == pytest.approx(4 + 50 * 49)
    np.testing.assert_allclose(weight.detach().numpy(), [1, 5], atol=1e-6)


def test_which_take_all_rows():
    kinds = [field.name for field in optimizers_pb2.Optimizer.DESCRIPTOR.oneofs_by_name["kind"].fields]
    full = [name for name in kinds if optimizers.full_batch(optimizers_pb2.Optimizer(**{name: {}}))]
    assert full == ["gradient_descent", "lbfgs"]
