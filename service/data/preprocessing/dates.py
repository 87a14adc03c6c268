"""Parts of times, as numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from service.data.preprocessing.steps import Numbers
from service.data.times import Times

_MICROSECONDS_A_DAY = 86_400_000_000
_THURSDAY = 3  # 1970-01-01, Monday being 0


def _days(times: Times) -> npt.NDArray[Any]:
    days: npt.NDArray[Any] = times.astype("datetime64[D]")
    return days


def _month_start(times: Times) -> npt.NDArray[Any]:
    return _days(times.astype("datetime64[M]"))


def _year_start(times: Times) -> npt.NDArray[Any]:
    return _days(times.astype("datetime64[Y]"))


def _of_day(times: Times) -> npt.NDArray[Any]:
    """Microseconds since midnight."""
    since: npt.NDArray[Any] = (times - _days(times)).astype(np.int64)
    return since


# By their names in the contract.
PARTS: dict[str, Callable[[Times], npt.NDArray[Any]]] = {
    "YEAR": lambda times: times.astype("datetime64[Y]").astype(np.int64) + 1970,
    "MONTH": lambda times: times.astype("datetime64[M]").astype(np.int64) % 12 + 1,
    "DAY": lambda times: (_days(times) - _month_start(times)).astype(np.int64) + 1,
    "WEEKDAY": lambda times: (_days(times).astype(np.int64) + _THURSDAY) % 7,
    "DAY_OF_YEAR": lambda times: (_days(times) - _year_start(times)).astype(np.int64) + 1,
    "HOUR": lambda times: _of_day(times) // 3_600_000_000,
    "MINUTE": lambda times: _of_day(times) // 60_000_000 % 60,
    "DAYS": lambda times: times.astype(np.int64) / _MICROSECONDS_A_DAY,
}


def part_of(name: str, times: Times) -> Numbers:
    """A part of times datetime64[us] [rows], NaN where they are missing."""
    missing = np.isnat(times)
    whole = np.where(missing, np.datetime64(0, "us"), times) if missing.any() else times
    numbers = PARTS[name](whole).astype(np.float64)
    numbers[missing] = np.nan
    return numbers
