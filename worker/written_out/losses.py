"""Losses and their gradients by the outputs, for batches of one size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor

from service.modelling.losses import SMALLEST_LOG_VARIANCE, reduction_of
from traind.v1 import losses_pb2

# (targets of a batch, as the loop has them) -> the loss [] of the outputs that lie in the buffer; fills the gradient.
BoundLoss = Callable[[Tensor], Tensor]

# Above this softplus(x) is x to the last bit of a float64.
_STRAIGHT = 50


@dataclass(frozen=True)
class Ends:
    """Where the backward pass begins: what the network put out, and the loss's gradient by it."""

    outputs: Tensor  # [rows, outputs]
    gradient: Tensor  # [rows, outputs]
    gradient_t: Tensor  # [outputs, rows]

    def scratch(self) -> Tensor:
        """Another buffer of this shape."""
        return torch.empty_like(self.outputs)

    def number(self, value: float) -> Tensor:
        """A factor as a tensor []: quicker than a number of Python, which torch would make one of at each call."""
        return torch.tensor(value, dtype=self.outputs.dtype, device=self.outputs.device)


def bind_loss(loss: losses_pb2.Loss, classes: Sequence[str], ends: Ends) -> BoundLoss:
    """The loss of a resolved spec over buffers. `classes` in the order of their codes; empty for numbers."""
    kind = loss.WhichOneof("kind")
    mean = reduction_of(loss) == "mean"
    share = 1 / max(ends.outputs.numel(), 1) if mean else 1.0  # of an output in the loss
    match kind:
        case "mse":
            return _mse(ends, share)
        case "mae":
            return _mae(ends, share)
        case "huber":
            return _huber(ends, share, loss.huber.delta)
        case "bce":
            positive = loss.bce.positive_weight if loss.bce.HasField("positive_weight") else 1.0
            return _bce(ends, share, positive)
        case "cross_entropy":
            weights = loss.cross_entropy.class_weights
            assert not weights.balanced, "the trainer writes them by name, from the training rows"
            factors = [weights.weights.get(name, 1.0) for name in classes] if weights.weights else None
            return _cross_entropy(ends, factors, loss.cross_entropy.label_smoothing, mean=mean)
        case "gaussian_nll":
            return _gaussian_nll(ends, 2 * share if mean else 1.0)
        case None:
            raise AssertionError("a spec that descends a gradient has a loss")
        case _:
            assert_never(kind)


def _mse(ends: Ends, share: float) -> BoundLoss:
    outputs, gradient, flat = ends.outputs, ends.gradient, ends.gradient.view(-1)
    weight, slope = ends.number(share), ends.number(2 * share)

    def bound(targets: Tensor) -> Tensor:
        torch.sub(outputs, targets, out=gradient)
        loss = torch.dot(flat, flat).mul_(weight)
        gradient.mul_(slope)
        return loss

    return bound


def _mae(ends: Ends, share: float) -> BoundLoss:
    outputs, gradient, sizes = ends.outputs, ends.gradient, ends.scratch()
    shares = torch.full_like(sizes, share).view(-1)
    weight, flat = ends.number(share), sizes.view(-1)

    def bound(targets: Tensor) -> Tensor:
        torch.sub(outputs, targets, out=gradient)
        torch.abs(gradient, out=sizes)
        torch.sign(gradient, out=gradient)
        gradient.mul_(weight)
        return torch.dot(flat, shares)

    return bound


def _huber(ends: Ends, share: float, delta: float) -> BoundLoss:
    outputs, gradient, sizes = ends.outputs, ends.gradient, ends.scratch()
    weight, flat, pull = ends.number(share), sizes.view(-1), gradient.view(-1)

    def bound(targets: Tensor) -> Tensor:
        torch.sub(outputs, targets, out=sizes)
        torch.clamp(sizes, -delta, delta, out=gradient)
        sizes.sub_(gradient, alpha=0.5)
        loss = torch.dot(pull, flat).mul_(weight)  # c (d - c / 2), c = d kept in +- delta: both branches in one
        gradient.mul_(weight)
        return loss

    return bound


def _bce(ends: Ends, share: float, positive: float) -> BoundLoss:
    """softplus(u), u = (1 - 2 t) z: exact at both ends, where t ln p + (1 - t) ln(1 - p) would cancel."""
    outputs, gradient = ends.outputs, ends.gradient
    wrong, losses, slopes, weights = (ends.scratch() for _ in range(4))
    weights.fill_(share)
    flat, flat_weights, first = losses.view(-1), weights.view(-1), ends.number(share)
    softplus = torch._C._nn.softplus  # noqa: SLF001 - torch.nn.functional.softplus hides `out`

    def bound(targets: Tensor) -> Tensor:
        torch.addcmul(outputs, targets, outputs, value=-2, out=wrong)
        softplus(wrong, 1, _STRAIGHT, out=losses)  # type: ignore[call-arg] # torch leaves `out` out
        if positive != 1:
            torch.add(first, targets, alpha=(positive - 1) * share, out=weights)
        torch.add(first, targets, alpha=-(positive + 1) * share, out=slopes)  # share, and -positive share where t = 1
        torch.sigmoid(wrong, out=gradient)
        gradient.mul_(slopes)
        return torch.dot(flat, flat_weights)

    return bound


def _cross_entropy(ends: Ends, factors: Sequence[float] | None, smoothing: float, *, mean: bool) -> BoundLoss:
    """Of a row of class t, with smoothing e over C classes: f[t] (-(1 - e) ln p[t] - e/C sum ln p).

    Its gradient is f[t] (p - e/C, less 1 - e at t). A mean divides both by the sum of f[t].
    """
    outputs, gradient, log_p = ends.outputs, ends.gradient, ends.scratch()
    rows, count = outputs.shape
    of_class = None if factors is None else outputs.new_tensor(factors)  # [classes]
    shares = outputs.new_full((rows,), 1 / rows if mean else 1.0)  # [rows]; f[t] over what a mean divides by
    of_rows, total = shares.view(-1, 1), ends.number(1)
    right, spread = outputs.new_full((rows, 1), smoothing - 1), outputs.new_full((count,), smoothing / count)
    picked = outputs.new_empty(rows, 1)
    losses, pull = picked.view(-1), ends.number(smoothing - 1)

    def bound(targets: Tensor) -> Tensor:
        place = targets.view(-1, 1)
        torch.log_softmax(outputs, 1, out=log_p)
        torch.exp(log_p, out=gradient)
        gradient.scatter_add_(1, place, right)
        torch.gather(log_p, 1, place, out=picked)
        losses.mul_(pull)
        if smoothing:
            gradient.sub_(spread)
            torch.addmv(losses, log_p, spread, alpha=-1, out=losses)
        if of_class is not None:
            torch.index_select(of_class, 0, targets, out=shares)
            if mean:
                torch.sum(shares, 0, out=total)
                shares.div_(total)
        gradient.mul_(of_rows)
        return torch.dot(losses, shares)

    return bound


def _gaussian_nll(ends: Ends, share: float) -> BoundLoss:
    """(ln v + (y - t)^2 / v) / 2 with outputs y, s = ln v; where v is kept at its smallest value s has no gradient."""
    count = ends.outputs.shape[1] // 2
    means, logs = ends.outputs[:, :count], ends.outputs[:, count:]  # [rows, targets]
    by_mean, by_log = ends.gradient[:, :count], ends.gradient[:, count:]
    half, weight = ends.number(0.5), ends.number(share)

    def bound(targets: Tensor) -> Tensor:
        kept = torch.clamp(logs, min=SMALLEST_LOG_VARIANCE)  # ln v
        precision = torch.exp(-kept)  # 1 / v
        torch.sub(means, targets, out=by_mean)
        strain = by_mean.square().mul_(precision)  # (y - t)^2 / v
        by_mean.mul_(precision).mul_(weight)
        torch.sub(1, strain, out=by_log)
        by_log.mul_(half).mul_(weight).masked_fill_(logs < SMALLEST_LOG_VARIANCE, 0)
        return kept.add_(strain).sum().mul_(half).mul_(weight)

    return bound
