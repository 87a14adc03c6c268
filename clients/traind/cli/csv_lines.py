"""CSV on stdout that a spreadsheet can open: no cell of it is a formula."""

from __future__ import annotations

import csv
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# With these a spreadsheet begins to compute, whoever wrote the text.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def show_lines(lines: Iterable[Sequence[Any]]) -> None:
    """Lines of cells on stdout; a text that would be a formula stands behind an apostrophe."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerows([_cell(value) for value in line] for line in lines)


def show_records(records: Sequence[Mapping[str, Any]]) -> None:
    """Records on stdout, with a column for every key; what is no plain value stands as JSON."""
    header = list(dict.fromkeys(key for record in records for key in record))
    show_lines([header, *([record.get(key) for key in header] for record in records)])


def harmless(text: str) -> str:
    """Text as a cell: behind an apostrophe where it would be a formula, and is no number."""
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return harmless(value)
    return value.isoformat() if hasattr(value, "isoformat") else json.dumps(value, ensure_ascii=False)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()
