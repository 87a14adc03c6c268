"""The strict first reading of a CSV file: is every byte, quote and row where RFC 4180 wants it?

Everything that can be wrong with the shape of a table is found here and named by its line, before a parser that
believes in the file sees it. Whole blocks of bytes are looked at with NumPy.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from service.data.reading.encodings import check_text
from service.data.reading.header import LINE_BYTES, read_header
from service.data.reading.source import check_cells
from service.errors import InvalidTable, TooLarge

BLOCK_BYTES = 4 << 20

_QUOTE, _NEWLINE, _RETURN, _SPACE, _TAB = b'"\n\r \t'
Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Scanned:
    """What a sound file holds."""

    names: tuple[str, ...]
    row_count: int
    # Bytes of the longest row.
    longest_row: int
    # Whether a row goes over several lines, inside of quotes.
    multiline: bool
    # Whether spaces or tabs may stand around a value.
    spaced: bool
    delimiter: str = ","
    # Whether a value may be a number in base 16, which pyarrow takes for a whole number.
    hexed: bool = True
    # Whether nobody has looked yet if every row has as many values: the parser does.
    unchecked: bool = False


@dataclass(frozen=True)
class _Block:
    """Some whole lines of a file; places count from the block's first byte."""

    data: npt.NDArray[np.uint8]
    # Number of the first line, from 1.
    line: int
    # Every line feed; those that end a row; the delimiters between columns.
    newlines: Places
    row_ends: Places
    commas: Places
    # Whether a space or tab seems to stand beside the end of a value.
    spaced: bool

    def line_at(self, place: int) -> int:
        """The line on which a byte stands."""
        return self.line + int(np.searchsorted(self.newlines, place))


def scan(path: Path, delimiter: str = "") -> Scanned:
    """Read the whole file. Raises InvalidTable, naming line and cure, and TooLarge."""
    with path.open("rb") as file:
        names, delimiter = read_header(file, delimiter)
        rows = _Rows(len(names))
        for block in _blocks(file, delimiter):
            rows.take(block)
    refuse_no_rows(rows.count)
    return Scanned(names, rows.count, rows.longest, rows.multiline, rows.spaced, delimiter)


def refuse_no_rows(count: int) -> None:
    """Raise InvalidTable where there is a header only."""
    if count < 1:
        raise InvalidTable("the table has 0 data rows: there is a header and nothing below it", metadata={"rows": "0"})


def line_of_row(path: Path, row: int, delimiter: str = "") -> int:
    """The line on which a row begins; row 0 is the first below the header."""
    with path.open("rb") as file:
        _, delimiter = read_header(file, delimiter)
        for block in _blocks(file, delimiter):
            # A row begins on the line after the end of the one before; the header is the first that ends.
            if row < len(block.row_ends):
                return block.line_at(int(block.row_ends[row])) + 1
            row -= len(block.row_ends)
    raise ValueError("the table has no such row")


class _Rows:
    """Counts rows and holds them against the header."""

    def __init__(self, width: int) -> None:
        self.width = width
        # The header is a row too.
        self.count = -1
        # The first empty line, after which nothing else may come.
        self.blank_line: int | None = None
        self.longest = 0
        self.multiline = False
        self.spaced = False
        # Bytes of the row that goes on in the next block.
        self._bytes = 0
        # Of a row that goes on in the next block: its commas.
        self._commas = 0
        self._inside = False
        self._returns: bool | None = None

    def take(self, block: _Block) -> None:
        """Check the rows that end in a block."""
        ends = block.row_ends
        before = np.searchsorted(block.commas, ends)
        commas = np.diff(before, prepend=0)
        starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
        blank = (ends - starts == 0) | ((ends - starts == 1) & (block.data[starts] == _RETURN))
        if len(ends):
            commas[0] += self._commas
            blank[0] &= not self._inside
            self._commas = 0
        if len(ends):
            self.longest = max(self.longest, self._bytes + int(ends[0]) + 1, int((ends - starts).max()) + 1)
            self._bytes = 0
        self._bytes += len(block.data) - (int(ends[-1]) + 1 if len(ends) else 0)
        self.multiline = self.multiline or len(ends) < len(block.newlines)
        self.spaced = self.spaced or block.spaced
        self._check_line_ends(block)
        self._check_width(block, starts, commas + 1, blank)
        self._commas += len(block.commas) - (int(before[-1]) if len(ends) else 0)
        self._inside = not len(ends) or int(ends[-1]) + 1 < len(block.data)
        self.count += int(np.count_nonzero(~blank))
        check_cells(self.count, self.width)

    def _check_width(self, block: _Block, starts: Places, widths: Places, blank: npt.NDArray[np.bool_]) -> None:
        blanks, full = np.flatnonzero(blank), np.flatnonzero(~blank)
        if self.blank_line is None and blanks.size:
            self.blank_line = block.line_at(int(starts[blanks[0]]))
            full = full[full > blanks[0]]
        if self.blank_line is not None and full.size:
            raise InvalidTable(
                f"line {self.blank_line} is empty, with rows below it: remove it, or write NA for a missing value",
                metadata={"line": str(self.blank_line)},
            )
        ragged = np.flatnonzero((widths != self.width) & ~blank)
        if ragged.size:
            first = int(ragged[0])
            row = self.count + 1 + first
            line, got = block.line_at(int(starts[first])), int(widths[first])
            has = f"{got} {'column' if got == 1 else 'columns'}"
            raise InvalidTable(
                f"line {line} (row {row}) has {has}, the header has {self.width}: "
                "every row needs as many; put values that hold the delimiter in double quotes",
                metadata={"line": str(line), "row": str(row), "expected": str(self.width), "got": str(got)},
            )

    def _check_line_ends(self, block: _Block) -> None:
        ends = block.row_ends
        if not len(ends):
            return
        returns = block.data[np.maximum(ends - 1, 0)] == _RETURN
        returns[0] &= bool(ends[0])
        if self._returns is None:
            self._returns = bool(returns[0])
        other = np.flatnonzero(returns != self._returns)
        if other.size:
            line = block.line_at(int(ends[other[0]]))
            kinds = ("LF", "CRLF") if returns[other[0]] == 0 else ("CRLF", "LF")
            raise InvalidTable(
                f"line {line} ends with {kinds[0]}, the lines before it with {kinds[1]}: save the file with one kind",
                metadata={"line": str(line)},
            )


def _blocks(file: BinaryIO, delimiter: str) -> Iterator[_Block]:
    """The file in blocks of whole lines, checked for encoding, line length and quotes."""
    line, offset, inside, opened, row_bytes = 1, file.tell(), False, 1, 0
    comma = ord(delimiter)
    for raw in _whole_lines(file):
        check_text(raw, offset, line)
        data = np.frombuffer(raw, np.uint8)
        newlines = np.flatnonzero(data == _NEWLINE)
        lengths = np.diff(newlines, prepend=-1)
        if lengths.max() > LINE_BYTES:
            raise _long_line(line + int(lengths.argmax()))
        quotes = np.flatnonzero(data == _QUOTE) if b'"' in raw else newlines[:0]
        commas = _outside(np.flatnonzero(data == comma), quotes, inside=inside)
        row_ends = _outside(newlines, quotes, inside=inside)
        block = _Block(data, line, newlines, row_ends, commas, _spaced(data, comma))
        _check_quotes(block, quotes, comma, inside=inside)
        inside = bool((len(quotes) + inside) % 2)
        opened = block.line_at(int(quotes[-1])) if inside and len(quotes) else opened
        row_bytes = row_bytes + len(raw) if not len(row_ends) else len(raw) - 1 - int(row_ends[-1])
        if inside and row_bytes > LINE_BYTES:
            raise InvalidTable(
                f"the quote that opens on line {opened} is not closed within {LINE_BYTES:,} bytes: close it",
                metadata={"line": str(opened), "limit": str(LINE_BYTES)},
            )
        yield block
        line, offset = line + len(newlines), offset + len(raw)
    if inside:
        raise InvalidTable(f"the quote that opens on line {opened} is never closed", metadata={"line": str(opened)})


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """Blocks that end with a line feed; the last one is given what it lacks, in the manner of its first line."""
    returns = None
    while raw := file.read(BLOCK_BYTES):
        if not raw.endswith(b"\n"):
            raw += file.readline(LINE_BYTES + 1)
        if returns is None:
            returns = raw[: raw.find(b"\n")].endswith(b"\r") if b"\n" in raw else False
        yield raw if raw.endswith(b"\n") else raw + (b"\r\n" if returns else b"\n")


def _outside(places: Places, quotes: Places, *, inside: bool) -> Places:
    """Those places of a block that are not inside of quotes; `inside` tells how the block begins."""
    if not (len(quotes) or inside):
        return places
    kept: Places = places[(np.searchsorted(quotes, places) + inside) % 2 == 0]
    return kept


def _check_quotes(block: _Block, quotes: Places, comma: int, *, inside: bool) -> None:
    """Quotes stand around whole values only, doubled within; a carriage return stands before a line feed only."""
    data = block.data
    returns = np.flatnonzero(data == _RETURN)
    lone = returns[data[returns + 1] != _NEWLINE] if len(returns) else returns
    lone = _outside(lone, quotes, inside=inside)
    if lone.size:
        line = block.line_at(int(lone[0]))
        raise InvalidTable(
            f"line {line} has a carriage return without a line feed: save the file with Unix or Windows line ends",
            metadata={"line": str(line)},
        )
    opening = (np.arange(len(quotes)) + inside) % 2 == 0
    opened, closed = quotes[opening], quotes[~opening]
    # A block begins after a line feed.
    before = np.where(opened > 0, data[opened - 1], _NEWLINE)
    bad = [opened[~np.isin(before, [comma, _NEWLINE, _QUOTE])]]
    bad.append(closed[~np.isin(data[closed + 1], [comma, _NEWLINE, _RETURN, _QUOTE])])
    places = np.sort(np.concatenate(bad))
    if places.size:
        line = block.line_at(int(places[0]))
        raise InvalidTable(
            f"line {line} has a quote inside a value: put the whole value in double quotes and double those within",
            metadata={"line": str(line)},
        )


def _spaced(data: npt.NDArray[np.uint8], comma: int) -> bool:
    """Whether a space or tab stands beside the end of a value; now and then it only seems so, inside of quotes."""
    blank = data == _SPACE if comma == _TAB else (data == _SPACE) | (data == _TAB)
    spaces = np.flatnonzero(blank)
    edges = [_QUOTE, comma, _NEWLINE, _RETURN]
    # A block ends with a line feed, so the byte before its first is one too.
    return bool(np.isin(data[spaces - 1], edges).any() or np.isin(data[spaces + 1], edges).any())


def _long_line(line: int) -> TooLarge:
    return TooLarge(
        f"line {line} is longer than {LINE_BYTES:,} bytes: is a line end or a closing quote missing?",
        metadata={"line": str(line), "limit": str(LINE_BYTES)},
    )
