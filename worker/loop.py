"""The gradient loop, top to bottom on one page. It knows no database: it yields a record after each epoch."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from service.modelling.losses import LossFunction, target_tensor
from service.modelling.networks import Task, TraindNetwork
from worker.checkpoints import LearnState

# Held-out rows that are measured at once.
ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Rows:
    """Rows in contiguous tensors, on the device and in the dtype of the network."""

    x: Tensor  # [rows, inputs]
    t: Tensor  # numbers and bits [rows, 1], class codes int64 [rows]

    @classmethod
    def make(cls, x: np.ndarray, t: np.ndarray, task: Task, dtype: torch.dtype, device: str) -> "Rows":
        """Rows of arrays: float64 features [rows, inputs], numbers or class codes [rows]."""
        return cls(torch.from_numpy(x).to(device, dtype), target_tensor(task, t, dtype).to(device))


@dataclass(frozen=True)
class EpochRecord:
    """The figures of one epoch: (name, split) -> value, for instance ("train_loss", "train")."""

    epoch: int
    metrics: dict[tuple[str, str], float]


@dataclass(frozen=True)
class Plan:
    """How to learn, from the resolved spec."""

    loss: LossFunction
    # Whether the loss is a mean over its rows, and not a sum.
    mean: bool
    # Whether the targets are classes, so that accuracy is measured too.
    classes: bool
    epochs: int
    batch_size: int
    # Keep the weights of the epoch with the smallest `val_loss`, and not those of the last.
    keep_best: bool


def descend(
    state: LearnState, plan: Plan, train: Rows, held_out: Rows | None, stop: Callable[[], bool]
) -> Iterator[EpochRecord]:
    """Descend the loss's gradient from where `state` stands, and yield a record after each epoch.

    `train_loss` is the running loss: of each batch before its step, averaged over the epoch's rows (summed, where the
    loss is a sum); with all rows in one batch it is the loss before the epoch's only step. `val_loss` and
    `val_accuracy` are measured after the epoch. While a record is being looked at, `state` stands at its epoch's end.

    `stop` is asked before each batch; when it is true the loop ends, and the epoch that was begun is lost. Once a
    figure is Inf or NaN the loop goes on until the loss is NaN, at most to twice that epoch, so that the history holds
    what came of it.
    """
    network, optimizer, rows = state.network, state.optimizer, len(train.x)
    assert optimizer is not None
    while state.epoch < plan.epochs and not diverged(state):
        network.train()
        x, t = train.x, train.t  # [rows, inputs], [rows, 1] or [rows]
        if plan.batch_size < rows:
            permutation = torch.randperm(rows, generator=state.order).to(x.device)  # [rows]
            x, t = x.index_select(0, permutation), t.index_select(0, permutation)
        loss_sum = torch.zeros((), dtype=torch.float64, device=x.device)
        for start in range(0, rows, plan.batch_size):
            if stop():
                return
            x_batch = x[start : start + plan.batch_size]  # [batch, inputs]
            t_batch = t[start : start + plan.batch_size]  # [batch, 1] or [batch]
            optimizer.zero_grad(set_to_none=True)
            loss = plan.loss(network(x_batch), t_batch)  # []
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
            optimizer.step()
            loss_sum.add_(loss.detach(), alpha=len(x_batch) if plan.mean else 1)  # summed on the device ...
        train_loss = float(loss_sum) / (rows if plan.mean else 1)  # ... and read once
        metrics = {("train_loss", "train"): train_loss}
        if held_out is not None:
            metrics |= measure(network, plan, held_out)

        state.epoch += 1
        state.last_loss = train_loss
        if not state.first_bad_epoch and not all(map(math.isfinite, metrics.values())):
            state.first_bad_epoch = state.epoch
        if not plan.keep_best or held_out is None:
            state.best_epoch = state.epoch
        elif metrics["val_loss", "val"] < state.best_value:
            state.keep(metrics["val_loss", "val"])
        yield EpochRecord(state.epoch, metrics)


def diverged(state: LearnState) -> bool:
    """Whether a figure was Inf or NaN and nothing more is to be seen."""
    bad = state.first_bad_epoch
    return bad > 0 and (math.isnan(state.last_loss) or state.epoch >= 2 * bad)


def measure(network: TraindNetwork, plan: Plan, held_out: Rows) -> dict[tuple[str, str], float]:
    """`val_loss`, and for classes `val_accuracy`, of the network as it is."""
    network.eval()
    rows = len(held_out.x)
    sums = torch.zeros(2, dtype=torch.float64, device=held_out.x.device)  # loss, right answers
    with torch.inference_mode():
        for x, t in zip(torch.split(held_out.x, ROWS_AT_ONCE), torch.split(held_out.t, ROWS_AT_ONCE), strict=True):
            outputs = network(x)  # [part, outputs]
            sums[0] += plan.loss(outputs, t) * (len(x) if plan.mean else 1)
            if plan.classes:
                chosen = (outputs > 0).to(t.dtype) if outputs.shape[1] == 1 else outputs.argmax(1)  # as t
                sums[1] += (chosen == t).sum()
    loss_sum, right = sums.tolist()
    figures = {("val_loss", "val"): loss_sum / (rows if plan.mean else 1)}
    return figures | {("val_accuracy", "val"): right / rows} if plan.classes else figures
