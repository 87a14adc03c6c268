"""What the message of a data set tells, in Python's words; datasets.py has its verbs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from traind.errors import InvalidSpec
from traind.events import decode_time
from traind.profiles import type_name
from traind.v1 import datasets_pb2, tables_pb2

if TYPE_CHECKING:
    import datetime as dt

Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class DatasetView:
    """An immutable table on the server."""

    message: datasets_pb2.Dataset

    @property
    def name(self) -> str:
        """`datasets/{owner}.{id}/versions/{n}`."""
        return self.message.name

    @property
    def row_count(self) -> int:
        """Rows, without the header."""
        return self.message.row_count

    @property
    def columns(self) -> dict[str, str]:
        """Type of each column by its name: INTEGER, NUMBER, BOOLEAN, TIMESTAMP, CATEGORY, TEXT."""
        return {column.name: type_name(column) for column in self.message.columns}

    @property
    def sha256(self) -> str:
        """Of the file as it came."""
        return self.message.sha256

    @property
    def format(self) -> str:
        """How the file held the table: CSV, PARQUET, ARROW, JSON_LINES, NPZ."""
        return format_name(self.message.format)

    @property
    def create_time(self) -> dt.datetime:
        """When this version was made."""
        return decode_time(self.message.create_time)

    def record(self) -> dict[str, Any]:
        """The line that tells of it in a table of data sets."""
        return {
            "name": self.name,
            "display_name": self.message.display_name,
            "rows": self.row_count,
            "columns": len(self.message.columns),
            "format": self.format,
            "create_time": self.create_time,
        }

    def _repr_html_(self) -> str:
        from traind.html import table_html

        rows = [
            (column.name, type_name(column), column.missing_count or "", ", ".join(column.categories[:8]))
            for column in self.message.columns
        ]
        title = f"{self.name}: {self.row_count:,} rows"
        return table_html(title, ("column", "type", "missing", "categories"), rows)

    def __repr__(self) -> str:
        return f"<Dataset {self.name}: {self.row_count} rows, {len(self.message.columns)} columns>"


def format_name(kind: int) -> str:
    """`PARQUET`; a format that this client does not know yet stays a number."""
    found = datasets_pb2.Dataset.Format.DESCRIPTOR.values_by_number.get(kind)
    return found.name if found and kind else f"FORMAT_{kind}" if kind else ""


def parse_format(name: str) -> datasets_pb2.Dataset.Format.ValueType:
    """The format of a name in any case; `json-lines` is JSON_LINES."""
    spelled = name.upper().replace("-", "_")
    if not name:
        return datasets_pb2.Dataset.FORMAT_UNSPECIFIED
    if spelled in datasets_pb2.Dataset.Format.keys()[1:]:
        return datasets_pb2.Dataset.Format.Value(spelled)
    raise InvalidSpec(
        f"there is no format {name!r}",
        field="format",
        fix=f"one of {', '.join(datasets_pb2.Dataset.Format.keys()[1:])}",
    )


def parse_type(name: str) -> tables_pb2.Column.Type.ValueType:
    """The type of a column by its name in any case."""
    if name.upper() in tables_pb2.Column.Type.keys()[1:]:
        return tables_pb2.Column.Type.Value(name.upper())
    raise InvalidSpec(
        f"there is no type {name!r}", field="schema", fix=f"one of {', '.join(tables_pb2.Column.Type.keys()[1:])}"
    )


def decode_column(column: tables_pb2.ColumnValues) -> list[Any]:
    """A column's values; missing ones are None."""
    values: list[Any] = [*column.numbers] if column.numbers else [*column.strings]
    for row, gone in enumerate(column.missing):
        if gone:
            values[row] = None
    return values
