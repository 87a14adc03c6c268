"""Steps of numbers, and the same undone, as service/data/preprocessing does both."""

from collections.abc import Sequence
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
from service.onnx_files.arithmetic import expm1, log1p, zeros
from service.onnx_files.graph import Graph


def add_steps(graph: Graph, steps: Sequence[NumberStep], x: str) -> str:
    """Numbers after their steps; what has no finite result becomes Inf or NaN."""
    for step in steps:
        x = _add_step(graph, step, x)
    return x


def _add_step(graph: Graph, step: NumberStep, x: str) -> str:
    match step:
        case Fill():
            return graph.add("Where", graph.add("IsNaN", x), graph.number(step.value), x)
        case Clip():
            bounds = ["" if bound is None else graph.number(bound) for bound in (step.low, step.high)]
            return graph.add("Clip", x, *bounds) if any(bounds) else x
        case Log1p():
            return log1p(graph, x)
        case YeoJohnson():
            return _yeo_johnson(graph, x, step.power)
        case Standard():
            return _scaled(graph, x, step.mean, step.std)
        case MinMax():
            return _scaled(graph, x, step.low, step.high - step.low)
        case Robust():
            return _scaled(graph, x, step.median, (step.upper - step.lower) or 1.0)
        case _:
            assert_never(step)


def _scaled(graph: Graph, x: str, middle: float, spread: float) -> str:
    if not spread:
        return zeros(graph, x)
    return graph.add("Div", graph.add("Sub", x, graph.number(middle)), graph.number(spread))


def _yeo_johnson(graph: Graph, x: str, exponent: float) -> str:
    logs = log1p(graph, graph.add("Abs", x))
    below = graph.add("Neg", _powered(graph, logs, 2 - exponent))
    return graph.add("Where", _below(graph, x), below, _powered(graph, logs, exponent))


def _powered(graph: Graph, logs: str, exponent: float) -> str:
    if abs(exponent) < power.NEAR:
        return logs
    grown = expm1(graph, graph.add("Mul", logs, graph.number(exponent)))
    return graph.add("Div", grown, graph.number(exponent))


def _below(graph: Graph, x: str) -> str:
    return graph.add("Less", x, graph.number(0.0))


def undo_steps(
    graph: Graph, steps: Sequence[NumberStep], y: str, reach: tuple[float, float] | None
) -> tuple[str, str | None]:
    """What the steps were done to, and how much it grows there for one of `y`; None = as much."""
    if reach is not None:
        with quiet():
            low, high = apply_steps(steps, np.array(reach)).tolist()
        y = graph.add("Clip", y, graph.number(low), graph.number(high))
    slope: str | None = None
    for step in reversed(steps):
        y, factor = _undone(graph, step, y)
        if factor is not None:
            slope = factor if slope is None else graph.add("Mul", slope, factor)
    return y, slope


def _undone(graph: Graph, step: NumberStep, y: str) -> tuple[str, str | None]:
    match step:
        case Standard():
            return _unscaled(graph, y, step.mean, step.std)
        case MinMax():
            return _unscaled(graph, y, step.low, step.high - step.low)
        case Robust():
            return _unscaled(graph, y, step.median, (step.upper - step.lower) or 1.0)
        case Log1p():
            return expm1(graph, y), graph.add("Exp", y)
        case YeoJohnson():
            return _yeo_johnson_undone(graph, y, step.power)
        case Fill() | Clip():
            return y, None
        case _:
            assert_never(step)


def _unscaled(graph: Graph, y: str, middle: float, spread: float) -> tuple[str, str]:
    factor = graph.number(spread)
    return graph.add("Add", graph.add("Mul", y, factor), graph.number(middle)), factor


def _yeo_johnson_undone(graph: Graph, y: str, exponent: float) -> tuple[str, str]:
    below = graph.add("Neg", _unpowered(graph, graph.add("Neg", y), 2 - exponent))
    x = graph.add("Where", _below(graph, y), below, _unpowered(graph, y, exponent))
    signed = graph.add("Where", _below(graph, x), graph.number(exponent - 1), graph.number(1 - exponent))
    return x, graph.add("Exp", graph.add("Mul", log1p(graph, graph.add("Abs", x)), signed))


def _unpowered(graph: Graph, y: str, exponent: float) -> str:
    if abs(exponent) < power.NEAR:
        return expm1(graph, y)
    # Only a negative exponent has a bound, which y then reaches from below.
    grown = graph.add("Max", graph.add("Mul", y, graph.number(exponent)), graph.number(-1.0))
    return expm1(graph, graph.add("Div", log1p(graph, grown), graph.number(exponent)))
