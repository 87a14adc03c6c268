"""Schedules: the learning rate of a step, as a pure function of what is done."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from service.modelling.optimizers import learning_rate
from traind.v1 import learning_pb2, optimizers_pb2

# (steps done in all epochs, times that the loss stood still on its plateau) -> the next step's rate.
RateFunction = Callable[[int, int], float]

# What one_cycle begins with and ends with, as divisors of the rate.
FIRST_DIVISOR, LAST_DIVISOR = 25, 250_000


@dataclass(frozen=True)
class Steps:
    """How many steps there are."""

    # In an epoch, and in all of them.
    epoch: int
    total: int


def build_rate(gradient: learning_pb2.Gradient, steps_per_epoch: int) -> RateFunction:
    """The rates of a resolved way to learn."""
    lr, schedule = learning_rate(gradient.optimizer), gradient.schedule
    steps = Steps(steps_per_epoch, steps_per_epoch * gradient.epochs)
    warm_up = schedule.warm_up_steps
    if not warm_up and not schedule.WhichOneof("kind"):
        return lambda _done, _cuts: lr
    if not warm_up:
        return lambda done, cuts: lr * share(schedule, steps, done, cuts)
    return lambda done, cuts: lr * share(schedule, steps, done, cuts) * min(1.0, (done + 1) / warm_up)


def spans_all_epochs(schedule: optimizers_pb2.Schedule) -> bool:
    """Whether the rates of all steps depend on how many epochs there are."""
    return schedule.WhichOneof("kind") in {"cosine", "one_cycle"}


def share(schedule: optimizers_pb2.Schedule, steps: Steps, done: int, cuts: int) -> float:
    """What the rate is multiplied by after `done` steps and `cuts` plateaus; warm-up apart."""
    kind = schedule.WhichOneof("kind")
    match kind:
        case None:
            return 1.0
        case "step":
            return schedule.step.factor ** (done // steps.epoch // schedule.step.every)
        case "exponential":
            return schedule.exponential.factor ** (done // steps.epoch)
        case "cosine":
            return _half_cosine(1.0, schedule.cosine.final_share, done / steps.total)
        case "one_cycle":
            return _one_cycle(schedule.one_cycle.warm_up_share, steps.total, done)
        case "reduce_on_plateau":
            return schedule.reduce_on_plateau.factor**cuts
        case _:
            assert_never(kind)


def _one_cycle(rising: float, total: int, done: int) -> float:
    """The first step has the smallest rate of the rise, the last one that of the fall."""
    top = rising * total - 1  # the step with the whole rate; between two steps where it is no whole number
    if done <= top and top > 0:
        return _half_cosine(1 / FIRST_DIVISOR, 1.0, done / top)
    return _half_cosine(1.0, 1 / LAST_DIVISOR, (done - top) / (total - 1 - top))


def _half_cosine(start: float, end: float, way: float) -> float:
    """From `start` (way = 0) to `end` (way = 1), slow at both."""
    return end + (start - end) * (1 + math.cos(math.pi * way)) / 2


@dataclass
class Waiting:
    """For how many epochs a loss has not fallen."""

    smallest: float = math.inf
    epochs: int = 0

    def look(self, loss: float, falls: Callable[[float, float], bool]) -> None:
        """An epoch is done. `falls(loss, smallest)`: whether that is a fall; NaN is none."""
        self.epochs = 0 if falls(loss, self.smallest) else self.epochs + 1
        self.smallest = min(self.smallest, loss)


def falls_by(min_delta: float) -> Callable[[float, float], bool]:
    """More than this below the smallest loss so far."""
    return lambda loss, smallest: loss < smallest - min_delta


def falls_by_share(threshold: float) -> Callable[[float, float], bool]:
    """More than this share below the smallest loss so far, whichever sign that has: a likelihood's may be negative."""

    def falls(loss: float, smallest: float) -> bool:
        bound = smallest if math.isinf(smallest) else smallest - threshold * abs(smallest)
        return loss < bound

    return falls
