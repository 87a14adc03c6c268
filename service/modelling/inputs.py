"""What the columns become before the network: how many features there are, and which are codes for embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Embedded:
    """A feature that is a code, 0 for what training did not see, else 1 + the category's place in sorted order."""

    # Which feature, from 0.
    place: int
    # Categories that training saw; codes go from 0 to this.
    categories: int
    # Numbers in its learned vector.
    width: int


@dataclass(frozen=True)
class InputLayout:
    """The features of a row, as preprocessing makes them: [features] numbers, some of which are codes."""

    features: int
    embedded: Sequence[Embedded] = ()

    @property
    def width(self) -> int:
        """Numbers that the first layer sees, once codes have become vectors."""
        return self.features - len(self.embedded) + sum(code.width for code in self.embedded)
