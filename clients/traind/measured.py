"""What is told of a model beside its figures: its confusion and the rows it saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from traind.v1 import models_pb2, tables_pb2


@dataclass(frozen=True)
class Confusion:
    """How often which class was answered for which."""

    classes: list[str]
    counts: list[list[int]]  # [right class][answer], how many rows

    def count(self, right: str, answer: str) -> int:
        """Rows of one class that another was answered for."""
        return self.counts[self.classes.index(right)][self.classes.index(answer)]

    def plot(self, **options: Any) -> Any:
        """Draw it: see plotting.plot_confusion. Needs the extra `plot`."""
        from traind.plotting import plot_confusion

        return plot_confusion(self, **options)

    def _repr_html_(self) -> str:
        from traind.html import table_html

        rows = [(right, *counts) for right, counts in zip(self.classes, self.counts, strict=True)]
        return table_html("right class by row, answer by column", ("", *self.classes), rows)


@dataclass(frozen=True)
class Split:
    """The numbers of the rows of a data set, counted from 0 below the header, that a model saw; in ascending order.

    Rows that were left out for missing values are in neither.
    """

    dataset: str
    row_count: int
    train: list[int]
    val: list[int]


def decode_confusion(matrix: tables_pb2.ConfusionMatrix) -> Confusion:
    """The confusion of a message."""
    width = len(matrix.classes)
    values = [round(value) for value in matrix.counts.values]
    return Confusion(list(matrix.classes), [values[i : i + width] for i in range(0, len(values), width)])


def decode_split(split: models_pb2.RowSplit) -> Split:
    """The rows of a message's bits."""
    return Split(split.dataset, split.row_count, _set_bits(split.train_rows), _set_bits(split.val_rows))


def _set_bits(mask: bytes) -> list[int]:
    """The places of bits that are 1: bit (row mod 8), the least significant being 0, of byte (row / 8)."""
    return [8 * place + bit for place, byte in enumerate(mask) if byte for bit in range(8) if byte >> bit & 1]
