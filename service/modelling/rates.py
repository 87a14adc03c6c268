"""Learning rates: how large one may be, and what to propose instead of a bad one."""

import math

import numpy as np

from service.modelling import findings
from service.modelling.losses import reduction_of
from service.modelling.optimizers import learning_rate
from traind.v1 import specs_pb2, tables_pb2

# Multiplications for which the largest stable rate is worth knowing: about a second.
MOST_MULTIPLICATIONS = 4e9
# Share of the largest stable rate under which the descent is told to crawl.
CRAWL = 0.05
# Rows whose products are taken at once, so that no second copy of all rows is made.
ROWS_AT_ONCE = 65_536


def largest_stable_rate(spec: specs_pb2.TrainSpec, x: np.ndarray) -> float | None:
    """2 / (largest eigenvalue of the loss's Hessian) for features x [rows, inputs] of a resolved spec.

    Above it gradient descent on a linear network under mse diverges. None where the figure has no meaning (another
    network, loss or optimizer, momentum) or would cost too much.
    """
    if not _quadratic(spec) or len(x) * (x.shape[1] + 1) ** 2 > MOST_MULTIPLICATIONS:
        return None
    hessian = 2 * _products(x, bias=spec.network.linear.bias)  # [inputs, inputs], of a sum over all rows
    gradient = spec.learn.gradient
    if reduction_of(spec.loss) == "mean":
        hessian /= len(x) * len(spec.target)
    elif gradient.optimizer.WhichOneof("kind") == "sgd":
        hessian *= min(gradient.batch_size / len(x), 1)  # of a sum over a batch
    largest = float(np.linalg.eigvalsh(hessian)[-1]) + gradient.optimizer.sgd.weight_decay
    return 2 / largest if largest > 0 else None


def largest_loss(spec: specs_pb2.TrainSpec, t: np.ndarray) -> float:
    """The largest last loss of a resolved spec on targets t [rows, targets] or [rows] that is not taken for divergence.

    In 32 bits a descent that diverges comes to Inf. 64 bits hold numbers 10^269 times larger, and its epochs may be
    over before: there the border is that of 32 bits, and for large targets so many times the sum of their squares.
    """
    if spec.dtype != specs_pb2.TrainSpec.FLOAT64:
        return math.inf
    return float(np.finfo(np.float32).max) * max(float(np.vdot(t, t)), 1.0)


def crawl_finding(spec: specs_pb2.TrainSpec, x: np.ndarray) -> tables_pb2.Finding | None:
    """RATE_TOO_SMALL, where full-batch gradient descent is known to crawl."""
    optimizer = spec.learn.gradient.optimizer
    if optimizer.WhichOneof("kind") != "gradient_descent":
        return None
    largest = largest_stable_rate(spec, x)
    lr = learning_rate(optimizer)
    return findings.rate_too_small(lr, largest / 2, largest) if largest and lr < CRAWL * largest else None


def diverged_finding(
    spec: specs_pb2.TrainSpec, x: np.ndarray, epoch: int, loss: float | None = None
) -> tables_pb2.Finding:
    """DIVERGED in `epoch`, to `loss` where that is a number.

    Half of the largest stable rate is proposed where that is known and smaller, else lr/10.
    """
    lr = learning_rate(spec.learn.gradient.optimizer)
    largest = largest_stable_rate(spec, x)
    proposed = largest / 2 if largest and largest / 2 < lr else lr / 10
    return findings.diverged(epoch, lr, proposed, largest, loss)


def _products(x: np.ndarray, *, bias: bool) -> np.ndarray:
    """Sums of products of each two columns [inputs, inputs], with a bias a column of ones more; few rows at a time."""
    inputs = x.shape[1] + bias
    products = np.zeros((inputs, inputs))
    for start in range(0, len(x), ROWS_AT_ONCE):
        part = np.asarray(x[start : start + ROWS_AT_ONCE], np.float64)
        columns = np.column_stack([part, np.ones(len(part))]) if bias else part
        products += columns.T @ columns
    return products


def _quadratic(spec: specs_pb2.TrainSpec) -> bool:
    """Whether the loss is a bowl whose steepness one number tells, and nothing holds steps back that are too long."""
    gradient = spec.learn.gradient
    if gradient.HasField("clip") or any(group.encode.HasField("embedding") for group in spec.preprocess.groups):
        return False
    if spec.network.WhichOneof("kind") != "linear" or spec.loss.WhichOneof("kind") != "mse":
        return False
    optimizer = gradient.optimizer
    kind = optimizer.WhichOneof("kind")
    return kind == "gradient_descent" or (kind == "sgd" and not optimizer.sgd.momentum)
