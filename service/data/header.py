"""The first bytes of a table: is it text, in which encoding, and which columns does it name?"""

import csv
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import BinaryIO, NoReturn

from service.errors import InvalidTable, TooLarge, shown

LINE_BYTES = 1 << 20
COLUMNS = 4096
NAME_CHARACTERS = 256

_SAVE = "save the table as CSV in UTF-8"
# First bytes that no text has.
_FORMATS = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"PK\x03\x04": "a zip archive (as are .xlsx, .npz and .pt files)",
    b"PK\x05\x06": "a zip archive",
    b"\x1f\x8b": "compressed by gzip",
    b"\xfd7zXZ": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"\xff\xff\xff\xff": "an Arrow stream",
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"\xd0\xcf\x11\xe0": "an old Excel file (.xls)",
    b"SQLite format 3\x00": "a SQLite database",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
}
# First bytes that could be the name of a column as well: only where bytes follow that no text has.
_WORDY_FORMATS = {
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"FEA1": "a Feather file",
    b"GIF8": "a GIF image",
    b"BZh": "compressed by bzip2",
    b"%PDF-": "a PDF",
}
_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_UTF8_MARK = b"\xef\xbb\xbf"


def read_header(file: BinaryIO) -> tuple[str, ...]:
    """The names of the columns, with spaces around them removed; the file stands at its first byte after a mark.

    Raises InvalidTable for another format or encoding and for names that cannot be used, TooLarge for too many.
    """
    first = file.read(4096)
    if not first:
        raise InvalidTable("the file is empty: its first line must name the columns", metadata={"rows": "0"})
    _refuse_formats(first)
    begin = len(_UTF8_MARK) if first.startswith(_UTF8_MARK) else 0
    file.seek(begin)
    text = _first_row(file)
    file.seek(begin)
    csv.field_size_limit(LINE_BYTES)
    try:
        names = [name.strip(" \t") for name in next(csv.reader([text]), [])]
    except csv.Error:
        raise InvalidTable(
            "line 1 has a carriage return without a line feed: save the file with Unix or Windows line ends",
            metadata={"line": "1"},
        ) from None
    _check_names(names)
    return tuple(names)


def check_text(raw: bytes, offset: int, line: int) -> None:
    """Refuse bytes that are no UTF-8 text; `offset` and `line` tell where in the file they begin."""
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            _refuse_byte(raw[error.start], offset + error.start, line + raw.count(b"\n", 0, error.start))
    if (at := raw.find(b"\0")) >= 0:
        _refuse_byte(0, offset + at, line + raw.count(b"\n", 0, at))


def _refuse_formats(first: bytes) -> None:
    for mark, name in _MARKS.items():
        if first.startswith(mark) and not first.startswith(b"\xff\xff"):
            _refuse_encoding(name)
    for magic, name in _FORMATS.items():
        if first.startswith(magic):
            _refuse_format(name)
    try:
        # A character may be cut at the end.
        textual = b"\0" not in first and (first[:-3].decode("utf-8", "strict") is not None)
    except UnicodeDecodeError as error:
        textual = error.end >= len(first) - 6
    if textual:
        return
    for magic, name in _WORDY_FORMATS.items():
        if first.startswith(magic):
            _refuse_format(name)
    if len(first) >= 4 and not (first[0:40:2].strip(b"\0") and first[1:40:2].strip(b"\0")):
        _refuse_encoding("UTF-16")


def _refuse_format(name: str) -> NoReturn:
    raise InvalidTable(f"format not accepted: the file is {name}; {_SAVE}", metadata={"format": name})


def _refuse_encoding(name: str) -> NoReturn:
    raise InvalidTable(
        f"the file is {name}; accepted is UTF-8, with or without a mark: {_SAVE}", metadata={"encoding": name}
    )


def _refuse_byte(byte: int, offset: int, line: int) -> NoReturn:
    what = "is zero, which no text has" if byte == 0 else "is not UTF-8"
    raise InvalidTable(
        f"line {line}: byte 0x{byte:02X} at offset {offset} {what}; accepted is UTF-8, with or without a mark: {_SAVE}",
        metadata={"line": str(line), "offset": str(offset), "encoding": "UTF-8"},
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
        _refuse_columns(raw.count(b",") + 1)
        raise TooLarge(
            f"line 1 is longer than {LINE_BYTES:,} bytes: is a line end missing?",
            metadata={"line": "1", "limit": str(LINE_BYTES)},
        )
    check_text(raw, 0, 1)
    _refuse_columns(raw.count(b",") + 1 if b'"' not in raw else 0)
    return raw.decode().rstrip("\r\n")


def _refuse_columns(count: int) -> None:
    if count > COLUMNS:
        raise TooLarge(
            f"the table has more than {COLUMNS:,} columns: upload the ones that are needed",
            metadata={"limit": str(COLUMNS)},
        )


def _check_names(names: Sequence[str]) -> None:
    _refuse_columns(len(names))
    if not any(names):
        raise InvalidTable("line 1 is empty: it must name the columns", metadata={"line": "1"})
    if len(names) == 1 and (other := next((c for c in ";\t|" if c in names[0]), None)):
        raise InvalidTable(
            f"line 1 has no comma, but {shown(other)}: separate the columns by commas", metadata={"line": "1"}
        )
    for number, name in enumerate(names, 1):
        if not name:
            raise InvalidTable(
                f"column {number} has an empty name: name it in line 1", metadata={"column": str(number)}
            )
        if len(name) > NAME_CHARACTERS:
            raise InvalidTable(
                f"the name of column {number}, {shown(name)}, has {len(name)} characters: at most {NAME_CHARACTERS}",
                metadata={"column": str(number), "limit": str(NAME_CHARACTERS)},
            )
        if any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in name):
            raise InvalidTable(
                f"the name of column {number}, {shown(name)}, holds a control character or a line end: remove it",
                metadata={"column": str(number)},
            )
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        listed = ", ".join(shown(name) for name in twice[:5]) + (", …" if len(twice) > 5 else "")
        raise InvalidTable(
            f"columns have the same name: {listed}; every name must be unique", metadata={"column": twice[0]}
        )
