"""What every reader of a format gives: columns in pieces of bounded size, as often as they are asked for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from service.errors import TooLarge

# So that 2,000,000 rows of 30 columns, and three times as many numbers, fit.
CELLS = 100_000_000
# Of one value, in UTF-8.
CELL_BYTES = 256 << 10


class ReadAgain(Exception):
    """A reader was wrong about the type of a column; it knows better now and must be read from the start."""


@dataclass(frozen=True)
class Place:
    """Where a row stands in the file: in words ("line 5", "row 4"), and for the metadata of an error."""

    words: str
    metadata: dict[str, str]


class Source(Protocol):
    """A table in a file."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns; checked."""

    @property
    def stated(self) -> Mapping[int, str]:
        """Types that the file itself states of columns that come as texts."""

    @property
    def texts_are_texts(self) -> bool:
        """Whether a text is never a number or a boolean, because the format has those too."""

    def batches(self) -> Iterator[list[pa.Array]]:
        """All rows: for each piece the arrays of all columns, int64, float64, bool or string; null = missing.

        Every piece has the same types. Raises InvalidTable, TooLarge, and ReadAgain.
        """

    def column(self, index: int) -> Iterator[pa.Array]:
        """All rows of one column as texts."""

    def place(self, row: int) -> Place:
        """Where a row stands; 0 is the first."""


def check_cells(rows: int, columns: int) -> None:
    """Raise TooLarge for more cells than a table may have."""
    if rows * columns > CELLS:
        raise TooLarge(
            f"the table has more than {CELLS:,} cells ({columns:,} columns): upload fewer rows or columns",
            metadata={"limit": str(CELLS)},
        )


def row_place(row: int) -> Place:
    """The place in a file that has rows, but no lines."""
    return Place(f"row {row + 1}", {"row": str(row + 1)})
