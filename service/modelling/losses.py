"""Losses: what is minimised, from the network's outputs and the targets."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from service.modelling.networks import Task
from traind.v1 import losses_pb2

# The smallest variance that gaussian_nll believes in, as its logarithm.
SMALLEST_LOG_VARIANCE = math.log(1e-6)


@dataclass(frozen=True)
class LossFunction:
    """loss(outputs [rows, outputs], targets as `target_tensor` makes them) -> []."""

    compute: Callable[[Tensor, Tensor], Tensor]
    # Whether it is a mean over rows (and targets), and not a sum.
    mean: bool = True
    # Of cross-entropy: the factor of each class's rows, float64 [classes]; None = 1 for all.
    factors: Tensor | None = None

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of some rows, []."""
        return self.compute(outputs, targets)

    def denominator(self, targets: Tensor) -> Tensor | int:
        """What the loss of rows with these targets was divided by: 1 for a sum; several targets count as one row.

        So the loss of all rows is the sum of each batch's loss * denominator, over the sum of the denominators; it is
        the same to rounding whatever the batches are.
        """
        if not self.mean:
            return 1
        if self.factors is None:
            return len(targets)
        return self.factors.to(targets.device)[targets].sum()  # [], float64


def build_loss(loss: losses_pb2.Loss, classes: Sequence[str] = ()) -> LossFunction:
    """The function of a resolved loss. `classes`: names in the order of their codes, where class weights have names."""
    kind = loss.WhichOneof("kind")
    how = reduction_of(loss)
    mean = how == "mean"
    match kind:
        case "mse":
            return LossFunction(lambda outputs, targets: functional.mse_loss(outputs, targets, reduction=how), mean)
        case "mae":
            return LossFunction(lambda outputs, targets: functional.l1_loss(outputs, targets, reduction=how), mean)
        case "huber":
            delta = loss.huber.delta
            return LossFunction(
                lambda outputs, targets: functional.huber_loss(outputs, targets, reduction=how, delta=delta), mean
            )
        case "gaussian_nll":
            return LossFunction(_gaussian_nll_mean if mean else _gaussian_nll_sum, mean)
        case "bce":
            return LossFunction(_bce(loss.bce, how), mean)
        case "cross_entropy":
            return _cross_entropy(loss.cross_entropy, how, classes)
        case None:
            return LossFunction(_error_rate)
        case _:
            assert_never(kind)


def _gaussian_nll(outputs: Tensor, targets: Tensor) -> Tensor:
    """(ln v + (y - t)^2 / v) / 2 of each target [rows, targets]: outputs are all means, then all ln v."""
    means, log_variances = outputs.chunk(2, dim=1)
    log_variances = log_variances.clamp(min=SMALLEST_LOG_VARIANCE)
    return (log_variances + (means - targets).square() * torch.exp(-log_variances)) / 2


def _gaussian_nll_mean(outputs: Tensor, targets: Tensor) -> Tensor:
    return _gaussian_nll(outputs, targets).mean()


def _gaussian_nll_sum(outputs: Tensor, targets: Tensor) -> Tensor:
    return _gaussian_nll(outputs, targets).sum()


def _bce(bce: losses_pb2.Bce, how: Literal["mean", "sum"]) -> Callable[[Tensor, Tensor], Tensor]:
    # A number without dimensions does not change the type of what it is multiplied with.
    factor = torch.tensor(bce.positive_weight) if bce.HasField("positive_weight") and bce.positive_weight != 1 else None
    return lambda outputs, targets: functional.binary_cross_entropy_with_logits(
        outputs, targets, reduction=how, pos_weight=factor
    )


def _cross_entropy(spec: losses_pb2.CrossEntropy, how: Literal["mean", "sum"], classes: Sequence[str]) -> LossFunction:
    smoothing = spec.label_smoothing
    if not spec.class_weights.weights:
        return LossFunction(
            lambda outputs, targets: functional.cross_entropy(
                outputs, targets, reduction=how, label_smoothing=smoothing
            ),
            how == "mean",
        )
    weights = spec.class_weights.weights
    factors = torch.tensor([weights.get(name, 1.0) for name in classes], dtype=torch.float64)

    def weighted(outputs: Tensor, targets: Tensor) -> Tensor:
        # PyTorch's own `weight` gives the smoothed part of a row the factors of all classes, not the one of its class.
        of_rows = functional.cross_entropy(outputs, targets, reduction="none", label_smoothing=smoothing)  # [rows]
        of_rows_factors = factors.to(outputs)[targets]  # [rows]
        total = of_rows_factors @ of_rows
        return total / of_rows_factors.sum() if how == "mean" else total

    return LossFunction(weighted, how == "mean", factors)


def _error_rate(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of wrong rows: what stands in for a loss where outputs are classes, 0 or 1, and nothing has a gradient."""
    return (outputs != targets).to(outputs.dtype).mean()


def balanced(loss: losses_pb2.Loss, codes: np.ndarray, classes: Sequence[str]) -> losses_pb2.Loss:
    """The loss with `class_weights.balanced` written as weights, from the codes int64 [rows] of the training rows.

    A class that no training row has keeps the factor 1. Another loss comes back as it is.
    """
    if not loss.cross_entropy.class_weights.balanced:
        return loss
    counts = np.bincount(codes, minlength=len(classes))  # [classes]
    written = losses_pb2.Loss()
    written.CopyFrom(loss)
    weights = written.cross_entropy.class_weights
    weights.balanced = False
    for name, count in zip(classes, counts.tolist(), strict=True):
        if count:
            weights.weights[name] = len(codes) / (len(classes) * count)
    return written


def reduction_of(loss: losses_pb2.Loss) -> Literal["mean", "sum"]:
    """How the rows' losses become one figure."""
    kind = loss.WhichOneof("kind")
    if kind is None:
        return "mean"
    return "sum" if getattr(loss, kind).reduction == losses_pb2.Loss.SUM else "mean"


def target_tensor(task: Task, values: np.ndarray, dtype: torch.dtype) -> Tensor:
    """Targets in the form that the losses of a task take: numbers and bits [rows, targets], class codes int64 [rows].

    `values`: numbers [rows, targets] or [rows], codes [rows].
    """
    if task == "multiclass":
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64))
    numbers = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64)).to(dtype)
    return numbers.unsqueeze(1) if numbers.ndim == 1 else numbers
