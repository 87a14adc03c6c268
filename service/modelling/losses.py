"""Losses: what is minimised, from the network's outputs and the targets."""

from collections.abc import Callable
from typing import Literal, assert_never

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from service.modelling.networks import Task
from traind.v1 import losses_pb2

# (outputs [rows, outputs], targets as `target_tensor` makes them) -> []
LossFunction = Callable[[Tensor, Tensor], Tensor]


def build_loss(loss: losses_pb2.Loss) -> LossFunction:
    """The function of a resolved loss."""
    kind = loss.WhichOneof("kind")
    reduction = reduction_of(loss)
    match kind:
        case "mse":
            return lambda outputs, targets: functional.mse_loss(outputs, targets, reduction=reduction)
        case "mae":
            return lambda outputs, targets: functional.l1_loss(outputs, targets, reduction=reduction)
        case "bce":
            return lambda outputs, targets: functional.binary_cross_entropy_with_logits(
                outputs, targets, reduction=reduction
            )
        case "cross_entropy":
            return lambda outputs, targets: functional.cross_entropy(outputs, targets, reduction=reduction)
        case None:
            return _error_rate
        case _:
            assert_never(kind)


def _error_rate(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of wrong rows: what stands in for a loss where outputs are classes, 0 or 1, and nothing has a gradient."""
    return (outputs != targets).to(outputs.dtype).mean()


def reduction_of(loss: losses_pb2.Loss) -> Literal["mean", "sum"]:
    """How the rows' losses become one figure."""
    kind = loss.WhichOneof("kind")
    match kind:
        case "mse":
            reduction = loss.mse.reduction
        case "mae":
            reduction = loss.mae.reduction
        case "bce":
            reduction = loss.bce.reduction
        case "cross_entropy":
            reduction = loss.cross_entropy.reduction
        case None:
            return "mean"
        case _:
            assert_never(kind)
    return "sum" if reduction == losses_pb2.Loss.SUM else "mean"


def target_tensor(task: Task, values: np.ndarray, dtype: torch.dtype) -> Tensor:
    """Targets in the form that the losses of a task take: numbers and bits [rows, 1], class codes int64 [rows]."""
    if task == "multiclass":
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64))
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64)).to(dtype).unsqueeze(1)
