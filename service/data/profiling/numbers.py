"""The figures of a column of numbers."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.data.profiling.arrays import Array, chunks, different, runs

SHARES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 20
TOP = 20


@dataclass(frozen=True)
class Moments:
    """What correlation needs of a column."""

    mean: float
    std: float
    constant: bool


def number_figures(values: Array) -> tuple[dict[str, Any], int, Moments]:
    """Figures, different values, and moments of at least one value; the array is sorted in place.

    `values` [n] are int64 or float64, all finite. Sums that overflow are Inf, as in the contract's doubles.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std, skewness = _moments(values)
        values.sort()
        low, high = float(values[0]), float(values[-1])
        figures = {
            "min": low,
            "max": high,
            "mean": mean,
            "std": std,
            "skewness": skewness,
            "quantiles": [{"share": share, "value": _quantile(values, share)} for share in SHARES],
            "zero_count": int(np.searchsorted(values, 0, "right") - np.searchsorted(values, 0, "left")),
            "histogram": _histogram(values, low, high),
        }
        return figures, different(values), Moments(mean, std, bool(values[0] == values[-1]))


def top_integers(ordered: Array) -> list[tuple[str, int]]:
    """The most frequent of sorted whole numbers; of equally frequent ones the smaller first."""
    values, counts = runs(ordered)
    if not len(counts) or counts.max() < 2:
        return []
    # A stable sort keeps the ascending order of values.
    best = np.argsort(-counts, kind="stable")[:TOP]
    return [(str(int(value)), int(count)) for value, count in zip(values[best], counts[best], strict=True)]


def _moments(values: Array) -> tuple[float, float, float]:
    """Mean, deviation with 1 / (n - 1) and skewness adjusted for bias, in two readings."""
    n = len(values)
    low = min(float(part.min()) for part in chunks(values))
    high = max(float(part.max()) for part in chunks(values))
    if low == high:
        return low, 0.0 if n > 1 else math.nan, 0.0 if n > 2 else math.nan
    mean = sum(float(part.sum(dtype=np.float64)) for part in chunks(values)) / n
    reach = max(high - mean, mean - low)
    second = third = 0.0
    for part in chunks(values):
        # Divided by their reach first, so that no power over- or underflows.
        away = (part - mean) / reach
        squares = away * away
        second += float(squares.sum())
        third += float((squares * away).sum())
    std = reach * math.sqrt(second / (n - 1))
    skewness = n * math.sqrt(n - 1) / (n - 2) * third / second**1.5 if n > 2 else math.nan
    return mean, std, skewness


def _quantile(ordered: Array, share: float) -> float:
    """With linear interpolation between the two values beside the place."""
    place = (len(ordered) - 1) * share
    below = int(place)
    first, second = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
    part = place - below
    return first if first == second else first * (1 - part) + second * part


def _histogram(ordered: Array, low: float, high: float) -> dict[str, Any]:
    if low == high:
        return {"edges": [low, high], "counts": [len(ordered)]}
    # Halves, for the difference of two doubles may be none.
    edges = 2 * np.linspace(low / 2, high / 2, BINS + 1)
    edges[0], edges[-1] = low, high
    places = np.searchsorted(ordered, edges[:-1], "left")
    counts = np.diff(np.append(places, len(ordered)))
    return {"edges": edges.tolist(), "counts": counts.tolist()}
