"""Undoes the steps of a target, so that an answer is in the target's own units again."""

from collections.abc import Sequence
from typing import assert_never

import numpy as np

from service.data.preprocessing import power
from service.data.preprocessing.steps import (
    Clip,
    Fill,
    Log1p,
    MinMax,
    Numbers,
    NumberStep,
    Robust,
    Standard,
    YeoJohnson,
    apply_steps,
)


def invert(
    steps: Sequence[NumberStep], values: Numbers, reach: tuple[float, float] | None = None
) -> tuple[Numbers, Numbers]:
    """What the steps were done to [rows], and the slope there: how much it grows for one of `values`.

    With `reach` the answer stays between these two.
    """
    if reach is not None:
        low, high = apply_steps(steps, np.array(reach))
        values = np.clip(values, low, high)
    slope = np.ones(values.shape)
    for step in reversed(steps):
        values, factor = _undone(step, values)
        slope = slope * factor
    return values, slope


def _undone(step: NumberStep, values: Numbers) -> tuple[Numbers, Numbers | float]:
    with np.errstate(over="ignore", invalid="ignore"):
        match step:
            case Standard():
                return values * step.std + step.mean, step.std
            case MinMax():
                return values * (step.high - step.low) + step.low, step.high - step.low
            case Robust():
                spread = (step.upper - step.lower) or 1.0
                return values * spread + step.median, spread
            case Log1p():
                return np.expm1(values), np.exp(values)
            case YeoJohnson():
                x = power.inverse(values, step.power)
                # dy/dx = (1 + |x|)^(l - 1), below 0 with 2 - l for l: so its inverse.
                return x, np.exp(np.log1p(np.abs(x)) * np.where(x < 0, step.power - 1, 1 - step.power))
            case Fill() | Clip():
                return values, 1.0
            case _:
                assert_never(step)
