"""A CSV file as a source: columns that look like numbers are read as numbers at once, which spares their texts.

A file without quotes, carriage returns and blanks needs no scan of its own: what the scan would find the parser
finds too, and the scan is asked for words only then.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from service.data.forms import integers, numbers
from service.data.layout import ARROW_TYPES, INTEGER, NUMBER
from service.data.reading.encodings import check_text
from service.data.reading.header import LINE_BYTES, read_header
from service.data.reading.scan import Scanned, line_of_row, refuse_no_rows, scan
from service.data.reading.source import Place, ReadAgain, check_cells
from service.data.reading.texts import read_columns, read_texts

LOOK_BYTES = 4 << 20
# Bytes that call for the scan.
_UNPLAIN = (b'"', b"\r", b" ", b"\t", b"\0")
# Rows by which the type of a column is guessed, and how often a guess may be wrong until all columns come as texts.
_SAMPLE_ROWS = 1000
_WRONG_GUESSES = 4
_COLUMN = re.compile(r"CSV column #(\d+)")


class CsvFile:
    """A CSV file in UTF-8; `asked` are types by name, which guesses keep to."""

    texts_are_texts = False

    def __init__(self, path: Path, delimiter: str, asked: Mapping[str, str]) -> None:
        self.stated: Mapping[int, str] = {}
        self._path = path
        self._scanned = _look(path, delimiter) or scan(path, delimiter)
        self._wrong = 0
        self._types = self._guesses(asked)

    @property
    def names(self) -> tuple[str, ...]:
        """As the header has them."""
        return self._scanned.names

    def batches(self) -> Iterator[list[pa.Array]]:
        """The rows, in pieces of a few MiB of the file."""
        columns = range(len(self.names))
        try:
            yield from read_columns(self._path, self._scanned, columns, self._types)
        except pa.ArrowInvalid as error:
            found = _COLUMN.search(str(error))
            if found is None and not self._scanned.unchecked:
                raise
            self._learn(int(found[1]) if found else None)
            raise ReadAgain from None

    def column(self, index: int) -> Iterator[pa.Array]:
        """The texts of one column."""
        for part in read_texts(self._path, self._scanned, [index]):
            yield part.texts

    def place(self, row: int) -> Place:
        """The line on which the row begins."""
        line = line_of_row(self._path, row, self._scanned.delimiter)
        return Place(f"line {line}", {"line": str(line), "row": str(row + 1)})

    def _guesses(self, asked: Mapping[str, str]) -> dict[int, pa.DataType]:
        """Which columns are read as numbers: by the first rows."""
        scanned = self._scanned
        if scanned.spaced:
            return {}
        names = scanned.names
        found: dict[int, pa.DataType] = {}
        try:
            sample = next(iter(read_columns(self._path, scanned, range(len(names)), {})))
        except pa.ArrowInvalid:
            self._scanned = scan(self._path, scanned.delimiter)
            return self._guesses(asked)
        for index, texts in enumerate(sample):
            kind = _guess(texts.slice(0, _SAMPLE_ROWS))
            wanted = asked.get(names[index], kind)
            if kind and wanted in {INTEGER, NUMBER} and not (wanted == INTEGER and scanned.hexed):
                found[index] = ARROW_TYPES[wanted]
        return found

    def _learn(self, index: int | None) -> None:
        """Read the file anew: scanned where its rows may be uneven, else with that column as texts."""
        if index is None:
            self._scanned = scan(self._path, self._scanned.delimiter)
            return
        self._wrong += 1
        self._types.pop(index, None)
        if self._wrong > _WRONG_GUESSES:
            self._types.clear()


def _guess(texts: pa.StringArray) -> str | None:
    """The type of numbers that the texts could have; None where they have none, or there are no texts."""
    if texts.null_count == len(texts) or numbers(texts) is None:
        return None
    return NUMBER if integers(texts) is None else INTEGER


def _look(path: Path, delimiter: str) -> Scanned | None:
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
    return Scanned(names, rows, LINE_BYTES, False, False, delimiter, bool(hexed), True)


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
