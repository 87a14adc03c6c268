"""Columns as a spec uses them."""

import difflib
from collections.abc import Mapping

from service.errors import shown
from traind.v1 import tables_pb2

Column = tables_pb2.Column
# So many categories of a column are told at most, and fewer, down to none, where a table has very many of them.
MOST_CATEGORIES = 1000


def column_problem(name: str, by_name: Mapping[str, Column]) -> str:
    """Why nothing can be learned from or about a column; empty if it can."""
    column = by_name.get(name)
    if column is None:
        near = difflib.get_close_matches(name, by_name, n=1)
        offer = f"did you mean {shown(near[0])}?" if near else f"there are {', '.join(map(shown, list(by_name)[:8]))}"
        return f"the data set has no column {shown(name)}; {offer}"
    if column.type in {Column.TEXT, Column.TIMESTAMP}:
        kind = Column.Type.Name(column.type)
        return f"column {shown(name)} is {kind}, which cannot be learned from yet; leave it out"
    if column.missing_count:
        return (
            f"column {shown(name)} has {column.missing_count} missing values, allowed are 0; "
            "leave it out, or upload the table without these rows"
        )
    return ""


def class_count(target: Column) -> int | None:
    """Classes of a column that always holds classes, as far as they are told; None where it may hold numbers."""
    match target.type:
        case Column.CATEGORY:
            return len(target.categories) or MOST_CATEGORIES
        case Column.BOOLEAN:
            return 2
        case _:
            return None


def all_told(column: Column) -> bool:
    """Whether a column has no more categories than those that are told."""
    return column.type != Column.CATEGORY or 0 < len(column.categories) < MOST_CATEGORIES
