"""A version of a model, as a name meant it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Named:
    """One version of a model."""

    id: str
    owner_name: str
    slug: str
    version: int
    parameter_count: int
