"""The power transformation of Yeo and Johnson (Biometrika 87, 2000), and its exponent by maximum likelihood."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

# An exponent this near to 0 (of numbers below 0: to 2) is told from it by rounding only: the limit, a logarithm, is
# taken.
NEAR = 1e-12
# Where the search for the exponent ends.
TOLERANCE = 1e-9
MOST_LOOKS = 100
# The spread of transformed numbers is at least this share of the largest.
ALIKE = 1e-9
# The search begins between these.
BRACKET = (-2.0, 2.0)
WIDEST = 64.0
_GOLDEN = (3 - math.sqrt(5)) / 2


def transform(x: Numbers, exponent: float) -> Numbers:
    """((1 + x)^l - 1) / l where x >= 0, -((1 - x)^(2 - l) - 1) / (2 - l) where x < 0; NaN stays."""
    # Both sides are one function of |x|, which the logarithm makes exact for small numbers.
    logs = np.log1p(np.abs(x))
    below = x < 0
    result = _powered(logs, exponent)
    if below.any():
        result[below] = -_powered(logs[below], 2 - exponent)
    return result


def _powered(logs: Numbers, exponent: float) -> Numbers:
    if abs(exponent) < NEAR:
        return logs.copy()
    with np.errstate(over="ignore"):
        powered: Numbers = np.expm1(exponent * logs) / exponent
    return powered


def inverse(y: Numbers, exponent: float) -> Numbers:
    """The x whose transform is y; Inf where y lies beyond what the transformation reaches."""
    result = np.empty(y.shape)
    below = y < 0
    result[~below] = _unpowered(y[~below], exponent)
    result[below] = -_unpowered(-y[below], 2 - exponent)
    return result


def _unpowered(y: Numbers, exponent: float) -> Numbers:
    if abs(exponent) < NEAR:
        with np.errstate(over="ignore"):
            grown: Numbers = np.expm1(y)
        return grown
    with np.errstate(over="ignore", divide="ignore"):
        # Only a negative exponent has a bound, which y then reaches from below.
        unpowered: Numbers = np.expm1(np.log1p(np.maximum(exponent * y, -1.0)) / exponent)
    return unpowered


def fit_exponent(x: Numbers) -> float:
    """The exponent under which x, finite and not all equal, is likeliest to be normal."""
    signed = float(np.copysign(np.log1p(np.abs(x)), x).sum())

    def cost(exponent: float) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            y = transform(x, exponent)
            variance = float(y.var())
            largest = float(np.abs(y).max())
        # Of no use is an exponent by which numbers overflow, or become so alike that 64 bits barely tell them apart.
        if not math.isfinite(variance) or variance <= (ALIKE * largest) ** 2:
            return math.inf
        return x.size / 2 * math.log(variance) - (exponent - 1) * signed

    return minimum(cost, *BRACKET)


def minimum(cost: Callable[[float], float], low: float, high: float) -> float:
    """Where a function of one number, with one valley, is smallest: the bracket moves until the valley is inside it,
    then Brent's method (1973) narrows it.
    """
    middle = (low + high) / 2
    lowest, at_low, at_high = cost(middle), cost(low), cost(high)
    while at_low < lowest and low > -WIDEST:
        high, middle, lowest, low = middle, low, at_low, 2 * low - middle
        at_high, at_low = cost(high), cost(low)
    while at_high < lowest and high < WIDEST:
        low, middle, lowest, high = middle, high, at_high, 2 * high - middle
        at_high = cost(high)
    return _narrowed(cost, low, middle, high, lowest)


def _narrowed(cost: Callable[[float], float], low: float, best: float, high: float, lowest: float) -> float:
    """Brent's method: parabolas through the three lowest points, golden sections where those do not help."""
    second = third = best
    at_second = at_third = lowest
    step = before = 0.0
    for _ in range(MOST_LOOKS):
        middle, near = (low + high) / 2, TOLERANCE * (1 + abs(best))
        if abs(best - middle) <= 2 * near - (high - low) / 2:
            break
        golden = (high if best < middle else low) - best
        step, before = _next_step((best, lowest), (second, at_second), (third, at_third), (low, high), (step, before))
        if not step:
            step, before = _GOLDEN * golden, golden
        point = best + (step if abs(step) >= near else math.copysign(near, step))
        value = cost(point)
        if value <= lowest:
            low, high = (best, high) if point >= best else (low, best)
            third, at_third, second, at_second, best, lowest = second, at_second, best, lowest, point, value
            continue
        low, high = (low, point) if point >= best else (point, high)
        if value <= at_second or second == best:
            third, at_third, second, at_second = second, at_second, point, value
        elif value <= at_third or third in {best, second}:
            third, at_third = point, value
    return best


_Point = tuple[float, float]


def _next_step(best: _Point, second: _Point, third: _Point, bracket: _Point, steps: _Point) -> tuple[float, float]:
    """The step to the lowest point of the parabola and the step before it; 0 where that is not to be trusted."""
    (x, fx), (w, fw), (v, fv) = best, second, third
    step, before = steps
    if not all(map(math.isfinite, (fx, fw, fv))):
        return 0.0, 0.0
    r, q = (x - w) * (fx - fv), (x - v) * (fx - fw)
    over, under = (x - v) * q - (x - w) * r, 2 * (q - r)
    if not under:
        return 0.0, 0.0
    wanted = -over / under
    inside = bracket[0] < x + wanted < bracket[1]
    # A step that does not halve the one before the last shows that the parabola does not fit.
    return (wanted, step) if inside and abs(wanted) < abs(before) / 2 else (0.0, 0.0)
