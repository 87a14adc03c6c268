"""Tables of several calls, one below the other."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from service.data.table import Table, TableColumn


def joined(tables: Sequence[Table]) -> Table:
    """Tables with the same columns as one, in their order. What errors name of a column is the first one's.

    Raises ValueError where a column is not of the same type in all of them.
    """
    made = {name: _joined([table.columns[name] for table in tables]) for name in tables[0].columns}
    return Table(made, sum(table.row_count for table in tables))


def _joined(parts: Sequence[TableColumn]) -> TableColumn:
    first = parts[0]
    if any(part.type != first.type for part in parts):
        raise ValueError(f"{first.name} has values of several types")
    if first.categories or any(part.categories for part in parts):
        values, categories = _codes(parts)
    else:
        values, categories = np.concatenate([part.values for part in parts]), ()
    missing: npt.NDArray[np.bool_] | None = None
    if any(part.missing is not None for part in parts):
        missing = np.concatenate(
            [np.zeros(len(part.values), bool) if part.missing is None else part.missing for part in parts]
        )
    return replace(first, values=values, missing=missing, categories=categories)


def _codes(parts: Sequence[TableColumn]) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
    """Codes into the categories of all parts, one part's behind the other's: a name may stand there twice."""
    codes: list[npt.NDArray[np.int32]] = []
    categories: list[str] = []
    for part in parts:
        codes.append(np.where(part.values < 0, part.values, part.values + len(categories)).astype(np.int32))
        categories += part.categories
    return np.concatenate(codes), tuple(categories)
