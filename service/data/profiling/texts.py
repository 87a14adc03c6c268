"""The figures of a column of texts, of categories, booleans and times.

Different texts are told apart by their 64-bit hashes (SipHash with a key of this process), so that a column of
millions of them needs 8 bytes for each.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.data.profiling.arrays import Array, Growing, Scratch, runs, slices
from service.data.profiling.numbers import TOP

# Characters of a value that are told.
SHOWN = 100

Parts = Callable[[], Iterator[pa.Array]]
Top = list[tuple[str, int]]


def hash_texts(texts: pa.StringArray, salt: str = "") -> Array:
    """A number [rows] uint64 for each text; equal for equal ones, 0 where it is missing."""
    coded = texts.dictionary_encode()
    words = coded.dictionary.to_pylist()
    hashes = np.fromiter((hash(salt + word) for word in words), np.int64, len(words)).view(np.uint64)
    codes = coded.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)
    return np.append(hashes, np.uint64(0))[codes]


def text_figures(parts: Parts, count: int, scratch: Scratch) -> tuple[dict[str, Any], int, Top]:
    """Lengths, different values and the most frequent ones of a column of `count` texts; it is read twice."""
    hashes = Growing(scratch.reused(count, np.uint64))
    lengths = _Lengths()
    for part in slices(parts()):
        texts = part.drop_null()
        hashes.add(hash_texts(texts))
        lengths.add(pc.utf8_length(texts).to_numpy(), None)
    ordered = hashes.values
    ordered.sort()
    values, counts = runs(ordered)
    return lengths.figures, len(values), _top_texts(parts, values, counts)


def category_figures(parts: Parts) -> tuple[dict[str, Any], int, Top]:
    """The same of a column of codes."""
    words: list[str] = []
    counts = np.empty(0, np.int64)
    for part in parts():
        if not words:
            words = part.dictionary.to_pylist()
            counts = np.zeros(len(words), np.int64)
        counts += np.bincount(part.indices.drop_null().to_numpy(), minlength=len(words))
    lengths = _Lengths()
    lengths.add(np.fromiter(map(len, words), np.int64, len(words)), counts)
    return lengths.figures, int(np.count_nonzero(counts)), top_counted(words, counts.tolist())


def top_counted(words: Sequence[str], counts: Sequence[int]) -> Top:
    """The most frequent words; of equally frequent ones the smaller first. None where no word stands twice."""
    if max(counts, default=0) < 2:
        return []
    best = sorted((-count, word) for word, count in zip(words, counts, strict=True) if count)[:TOP]
    return [(word[:SHOWN], -count) for count, word in best]


class _Lengths:
    def __init__(self) -> None:
        self._shortest: int | None = None
        self._longest = self._total = self._count = 0

    def add(self, lengths: Array, times: Array | None) -> None:
        """More lengths, each `times` times."""
        if not len(lengths):
            return
        shortest = int(lengths.min())
        self._shortest = shortest if self._shortest is None else min(self._shortest, shortest)
        self._longest = max(self._longest, int(lengths.max()))
        self._total += int(lengths.sum() if times is None else (lengths * times).sum())
        self._count += len(lengths) if times is None else int(times.sum())

    @property
    def figures(self) -> dict[str, Any]:
        """As the contract has them."""
        mean = self._total / self._count if self._count else 0.0
        return {"min_length": self._shortest or 0, "max_length": self._longest, "mean_length": mean}


def _top_texts(parts: Parts, values: Array, counts: Array) -> Top:
    """The most frequent texts: of those frequent enough, of which there may be very many, the smallest are kept."""
    if not len(counts) or counts.max() < 2:
        return []
    enough = np.partition(counts, -TOP)[-TOP] if len(counts) > TOP else 1
    frequent = counts >= enough
    known, times = values[frequent], counts[frequent]
    found: dict[str, int] = {}
    for part in slices(parts()):
        words = part.drop_null().unique()
        hashes = hash_texts(words)
        places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
        hit = np.flatnonzero(known[places] == hashes)
        found.update(zip(words.take(pa.array(hit)).to_pylist(), times[places[hit]].tolist(), strict=True))
        found = dict(sorted(found.items(), key=lambda item: (-item[1], item[0]))[:TOP])
    return [(word[:SHOWN], count) for word, count in found.items()]
