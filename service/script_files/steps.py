"""Steps of numbers as lines that change `x`, and the same undone; each with the figures that were fitted."""

from collections.abc import Iterable, Sequence
from typing import assert_never

import numpy as np

from service.data.preprocessing import power
from service.data.preprocessing.steps import (
    Clip,
    Fill,
    Log1p,
    MinMax,
    NumberStep,
    Robust,
    Standard,
    YeoJohnson,
    apply_steps,
    quiet,
)
from service.script_files.lines import function, literal


def step_lines(steps: Iterable[NumberStep]) -> list[str]:
    """The steps, in order."""
    return [line for step in steps for line in _lines(step)]


def _lines(step: NumberStep) -> list[str]:
    match step:
        case Fill():
            return [f"x = np.where(np.isnan(x), {literal(step.value)}, x)"]
        case Clip():
            return [f"x = np.clip(x, {step.low}, {step.high})"] if (step.low, step.high) != (None, None) else []
        case Log1p():
            return ["x = np.log1p(x)"]
        case YeoJohnson():
            return [f"x = yeo_johnson(x, {literal(step.power)})"]
        case Standard():
            return _scaled(step.mean, step.std)
        case MinMax():
            return _scaled(step.low, step.high - step.low)
        case Robust():
            return _scaled(step.median, (step.upper - step.lower) or 1.0)
        case _:
            assert_never(step)


def _scaled(middle: float, spread: float) -> list[str]:
    if not spread:
        return ["x = np.zeros(len(x))  # one value only in training"]
    return [f"x = (x - {literal(middle)}) / {literal(spread)}"]


def undo_lines(steps: Sequence[NumberStep], reach: tuple[float, float] | None, *, slope: bool) -> list[str]:
    """The steps undone; with `slope` also how much `x` then grows for one of what it was."""
    lines = []
    if reach is not None:
        with quiet():
            low, high = apply_steps(steps, np.array(reach)).tolist()
        lines.append(f"x = np.clip(x, {literal(low)}, {literal(high)})")
    for step in reversed(steps):
        undone, factor = _undone(step)
        # Before x changes, or after it: as the slope is told.
        before, after = factor if slope else ("", "")
        lines += [line for line in (before, undone, after) if line]
    return lines


def _undone(step: NumberStep) -> tuple[str, tuple[str, str]]:
    match step:
        case Standard():
            return _unscaled(step.mean, step.std)
        case MinMax():
            return _unscaled(step.low, step.high - step.low)
        case Robust():
            return _unscaled(step.median, (step.upper - step.lower) or 1.0)
        case Log1p():
            return "x = np.expm1(x)", ("slope = slope * np.exp(x)", "")
        case YeoJohnson():
            exponent = literal(step.power)
            grown = f"slope = slope * np.exp(np.log1p(np.abs(x)) * np.where(x < 0, {exponent} - 1, 1 - {exponent}))"
            return f"x = undo_yeo_johnson(x, {exponent})", ("", grown)
        case Fill() | Clip():
            return "", ("", "")
        case _:
            assert_never(step)


def _unscaled(middle: float, spread: float) -> tuple[str, tuple[str, str]]:
    return f"x = x * {literal(spread)} + {literal(middle)}", (f"slope = slope * {literal(spread)}", "")


def step_functions(steps: Iterable[NumberStep], undone: Iterable[NumberStep]) -> list[str]:
    """The functions that those lines call."""
    lines = []
    near = f"abs(power) < {power.NEAR}"
    if any(isinstance(step, YeoJohnson) for step in steps):
        lines += function(
            "yeo_johnson(x, power)",
            "The power transformation of Yeo and Johnson (2000).",
            [
                "logs, sign = np.log1p(np.abs(x)), np.where(x < 0, -1, 1)",
                "power = np.where(x < 0, 2 - power, power)",
                f"straight = {near.replace('abs', 'np.abs')}",
                "return sign * np.where(straight, logs, np.expm1(power * logs) / np.where(straight, 1, power))",
            ],
        )
    if any(isinstance(step, YeoJohnson) for step in undone):
        lines += function(
            "undo_yeo_johnson(y, power)",
            "The x whose transformation is y.",
            [
                "size, sign = np.abs(y), np.where(y < 0, -1, 1)",
                "power = np.where(y < 0, 2 - power, power)",
                f"straight = {near.replace('abs', 'np.abs')}",
                "logs = np.log1p(np.maximum(power * size, -1.0)) / np.where(straight, 1, power)",
                "return sign * np.expm1(np.where(straight, size, logs))",
            ],
        )
    return lines
