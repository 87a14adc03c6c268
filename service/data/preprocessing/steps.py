"""The steps of preprocessing: each a frozen dataclass that holds what was fitted.

A new way to preprocess is a new dataclass here, an arm in `apply_step`, one in storing.py, and its fit in fitting.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import numpy.typing as npt

from service.data.preprocessing import power

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fill:
    """What stands for a missing number."""

    value: float


@dataclass(frozen=True)
class Clip:
    """Bounds; None = none on that side."""

    low: float | None
    high: float | None


@dataclass(frozen=True)
class Log1p:
    """ln(1 + x); NaN where x <= -1."""


@dataclass(frozen=True)
class YeoJohnson:
    """The power transformation of Yeo and Johnson (2000)."""

    power: float


@dataclass(frozen=True)
class Standard:
    """(x - mean) / std; std is the population's, 0 for a constant column, which becomes 0."""

    mean: float
    std: float


@dataclass(frozen=True)
class MinMax:
    """(x - low) / (high - low); a constant column becomes 0."""

    low: float
    high: float


@dataclass(frozen=True)
class Robust:
    """(x - median) / (upper quartile - lower quartile); where these are equal only the median is taken off."""

    median: float
    lower: float
    upper: float


NumberStep = Fill | Clip | Log1p | YeoJohnson | Standard | MinMax | Robust


@dataclass(frozen=True)
class FillCategory:
    """What stands for a missing category."""

    text: str


@dataclass(frozen=True)
class OneHot:
    """One column of 0 and 1 for each category that the training rows had, in sorted order."""

    categories: tuple[str, ...]


@dataclass(frozen=True)
class Ordinal:
    """The category's place in sorted order, from 0; -1 for one that the training rows did not have."""

    categories: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """1 + the category's place in sorted order, 0 for one that was not there: which vector of an embedding it is."""

    categories: tuple[str, ...]
    # Numbers in a vector.
    width: int


Encoding = OneHot | Ordinal | Code
Step = NumberStep | FillCategory | Encoding


def apply_steps(steps: Sequence[NumberStep], values: Numbers) -> Numbers:
    """Numbers [rows], NaN where they are missing, after their steps."""
    for step in steps:
        values = apply_step(step, values)
    return values


def apply_step(step: NumberStep, values: Numbers) -> Numbers:
    """Numbers [rows] after one step; what has no finite result becomes Inf or NaN."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        match step:
            case Fill():
                return np.where(np.isnan(values), step.value, values)
            case Clip():
                return np.clip(values, step.low, step.high) if (step.low, step.high) != (None, None) else values
            case Log1p():
                return np.log1p(values)
            case YeoJohnson():
                return power.transform(values, step.power)
            case Standard():
                return (values - step.mean) / step.std if step.std else np.zeros(values.shape)
            case MinMax():
                spread = step.high - step.low
                return (values - step.low) / spread if spread else np.zeros(values.shape)
            case Robust():
                return (values - step.median) / ((step.upper - step.lower) or 1.0)
            case _:
                assert_never(step)
