"""The first row of a CSV file: what separates its columns, and which it names."""

import csv
from typing import BinaryIO

from service.data.reading.encodings import UTF8_MARK, check_text
from service.data.reading.names import check_column_count, check_names
from service.errors import InvalidTable, TooLarge, invalid, shown

LINE_BYTES = 1 << 20
# The first of equals is taken.
DELIMITERS = (",", ";", "|", "\t")


def known_delimiter(asked: str) -> str:
    """The character that was asked for; empty where none was. Raises InvalidField."""
    if asked in {"", *DELIMITERS}:
        return asked
    if asked == "\\t":
        return "\t"
    raise invalid("source.delimiter", f"{shown(asked)} is not known; accepted are `,`, `;`, `|` and a tab (`\\t`)")


def read_header(file: BinaryIO, delimiter: str = "") -> tuple[tuple[str, ...], str]:
    """The names of the columns, with spaces around them removed, and the delimiter, found where none is given.

    The file stands at its first byte after a mark then. Raises InvalidTable for names that cannot be used and text
    that is no UTF-8, TooLarge for too many columns.
    """
    begin = len(UTF8_MARK) if file.read(len(UTF8_MARK)) == UTF8_MARK else 0
    file.seek(begin)
    text = _first_row(file)
    file.seek(begin)
    rows = {known: _split(text, known) for known in ([delimiter] if delimiter else DELIMITERS)}
    if not any(rows.values()) and text:
        raise InvalidTable(
            "line 1 has a carriage return without a line feed: save the file with Unix or Windows line ends",
            metadata={"line": "1"},
        )
    chosen = max(rows, key=lambda known: len(rows[known]))
    names = [name.strip(" \t") for name in rows[chosen]]
    if not any(names):
        raise InvalidTable("line 1 is empty: it must name the columns", metadata={"line": "1"})
    _check_delimiter(names, delimiter)
    check_names(names)
    return tuple(names), chosen


def _split(text: str, delimiter: str) -> list[str]:
    csv.field_size_limit(LINE_BYTES)
    try:
        return next(csv.reader([text], delimiter=delimiter), [])
    except csv.Error:
        # A line end outside of quotes, as the wrong delimiter makes them.
        return []


def _check_delimiter(names: list[str], asked: str) -> None:
    """Refuse a single column that another delimiter would make several of."""
    other = next((known for known in DELIMITERS if known in names[0]), None) if asked and len(names) == 1 else None
    if other:
        raise InvalidTable(
            f"line 1 has no {shown(asked)}, but {shown(other)}: send this as the delimiter, or none to have it found",
            metadata={"line": "1"},
        )


def _first_row(file: BinaryIO) -> str:
    """The header, which goes over several lines where quotes are open, without its line end."""
    raw = b""
    while len(raw) <= LINE_BYTES:
        more = file.readline(LINE_BYTES + 1 - len(raw))
        raw += more
        if not more or raw.count(b'"') % 2 == 0:
            break
    if len(raw) > LINE_BYTES and not raw.endswith(b"\n"):
        check_column_count(max(raw.count(known.encode()) for known in DELIMITERS) + 1)
        raise TooLarge(
            f"line 1 is longer than {LINE_BYTES:,} bytes: is a line end missing?",
            metadata={"line": "1", "limit": str(LINE_BYTES)},
        )
    check_text(raw, 0, 1)
    return raw.decode().rstrip("\r\n")
