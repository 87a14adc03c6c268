"""The quick first reading of a CSV file.

A file without quotes, carriage returns and blanks needs no scan (scan.py): what the scan would find wrong the parser
finds too, and the scan is asked for words only then.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from service.data.reading.encodings import check_text
from service.data.reading.header import LINE_BYTES, read_header
from service.data.reading.scan import Scanned, refuse_no_rows, scan
from service.data.reading.source import check_cells

# Small enough for a processor's cache.
LOOK_BYTES = 1 << 20
# Bytes that call for the scan.
_UNPLAIN = (b'"', b"\r", b" ", b"\t", b"\0")


def look_or_scan(path: Path, delimiter: str) -> Scanned:
    """What a file holds. Raises InvalidTable, naming line and cure, and TooLarge."""
    return look(path, delimiter) or scan(path, delimiter)


def look(path: Path, delimiter: str) -> Scanned | None:
    """A quick look: what a plain file holds; None where only the scan can tell.

    Raises what the scan would of the header and of text that is none.
    """
    with path.open("rb") as file:
        names, delimiter = read_header(file, delimiter)
        if len(names) == 1:
            return None
        begin = file.tell()
        lines = hexed = 0
        unplain = [mark for mark in _UNPLAIN if mark != delimiter.encode()]
        for offset, raw in _blocks(file, begin):
            if any(mark in raw for mark in unplain) or not _short_lines(raw):
                return None
            check_text(raw, offset, lines + 1)
            lines += raw.count(b"\n")
            hexed |= b"x" in raw or b"X" in raw
            check_cells(lines - 1, len(names))
    rows = lines - 1
    refuse_no_rows(rows)
    return Scanned(
        names,
        rows,
        LINE_BYTES,
        multiline=False,
        spaced=False,
        delimiter=delimiter,
        hexed=bool(hexed),
        unchecked=True,
    )


def _blocks(file: BinaryIO, offset: int) -> Iterator[tuple[int, bytes]]:
    """The file in blocks of whole lines; the last one is given its line end."""
    while raw := file.read(LOOK_BYTES):
        if not raw.endswith(b"\n"):
            raw += file.readline(LINE_BYTES + 1)
        yield offset, raw if raw.endswith(b"\n") else raw + b"\n"
        offset += len(raw)


def _short_lines(raw: bytes) -> bool:
    """Whether every half of the longest line holds a line end, so that none can be longer."""
    half = LINE_BYTES // 2
    return all(b"\n" in raw[start : start + half] for start in range(0, len(raw) - half, half))
