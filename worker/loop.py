"""The gradient loop, top to bottom on one page. It knows no database: it yields a record after each epoch."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from service.modelling import schedules
from service.modelling.losses import LossFunction, target_tensor
from service.modelling.networks import Task, TraindNetwork
from service.points import point
from traind.v1 import learning_pb2
from worker.checkpoints import LearnState

# Rows that are measured at once.
ROWS_AT_ONCE = 8192
# Features that are gathered at once, of many batches: few enough that a mapped file is never copied whole, and that
# they are still in the processor's cache when their batch comes.
BYTES_AT_ONCE = 1 << 23

Figures = dict[tuple[str, str], float]


class Step(Protocol):
    """One way to compute a step: gradient, clipping and optimizer."""

    def __call__(self, x_batch: Tensor, t_batch: Tensor, /) -> Tensor:
        """Change the network by one step; answers the loss before it, detached, []."""

    def set_rate(self, lr: float, /) -> None:
        """The learning rate of the steps to come."""


@dataclass(frozen=True)
class Rows:
    """Rows in contiguous tensors, on the device and in the dtype of the network."""

    x: Tensor  # [rows, features]; may lie over a mapped file
    t: Tensor  # numbers and bits [rows, targets], class codes int64 [rows]

    @classmethod
    def make(cls, x: np.ndarray, t: np.ndarray, task: Task, dtype: torch.dtype, device: str) -> "Rows":
        """Rows of arrays: features [rows, features]; numbers [rows] or [rows, targets], or class codes [rows].

        What is of the dtype already is not copied.
        """
        return cls(torch.from_numpy(x).to(device, dtype), target_tensor(task, t, dtype).to(device))


@dataclass(frozen=True)
class EpochRecord:
    """The figures of one epoch: (name, split) -> value, for instance ("train_loss", "train")."""

    epoch: int
    metrics: Figures


@dataclass(frozen=True)
class Plan:
    """How to learn."""

    loss: LossFunction
    # Whether the targets are classes, so that accuracy is measured too.
    classes: bool
    # Of the resolved spec; no batch size = all rows in one batch.
    gradient: learning_pb2.Gradient
    # What is measured beside the loss after each epoch: (outputs [rows, outputs], split) -> figures by name, which the
    # split's name is put before; None = nothing.
    every_epoch: Callable[[np.ndarray, str], Mapping[str, float]] | None = None


def descend(
    state: LearnState, plan: Plan, step: Step, train: Rows, held_out: Rows | None, stop: Callable[[], bool]
) -> Iterator[EpochRecord]:
    """Descend the loss's gradient from where `state` stands, and yield a record after each epoch.

    `train_loss` is the running loss: of each batch before its step, averaged over the epoch's rows (summed, where the
    loss is a sum); with all rows in one batch it is the loss before the epoch's only step. `val_loss`, `val_accuracy`
    and what is asked for of every epoch are measured after it. While a record is being looked at, `state` stands at
    its epoch's end.

    `stop` is asked before each batch; when it is true the loop ends. While it is being asked, `state` stands before
    that batch, within its epoch, and can be captured. Once a
    figure is Inf or NaN the loop goes on until the loss is NaN, at most to twice that epoch, so that the history holds
    what came of it.
    """
    loss, gradient, rows = plan.loss, plan.gradient, len(train.x)
    batch_size = min(gradient.batch_size or rows, rows)
    steps = math.ceil(rows / batch_size)
    rate_of, last_rate = schedules.build_rate(gradient, steps), math.nan
    divide_by = float(loss.denominator(train.t))
    while not over(state, plan):
        state.network.train()
        loss_sum = state.begin_epoch(train.x.device)
        done = state.epoch * steps + state.batch
        for x_batch, t_batch in batches(
            train, batch_size, state.order, state.batch
        ):  # [batch, features], [batch, targets] or [batch]
            if stop():
                return
            rate = rate_of(done, state.cuts)
            if rate != last_rate:
                step.set_rate(rate)
                last_rate = rate
            _add(loss_sum, step(x_batch, t_batch), loss.denominator(t_batch))  # summed on the device ...
            point("C6")
            done += 1
            state.batch += 1
        train_loss = float(loss_sum) / divide_by  # ... and read once
        metrics = {("train_loss", "train"): train_loss} | measure(state.network, plan, train, held_out)

        state.end_epoch()
        state.last_loss = train_loss
        losses = (train_loss, metrics.get(("val_loss", "val"), 0.0))  # other figures may be NaN by their nature
        if not state.first_bad_epoch and not all(map(math.isfinite, losses)):
            state.first_bad_epoch = state.epoch
        _keep(state, plan, metrics)
        _wait(state, gradient, metrics)
        yield EpochRecord(state.epoch, metrics)


def batches(rows: Rows, batch_size: int, order: torch.Generator, skipped: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """All rows once, in batches, in an order that `order` draws; a batch of all rows is taken as it lies.

    The first `skipped` batches are left out: they were learned before.
    """
    if batch_size >= len(rows.x):
        yield rows.x, rows.t
        return
    permutation = torch.randperm(len(rows.x), generator=order).to(rows.x.device)  # [rows]
    permutation = permutation[skipped * batch_size :]
    batches_at_once = max(1, BYTES_AT_ONCE // (batch_size * max(rows.x[0].nbytes, 1)))
    for part in torch.split(permutation, batches_at_once * batch_size):
        x, t = rows.x.index_select(0, part), rows.t.index_select(0, part)
        yield from zip(torch.split(x, batch_size), torch.split(t, batch_size), strict=True)


def _add(loss_sum: Tensor, loss: Tensor, denominator: Tensor | int) -> None:
    """loss_sum += loss * denominator, in the sum's 64 bits."""
    if isinstance(denominator, int):
        loss_sum.add_(loss, alpha=denominator)
    else:
        loss_sum.addcmul_(loss.double(), denominator)


def over(state: LearnState, plan: Plan) -> bool:
    """Whether no epoch is to come, for whatever reason."""
    return (
        state.epoch >= plan.gradient.epochs
        or diverged(state)
        or stopped_early(state, plan.gradient)
        or out_of_time(state, plan.gradient)
    )


def diverged(state: LearnState) -> bool:
    """Whether a figure was Inf or NaN and nothing more is to be seen."""
    bad = state.first_bad_epoch
    return bad > 0 and (math.isnan(state.last_loss) or state.epoch >= 2 * bad)


def stopped_early(state: LearnState, gradient: learning_pb2.Gradient) -> bool:
    """Whether `val_loss` has not fallen for as long as early stopping waits."""
    return gradient.HasField("early_stopping") and state.stopping.epochs >= gradient.early_stopping.patience


def out_of_time(state: LearnState, gradient: learning_pb2.Gradient) -> bool:
    """Whether the seconds of learning are used up."""
    return gradient.HasField("max_seconds") and state.seconds() >= gradient.max_seconds


def _keep(state: LearnState, plan: Plan, metrics: Figures) -> None:
    """Keep the weights of the epoch that the model would be of now."""
    best = plan.gradient.keep != learning_pb2.Gradient.LAST and ("val_loss", "val") in metrics
    if best and metrics["val_loss", "val"] < state.best_value:
        state.keep(metrics["val_loss", "val"])
    elif not best and plan.gradient.HasField("max_seconds"):
        # Time may end within the next epoch, when the network has moved on from this one's weights.
        state.keep(state.best_value)
    elif not best:
        state.best_epoch = state.epoch


def _wait(state: LearnState, gradient: learning_pb2.Gradient, metrics: Figures) -> None:
    """Look whether the loss fell, for early stopping and for the rate on a plateau."""
    watched = metrics.get(("val_loss", "val"), metrics["train_loss", "train"])
    if gradient.HasField("early_stopping"):
        state.stopping.look(watched, schedules.falls_by(gradient.early_stopping.min_delta))
    if gradient.schedule.HasField("reduce_on_plateau"):
        plateau = gradient.schedule.reduce_on_plateau
        state.plateau.look(watched, schedules.falls_by_share(plateau.threshold))
        if state.plateau.epochs > plateau.patience:
            state.plateau.epochs = 0
            state.cuts += 1


def measure(network: TraindNetwork, plan: Plan, train: Rows, held_out: Rows | None) -> Figures:
    """The figures of the network as it is: `val_loss`, for classes `val_accuracy`, and what is asked for."""
    network.eval()
    figures: Figures = {}
    if held_out is not None:
        figures |= _measure_held_out(network, plan, held_out)
    if plan.every_epoch is not None:
        for split, rows in (("train", train), ("val", held_out)):
            if rows is not None:
                told = plan.every_epoch(_outputs(network, rows.x), split)
                figures = {(f"{split}_{name}", split): value for name, value in told.items()} | figures
    return figures


def _measure_held_out(network: TraindNetwork, plan: Plan, rows: Rows) -> Figures:
    sums = torch.zeros(2, dtype=torch.float64, device=rows.x.device)  # loss, right answers
    with torch.inference_mode():
        for x, t in zip(torch.split(rows.x, ROWS_AT_ONCE), torch.split(rows.t, ROWS_AT_ONCE), strict=True):
            outputs = network(x)  # [part, outputs]
            _add(sums[0], plan.loss(outputs, t), plan.loss.denominator(t))
            if plan.classes:
                chosen = (outputs > 0).to(t.dtype) if outputs.shape[1] == 1 else outputs.argmax(1)  # as t
                sums[1] += (chosen == t).sum()
    loss_sum, right = sums.tolist()
    figures = {("val_loss", "val"): loss_sum / float(plan.loss.denominator(rows.t))}
    return figures | {("val_accuracy", "val"): right / len(rows.x)} if plan.classes else figures


def _outputs(network: TraindNetwork, x: Tensor) -> np.ndarray:
    """The network's outputs, float64 [rows, outputs]."""
    with torch.inference_mode():
        return np.concatenate([network(part).double().cpu().numpy() for part in torch.split(x, ROWS_AT_ONCE)])
