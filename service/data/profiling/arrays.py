"""Columns of a table as NumPy arrays: in memory where they are small, else in a scratch file that is mapped."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

# Bytes of an array that is kept in memory.
HELD_BYTES = 64 << 20
# Of the columns that are read together.
GROUP_BYTES = 8 << 20
# Rows that are looked at together.
CHUNK_ROWS = 256 << 10

Array = npt.NDArray[Any]


class Scratch:
    """A folder for arrays that do not fit into memory; each goes with its file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        self._held = np.empty(0, np.uint64)

    def reused(self, rows: int, dtype: Any) -> Array:
        """An array [rows] of 8-byte values to be filled; it ends when the next one is asked for.

        Fresh memory for each column would cost more time than what is computed of it.
        """
        if len(self._held) < rows:
            self._held = self.empty(rows, np.uint64)
        return self._held[:rows].view(dtype)

    def empty(self, rows: int, dtype: Any) -> Array:
        """An array [rows] to be filled."""
        if rows * np.dtype(dtype).itemsize <= HELD_BYTES:
            return np.empty(rows, dtype)
        path = self._folder / f"values-{next(self._numbers)}.bin"
        made: Array = np.memmap(path, dtype, "w+", shape=(rows,))
        # The map keeps the bytes until it goes.
        path.unlink()
        return made


class Growing:
    """An array that is filled piece by piece."""

    def __init__(self, room: Array) -> None:
        self._room = room
        self._count = 0

    def add(self, values: Array) -> None:
        """More values."""
        self._room[self._count : self._count + len(values)] = values
        self._count += len(values)

    @property
    def values(self) -> Array:
        """What is there."""
        return self._room[: self._count]


def chunks(values: Array) -> Iterator[Array]:
    """Pieces of an array that fit into a processor's cache or at least into memory."""
    for start in range(0, len(values), CHUNK_ROWS):
        yield values[start : start + CHUNK_ROWS]


def present(part: pa.Array) -> Array:
    """The values that are not missing."""
    values: Array = (part.drop_null() if part.null_count else part).to_numpy(zero_copy_only=False)
    return values


def runs(ordered: Array) -> tuple[Array, Array]:
    """The different values of a sorted array and how often each stands there."""
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else np.empty(0, int)
    return ordered[starts], np.diff(starts, append=len(ordered))


def different(ordered: Array) -> int:
    """How many different values a sorted array has."""
    count, last = 0, None
    for part in chunks(ordered):
        count += int(np.count_nonzero(part[1:] != part[:-1])) + int(last is None or part[0] != last)
        last = part[-1]
    return count


def slices(batches: Sequence[pa.Array] | Iterator[pa.Array]) -> Iterator[pa.Array]:
    """Pieces of few rows."""
    for batch in batches:
        for start in range(0, len(batch), CHUNK_ROWS):
            yield batch.slice(start, CHUNK_ROWS)
