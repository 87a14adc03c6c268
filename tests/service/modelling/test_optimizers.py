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
    ],
)
def test_against_its_rule(spec, expected):
    np.testing.assert_allclose(ours(spec), expected, rtol=0, atol=1e-12)


def test_every_kind_is_built():
    for field in optimizers_pb2.Optimizer.DESCRIPTOR.oneofs_by_name["kind"].fields:
        spec = optimizer_of({field.json_name: {"lr": 0.5}})
        assert optimizers.build_optimizer(spec, [torch.nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"] == 0.5
        assert optimizers.learning_rate(spec) == 0.5
