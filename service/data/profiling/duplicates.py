"""Rows that are equal to an earlier one: by a 64-bit hash of each row, and by a second one of those that agree."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from service.data.profiling.arrays import Growing, Scratch
from service.data.profiling.texts import hash_texts

_ROWS = 32 << 10
_FACTORS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))
_MISSING = np.uint64(0xD6E8FEB86659FD93)

Hashes = npt.NDArray[np.uint64]
Batches = Callable[[Sequence[int]], Iterator[pa.RecordBatch]]


def count_duplicates(batches: Batches, columns: int, rows: int, scratch: Scratch) -> int:
    """How many rows are equal to an earlier one in every column; missing values are equal to each other."""
    order = range(columns)
    hashes = Growing(scratch.empty(rows, np.uint64))
    for part in _pieces(batches(order)):
        hashes.add(_hash_rows(part, 0))
    kept = scratch.reused(rows, np.uint64)
    kept[:] = hashes.values
    kept.sort()
    repeated = np.unique(kept[1:][kept[1:] == kept[:-1]])
    return _confirmed(batches(order), hashes.values, repeated) if len(repeated) else 0


def _confirmed(batches: Iterator[pa.RecordBatch], hashes: Hashes, repeated: Hashes) -> int:
    """Of the rows whose hash is there several times: how many have another of the same second hash before them."""
    seen = 0
    pairs: list[npt.NDArray[Any]] = []
    for part in _pieces(batches):
        mine = hashes[seen : seen + part.num_rows]
        places = np.minimum(np.searchsorted(repeated, mine), len(repeated) - 1)
        hit = np.flatnonzero(repeated[places] == mine)
        if len(hit):
            pairs.append(np.stack([places[hit].astype(np.uint64), _hash_rows(part, 1)[hit]], axis=1))
        seen += part.num_rows
    found = np.concatenate(pairs)
    found = found[np.lexsort((found[:, 1], found[:, 0]))]
    return int((found[1:] == found[:-1]).all(axis=1).sum())


def _pieces(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS):
            yield batch.slice(start, _ROWS)


def _hash_rows(part: pa.RecordBatch, which: int) -> Hashes:
    """A number [rows] for each row."""
    mixed = np.zeros(part.num_rows, np.uint64)
    for array in part.columns:
        mixed *= _FACTORS[which]
        mixed ^= mixed >> np.uint64(29)
        mixed += _hash_values(array, which)
    return mixed


def _hash_values(array: pa.Array, which: int) -> Hashes:
    bits = _bits(array, which)
    bits ^= bits >> np.uint64(32)
    bits *= _FACTORS[1 - which]
    bits ^= bits >> np.uint64(29)
    if array.null_count:
        bits[array.is_null().to_numpy(zero_copy_only=False)] = _MISSING
    return bits


def _bits(array: pa.Array, which: int) -> Hashes:
    """64 bits for each value, the same for equal ones; a fresh array."""
    if pa.types.is_string(array.type):
        return hash_texts(array, salt="\0" * which).copy()
    if pa.types.is_dictionary(array.type):
        array = array.indices
    if array.null_count:
        array = array.fill_null(False if pa.types.is_boolean(array.type) else 0)
    values = array.to_numpy(zero_copy_only=False)
    if values.dtype == np.float64:
        # Minus zero equals zero.
        return (values + 0.0).view(np.uint64)
    return values.astype(np.int64).view(np.uint64)
