"""Which format a file has, by its first bytes or as it was asked for."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from service.data.reading.encodings import UTF8_MARK, refuse_encoding, refuse_marks
from service.errors import InvalidTable, invalid

CSV, PARQUET, ARROW, JSON_LINES, NPZ = "CSV", "PARQUET", "ARROW", "JSON_LINES", "NPZ"
FORMATS = (CSV, PARQUET, ARROW, JSON_LINES, NPZ)
ACCEPTED = "accepted are CSV, Parquet, Arrow IPC, JSON Lines and NPZ"

# First bytes that no text has. An Arrow stream begins with the mark of its first message.
_BINARY = {b"PK\x03\x04": NPZ, b"PK\x05\x06": NPZ, b"\xff\xff\xff\xff": ARROW}
# First bytes that could be the name of a column as well: only where bytes follow that no text has.
_WORDY = {b"PAR1": PARQUET, b"ARROW1": ARROW}
_REFUSED = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x1f\x8b": "compressed by gzip",
    b"\xfd7zXZ": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a single NumPy array (.npy): save it by numpy.savez",
    b"\xd0\xcf\x11\xe0": "an old Excel file (.xls)",
    b"SQLite format 3\x00": "a SQLite database",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
}
_REFUSED_WORDY = {
    b"PARE": "an encrypted Parquet file",
    b"FEA1": "a Feather file of version 1",
    b"GIF8": "a GIF image",
    b"BZh": "compressed by bzip2",
    b"%PDF-": "a PDF",
}
_HEAD_BYTES = 4096
# How a JSON object begins, also one that goes over several lines, and an array of them.
_OBJECT = re.compile(rb'[ \t\r\n]*\{[ \t]*("|\}|\r?\n|$)')
_ARRAY = re.compile(rb"[ \t\r\n]*\[[ \t\r\n]*\{")


@dataclass(frozen=True)
class Options:
    """How a file was asked to be read; empty = not asked."""

    format: str = ""
    encoding: str = ""
    delimiter: str = ""


def find_format(path: Path, options: Options) -> str:
    """The format of a file. Raises InvalidTable for one that is not accepted, InvalidField for options that do not fit.

    A format that was asked for is believed, unless the first bytes say that it cannot be.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise InvalidTable("the file is empty: its first line must name the columns", metadata={"rows": "0"})
    found = _detected(head, cp949=options.encoding == "CP949")
    if options.format in {CSV, JSON_LINES} and found in {CSV, JSON_LINES}:
        found = options.format
    if options.format and options.format != found:
        raise invalid("source.format", f"is {options.format}, but the file's first bytes are those of {found}")
    if options.encoding == "CP949" and found != CSV:
        raise invalid("source.encoding", f"is of CSV files; this one is {found}: leave it away")
    if options.delimiter and found != CSV:
        raise invalid("source.delimiter", f"is of CSV files; this one is {found}: leave it away")
    return found


def _detected(head: bytes, *, cp949: bool) -> str:
    for magic, name in _BINARY.items():
        if head.startswith(magic):
            return name
    refuse_marks(head)
    for magic, words in _REFUSED.items():
        if head.startswith(magic):
            refuse_format(words)
    if not _is_text(head, "cp949" if cp949 else "utf-8"):
        for magic, name in _WORDY.items():
            if head.startswith(magic):
                return name
        for magic, words in _REFUSED_WORDY.items():
            if head.startswith(magic):
                refuse_format(words)
        if len(head) >= 4 and not (head[0:40:2].strip(b"\0") and head[1:40:2].strip(b"\0")):
            refuse_encoding("UTF-16")
    text = head.removeprefix(UTF8_MARK)
    if _ARRAY.match(text):
        refuse_format("a JSON array: write one object on each line, without the brackets")
    return JSON_LINES if _OBJECT.match(text) else CSV


def refuse_format(words: str) -> NoReturn:
    """Raise what is said of a file of another format; `words` tell which: "a PNG image"."""
    raise InvalidTable(f"format not accepted: the file is {words}; {ACCEPTED}", metadata={"format": words})


def _is_text(head: bytes, encoding: str) -> bool:
    """Whether the bytes are text; a character may be cut at their end."""
    if b"\0" in head:
        return False
    try:
        head.decode(encoding)
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 4
    return True
