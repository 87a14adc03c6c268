"""Pearson's correlation of columns of numbers, each pair over the rows that have both."""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from service.data.profiling.numbers import Moments

COLUMNS = 100
_ROWS = 8192
# A variance that is so much smaller than the mean square is computed anew around its own mean.
_CANCELLED = 1e-6

Matrix = npt.NDArray[np.float64]
Batches = Callable[[Sequence[int]], Iterator[pa.RecordBatch]]


def correlate(batches: Batches, indices: Sequence[int], moments: Sequence[Moments]) -> Matrix:
    """[columns, columns]; NaN where one of a pair is constant in the rows of both. Reads once, seldom twice."""
    sums = _Sums(moments)
    for batch in batches(indices):
        for start in range(0, batch.num_rows, _ROWS):
            sums.add(batch.slice(start, _ROWS))
    found, doubtful = sums.correlation()
    for i, j in doubtful:
        found[i, j] = found[j, i] = _pair(batches, indices[i], indices[j], moments[i], moments[j])
    return found


class _Sums:
    """Sums of products of columns that are centred and scaled, over the rows of both."""

    def __init__(self, moments: Sequence[Moments]) -> None:
        k = len(moments)
        self._moments = moments
        self._constant = np.array([one.constant for one in moments], bool)
        self.both, self.one, self.square, self.product = (np.zeros((k, k)) for _ in range(4))

    def add(self, batch: pa.RecordBatch) -> None:
        """More rows."""
        z = np.stack([_scaled(array, one) for array, one in zip(batch.columns, self._moments, strict=True)])
        there = ~np.isnan(z)
        if there.all():
            mean = z.sum(axis=1)
            self.both += z.shape[1]
            self.one += mean[:, None]
            self.square += np.einsum("ir,ir->i", z, z)[:, None]
        else:
            z[~there] = 0
            weights = there.astype(np.float64)
            self.both += weights @ weights.T
            self.one += z @ weights.T
            self.square += (z * z) @ weights.T
        self.product += z @ z.T

    def correlation(self) -> tuple[Matrix, list[tuple[int, int]]]:
        """The matrix, and the pairs of which these sums do not tell enough."""
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = self.square - self.one**2 / self.both  # [i, j]: of i, in the rows of both
            covariance = self.product - self.one * self.one.T / self.both
            found: Matrix = np.clip(covariance / np.sqrt(variance * variance.T), -1, 1)
            cancelled = ~(variance > _CANCELLED * self.square)
        found[self._constant, :] = found[:, self._constant] = np.nan
        np.fill_diagonal(found, np.where(self._constant, np.nan, 1.0))
        known = self._constant[:, None] | self._constant[None, :]
        unsure = (cancelled | cancelled.T) & ~known & (self.both > 0)
        found[self.both < 2] = np.nan
        return found, [(i, j) for i, j in combinations(range(len(found)), 2) if unsure[i, j]]


def _scaled(array: pa.Array, moments: Moments) -> Matrix:
    """A column [rows] around 0 with a deviation of 1; NaN where a value is missing."""
    values = array.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    return (values - moments.mean) / (moments.std or 1.0)


def _pair(batches: Batches, i: int, j: int, first: Moments, second: Moments) -> float:
    """Around the means of the very rows that have both."""
    order = sorted((i, j))
    n, means, low, high = 0, np.zeros(2), np.full(2, np.inf), np.full(2, -np.inf)
    for reading in range(2):
        products = np.zeros((2, 2))
        for batch in batches(order):
            place = [order.index(i), order.index(j)]
            z = np.stack([_scaled(batch.column(at), one) for at, one in zip(place, (first, second), strict=True)])
            z = z[:, ~np.isnan(z).any(axis=0)]
            if not reading and z.shape[1]:
                n, means = n + z.shape[1], means + z.sum(axis=1)
                low, high = np.minimum(low, z.min(axis=1)), np.maximum(high, z.max(axis=1))
            centred = z - means[:, None]
            products += centred @ centred.T
        if not reading:
            if n < 2 or (low == high).any():
                return float("nan")
            means /= n
    return float(np.clip(products[0, 1] / np.sqrt(products[0, 0] * products[1, 1]), -1, 1))
