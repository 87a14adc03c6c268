"""The table that a batch prediction makes: its columns, and in how many slices its rows are predicted."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.data.targets import Target
from service.modelling import specs
from traind.v1 import specs_pb2, tables_pb2

Column = tables_pb2.Column

ROW = "row"
# Behind the id of the answers: the id of the rows without.
REJECTED = "-rejected"
# Rows of a slice; fewer where they have many columns or long texts.
SLICE_ROWS, SLICE_CELLS, SLICE_BYTES = 50_000, 2_000_000, 32 << 20
# Rows whose features are in memory at once, and how many features these are at most.
BLOCK_ROWS, FEWEST_BLOCK_ROWS, BLOCK_FEATURES = 8192, 256, 2_000_000


@dataclass(frozen=True)
class Answers:
    """What is told of each row."""

    target: Target
    # Whether the model tells standard deviations.
    deviations: bool
    # Whether the probability of each class is told.
    probabilities: bool

    @classmethod
    def of(cls, spec: specs_pb2.TrainSpec, target: Target, *, probabilities: bool) -> "Answers":
        """Those of a model with that resolved spec; `probabilities` where it has some."""
        has_some = specs.task_of(spec) != "regression" and spec.network.WhichOneof("kind") != "perceptron"
        return cls(target, spec.loss.WhichOneof("kind") == "gaussian_nll", has_some and probabilities)

    @property
    def columns(self) -> list[Column]:
        """The columns that follow the row's number and what is kept: predictions, deviations, probabilities."""
        classes = self.target.classes
        told = [
            Column(
                name=f"predicted_{column.name}",
                type=column.type if classes else Column.NUMBER,
                categories=classes if column.type == Column.CATEGORY else (),
            )
            for column in self.target.columns
        ]
        if self.deviations:
            told += [Column(name=f"std_{name}", type=Column.NUMBER) for name in self.target.names]
        if self.probabilities:
            told += [Column(name=f"p_{name}", type=Column.NUMBER) for name in classes]
        return told


def slice_count(rows: int, columns: int, size_bytes: int) -> int:
    """How many slices a data set of so many rows is predicted in, where the answer has so many columns.

    `size_bytes` are those of its file, by which the length of a row is guessed.
    """
    most = min(SLICE_ROWS, SLICE_CELLS // max(columns, 1), SLICE_BYTES * rows // max(size_bytes, 1))
    return -(-rows // max(most, 1))


def slice_bounds(rows: int, slices: int, number: int) -> tuple[int, int]:
    """The first row of a slice, counted as the slices are from 0, and the one behind its last."""
    return rows * number // slices, rows * (number + 1) // slices


def block_rows(features: int) -> int:
    """Rows whose features are made at once."""
    return max(min(BLOCK_ROWS, BLOCK_FEATURES // max(features, 1)), FEWEST_BLOCK_ROWS)


def names_of(columns: Sequence[Column], kept: Sequence[str]) -> list[str]:
    """The names of all columns of the table, in order."""
    return [ROW, *kept, *(column.name for column in columns)]
