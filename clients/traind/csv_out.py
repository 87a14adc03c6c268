"""Tables as the bytes of a CSV file that the server reads back to the same values."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from traind.tables_in import is_missing

if TYPE_CHECKING:
    from traind.tables_in import TableIn


def encode_csv(table: TableIn, *, header: bool = True) -> bytes:
    """The rows, quoted where needed, below a header if that is asked for; numbers keep every digit.

    None and NaN become empty cells.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    if header:
        writer.writerow(table.columns)
    writer.writerows(zip(*([_cell(value) for value in column] for column in table.columns.values()), strict=True))
    return out.getvalue().encode()


def _cell(value: Any) -> Any:
    if is_missing(value):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value.item() if hasattr(value, "item") else value
