"""Optimizers: how a step follows from the gradient."""

from collections.abc import Iterable
from typing import assert_never

import torch
from torch import Tensor

from traind.v1 import optimizers_pb2


def build_optimizer(optimizer: optimizers_pb2.Optimizer, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """The optimizer of a resolved spec; fused where PyTorch can: one kernel for all parameters at once."""
    kind = optimizer.WhichOneof("kind")
    match kind:
        case "gradient_descent":
            return torch.optim.SGD(parameters, lr=optimizer.gradient_descent.lr, fused=True)
        case "sgd":
            return _sgd(optimizer.sgd, parameters)
        case "adam":
            return _adam(torch.optim.Adam, optimizer.adam, parameters)
        case "adamw":
            return _adam(torch.optim.AdamW, optimizer.adamw, parameters)
        case "adagrad":
            adagrad = optimizer.adagrad
            return torch.optim.Adagrad(
                parameters, lr=adagrad.lr, eps=adagrad.eps, weight_decay=adagrad.weight_decay, fused=True
            )
        case "rmsprop":
            return _rmsprop(optimizer.rmsprop, parameters)
        case "lbfgs":
            lbfgs = optimizer.lbfgs
            return torch.optim.LBFGS(
                parameters,
                lr=lbfgs.lr,
                max_iter=lbfgs.max_iterations,
                history_size=lbfgs.history_size,
                line_search_fn="strong_wolfe",
            )
        case None:
            raise AssertionError("the contract requires a kind of optimizer")
        case _:
            assert_never(kind)


def _sgd(sgd: optimizers_pb2.Sgd, parameters: Iterable[Tensor]) -> torch.optim.SGD:
    return torch.optim.SGD(
        parameters,
        lr=sgd.lr,
        momentum=sgd.momentum,
        nesterov=sgd.nesterov,
        weight_decay=sgd.weight_decay,
        fused=True,
    )


def _adam(
    make: type[torch.optim.Adam], adam: optimizers_pb2.Adam | optimizers_pb2.Adamw, parameters: Iterable[Tensor]
) -> torch.optim.Adam:
    return make(
        parameters,
        lr=adam.lr,
        betas=(adam.beta1, adam.beta2),
        eps=adam.eps,
        weight_decay=adam.weight_decay,
        fused=True,
    )


def _rmsprop(rmsprop: optimizers_pb2.Rmsprop, parameters: Iterable[Tensor]) -> torch.optim.RMSprop:
    return torch.optim.RMSprop(
        parameters,
        lr=rmsprop.lr,
        alpha=rmsprop.alpha,
        eps=rmsprop.eps,
        momentum=rmsprop.momentum,
        centered=rmsprop.centered,
        weight_decay=rmsprop.weight_decay,
    )


def learning_rate(optimizer: optimizers_pb2.Optimizer) -> float:
    """The rate of a resolved optimizer, before any schedule."""
    kind = optimizer.WhichOneof("kind")
    assert kind is not None
    rate: float = getattr(optimizer, kind).lr
    return rate


def full_batch(optimizer: optimizers_pb2.Optimizer) -> bool:
    """Whether it takes all rows in every step."""
    return optimizer.WhichOneof("kind") in {"gradient_descent", "lbfgs"}
