"""Optimizers: how a step follows from the gradient."""

from collections.abc import Iterable
from typing import assert_never

import torch
from torch import Tensor

from traind.v1 import optimizers_pb2


def build_optimizer(optimizer: optimizers_pb2.Optimizer, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """The optimizer of a resolved spec, fused: one kernel for all parameters instead of several for each."""
    kind = optimizer.WhichOneof("kind")
    match kind:
        case "gradient_descent":
            return torch.optim.SGD(parameters, lr=optimizer.gradient_descent.lr, fused=True)
        case "sgd":
            sgd = optimizer.sgd
            return torch.optim.SGD(
                parameters,
                lr=sgd.lr,
                momentum=sgd.momentum,
                nesterov=sgd.nesterov,
                weight_decay=sgd.weight_decay,
                fused=True,
            )
        case "adam":
            adam = optimizer.adam
            return torch.optim.Adam(
                parameters,
                lr=adam.lr,
                betas=(adam.beta1, adam.beta2),
                eps=adam.eps,
                weight_decay=adam.weight_decay,
                fused=True,
            )
        case None:
            raise AssertionError("the contract requires a kind of optimizer")
        case _:
            assert_never(kind)


def learning_rate(optimizer: optimizers_pb2.Optimizer) -> float:
    """The rate of a resolved optimizer."""
    kind = optimizer.WhichOneof("kind")
    match kind:
        case "gradient_descent":
            return optimizer.gradient_descent.lr
        case "sgd":
            return optimizer.sgd.lr
        case "adam":
            return optimizer.adam.lr
        case None:
            raise AssertionError("the contract requires a kind of optimizer")
        case _:
            assert_never(kind)
