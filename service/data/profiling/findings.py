"""What a person should know of a table, out of its profile."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from service.data.layout import INTEGER, NUMBER
from service.errors import shown

MANY_MISSING = 0.2
SKEWED = 2.0
# Of rows: with fewer, different values say nothing.
IDENTIFIER_ROWS = 100
# Characters; longer texts say something, even where all are different.
IDENTIFIER_LENGTH = 64
SAME = 0.999
# Findings of one kind.
_MOST = 20

Column = dict[str, Any]


def findings(profile: dict[str, Any], correlated: npt.NDArray[np.float64]) -> list[dict[str, Any]]:
    """As the contract has them; `correlated` is the matrix of the profile's correlation."""
    rows, columns = profile["row_count"], profile["columns"]
    return [
        *_constant(columns),
        *_each(columns, _identifier(rows), lambda column: 0.0),
        *_each(columns, _missing(rows), lambda column: -column["missing_count"]),
        *_each(columns, _skewed, lambda column: -abs(column["numbers"]["skewness"])),
        *_duplicates(profile["duplicate_row_count"], rows),
        *_same(profile["correlation"]["columns"], correlated),
    ]


def _finding(code: str, message: str, **figures: float) -> dict[str, Any]:
    return {"code": code, "message": message, "figures": figures}


def _each(
    columns: Sequence[Column], describe: Callable[[Column], dict[str, Any] | None], rank: Callable[[Column], float]
) -> list[dict[str, Any]]:
    """The worst of the columns that are described; the last one tells how many more there are."""
    found = [(column, finding) for column in columns if (finding := describe(column))]
    found.sort(key=lambda pair: rank(pair[0]))
    return _cut([finding for _, finding in found], "columns are like it")


def _cut(found: list[dict[str, Any]], like: str) -> list[dict[str, Any]]:
    kept = found[:_MOST]
    if len(found) > _MOST:
        kept[-1]["message"] += f" {len(found) - _MOST:,} more {like}."
    return kept


def _constant(columns: Sequence[Column]) -> list[dict[str, Any]]:
    names = [shown(column["name"]) for column in columns if column["distinct_count"] == 1]
    if not names:
        return []
    listed = ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")
    message = f"Each of these columns holds one value only and cannot teach anything: {listed}."
    return [_finding("CONSTANT_COLUMN", message, columns=len(names))]


def _identifier(rows: int) -> Callable[[Column], dict[str, Any] | None]:
    def describe(column: Column) -> dict[str, Any] | None:
        distinct = column["distinct_count"]
        short = column.get("texts", {}).get("mean_length", 0) <= IDENTIFIER_LENGTH
        if rows < IDENTIFIER_ROWS or distinct < rows or column["type"] == NUMBER or "times" in column or not short:
            return None
        kind = "number" if column["type"] == INTEGER else "text"
        message = (
            f"{shown(column['name'])} has another {kind} in each of the {rows:,} rows, like the number of a customer: "
            "a model can learn the rows by heart from it, and nothing about new ones."
        )
        return _finding("IDENTIFIER", message, distinct=distinct, rows=rows)

    return describe


def _missing(rows: int) -> Callable[[Column], dict[str, Any] | None]:
    def describe(column: Column) -> dict[str, Any] | None:
        missing = column["missing_count"]
        share = missing / rows
        if share <= MANY_MISSING:
            return None
        message = f"{shown(column['name'])} has no value in {missing:,} of {rows:,} rows ({share:.1%})."
        return _finding("MANY_MISSING", message, missing=missing, share=share)

    return describe


def _skewed(column: Column) -> dict[str, Any] | None:
    skewness = column.get("numbers", {}).get("skewness", 0.0)
    if not abs(skewness) > SKEWED:
        return None
    side = "large" if skewness > 0 else "small"
    message = f"{shown(column['name'])} has a few very {side} values (skewness {skewness:.2f}); a logarithm may help."
    return _finding("SKEWED", message, skewness=skewness)


def _duplicates(count: int, rows: int) -> list[dict[str, Any]]:
    if not count:
        return []
    message = (
        f"{count:,} of {rows:,} rows are equal to an earlier one; where copies fall into both parts of a split, "
        "the model is judged by rows that it has seen."
    )
    return [_finding("DUPLICATE_ROWS", message, rows=count)]


def _same(names: Sequence[str], correlated: npt.NDArray[np.float64]) -> list[dict[str, Any]]:
    """Columns of which one tells the other."""
    pairs = np.argwhere(np.triu(np.abs(correlated) > SAME, 1)) if len(names) else []
    found = [
        _finding(
            "SUSPECTED_LEAK",
            f"{shown(names[i])} and {shown(names[j])} say the same (correlation {correlated[i, j]:.5f}): where one is "
            "to be predicted the other gives it away, else one of them is enough.",
            association=float(abs(correlated[i, j])),
        )
        for i, j in pairs
    ]
    return _cut(found, "pairs are like it")
