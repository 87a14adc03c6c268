"""JSON Lines as a source: one object on each line, whose values are numbers, booleans, texts and null.

The file is read twice: first to learn which columns there are and of what kind, then for their values.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa

from service.data.layout import ARROW_TYPES, BOOLEAN, INTEGER, NUMBER, TEXT
from service.data.reading.encodings import UTF8_MARK, check_text
from service.data.reading.header import LINE_BYTES
from service.data.reading.names import check_names
from service.data.reading.source import Place, check_cells
from service.data.reading.texts import MISSING
from service.errors import InvalidTable, TooLarge, shown

_PIECE_CELLS = 1 << 19
_KINDS = {int: INTEGER, float: NUMBER, bool: BOOLEAN, str: TEXT}
_SAID = {INTEGER: "a number", NUMBER: "a number", BOOLEAN: "true or false", TEXT: "a text"}
_LONGEST_INTEGER = 1 << 63

_Row = dict[str, Any]


class JsonLines:
    """A file of JSON objects; `asked` are types by name. Values of a column with an asked type may be of any kind."""

    texts_are_texts = True

    def __init__(self, path: Path, asked: Mapping[str, str]) -> None:
        self._path = path
        self._asked = asked
        self._kinds: dict[str, str] = {}
        rows = 0
        for line, row in _rows(path):
            rows = line
            for name, value in row.items():
                self._learn(line, name, value)
            check_cells(rows, len(self._kinds))
        self.names = tuple(self._kinds)
        if not self.names:
            raise InvalidTable("the objects of the file have no keys, so that the table has no columns")
        check_names(self.names)
        self.stated: Mapping[int, str] = {}

    def batches(self) -> Iterator[list[pa.Array]]:
        """The rows, in pieces of a bounded number of cells."""
        waiting: list[_Row] = []
        for line, row in _rows(self._path):
            waiting.append(row)
            if len(waiting) * len(self.names) >= _PIECE_CELLS:
                yield self._arrays(waiting, line)
                waiting = []
        if waiting:
            yield self._arrays(waiting, line)

    def column(self, index: int) -> Iterator[pa.Array]:
        """The texts of one column."""
        name = self.names[index]
        waiting: list[str | None] = []
        for _, row in _rows(self._path):
            waiting.append(_text(row.get(name)))
            if len(waiting) >= _PIECE_CELLS:
                yield pa.array(waiting, pa.string())
                waiting = []
        yield pa.array(waiting, pa.string())

    def place(self, row: int) -> Place:
        """The line of the row."""
        return Place(f"line {row + 1}", {"line": str(row + 1), "row": str(row + 1)})

    def _learn(self, line: int, name: str, value: Any) -> None:
        """Hold a value against the kind that its column has had so far."""
        before = self._kinds.setdefault(name, "")
        kind = _kind(line, name, value)
        if not kind or kind == before or name in self._asked:
            return
        if not before:
            self._kinds[name] = kind
        elif {before, kind} == {INTEGER, NUMBER}:
            self._kinds[name] = NUMBER
        else:
            raise InvalidTable(
                f"line {line}, column {shown(name)}: {shown(value)} is {_SAID[kind]}, the values before it are "
                f"{_SAID[before]}: write all of them as one kind, or send the column's type in the schema",
                metadata={"line": str(line), "row": str(line), "column": name},
            )

    def _arrays(self, rows: list[_Row], last: int) -> list[pa.Array]:
        return [self._array(name, [row.get(name) for row in rows], last - len(rows) + 1) for name in self.names]

    def _array(self, name: str, values: list[Any], first: int) -> pa.Array:
        kind = self._kinds[name] if name not in self._asked else TEXT
        if kind in {"", TEXT}:
            texts = [_text(value) for value in values]
            try:
                return pa.array(texts, pa.string())
            except UnicodeEncodeError:
                _refuse_surrogate(name, texts, first)
        # Only words that stand for a missing value may be among the others.
        known = [None if isinstance(value, str) else value for value in values]
        # pyarrow takes no whole number for a float that is not exactly one.
        return pa.array(map(_float, known) if kind == NUMBER else known, ARROW_TYPES[kind])


def _kind(line: int, name: str, value: Any) -> str:
    """The type of one value; empty where it is missing. Raises InvalidTable for a list or an object."""
    if value is None or (isinstance(value, str) and value in MISSING):
        return ""
    kind = _KINDS.get(type(value))
    if kind is None:
        what = "an object" if isinstance(value, dict) else "a list"
        raise InvalidTable(
            f"line {line}, column {shown(name)}: {shown(json.dumps(value))} is {what}; a value is a number, a text, "
            "true, false or null: turn it into columns of these, or leave it away",
            metadata={"line": str(line), "row": str(line), "column": name},
        )
    return NUMBER if kind == INTEGER and not -_LONGEST_INTEGER <= value < _LONGEST_INTEGER else kind


def _float(value: float | None) -> float | None:
    """The nearest float; where a whole number is beyond all of them an infinite one, which is refused by its place."""
    if value is None:
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _text(value: Any) -> str | None:
    """A value as CSV would have it."""
    if value is None or isinstance(value, str):
        return value
    return repr(value).lower() if isinstance(value, bool) else repr(value)


def _rows(path: Path) -> Iterator[tuple[int, _Row]]:
    """Every line with its number, from 1. Raises InvalidTable naming the line."""
    offset, blank = 0, 0
    with path.open("rb") as file:
        if file.read(len(UTF8_MARK)) != UTF8_MARK:
            file.seek(0)
        line = 0
        while raw := file.readline(LINE_BYTES + 1):
            line += 1
            if len(raw) > LINE_BYTES:
                raise TooLarge(
                    f"line {line} is longer than {LINE_BYTES:,} bytes: is a line end missing?",
                    metadata={"line": str(line), "limit": str(LINE_BYTES)},
                )
            check_text(raw, offset, line)
            offset += len(raw)
            if not raw.strip():
                blank = blank or line
                continue
            if blank:
                raise InvalidTable(
                    f"line {blank} is empty, with rows below it: remove it", metadata={"line": str(blank)}
                )
            yield line, _parse(raw, line)


def _parse(raw: bytes, line: int) -> _Row:
    try:
        row = _DECODER.decode(raw.decode())
    except RecursionError:
        _refuse(line, "is nested too deep")
    except ValueError as error:
        _refuse(line, f"is no JSON object: {error}")
    if not isinstance(row, dict):
        _refuse(line, f"is no JSON object: it is {shown(json.dumps(row))}")
    return row


def _object(pairs: list[tuple[str, Any]]) -> _Row:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
        raise ValueError(f"the key {shown(twice)} stands twice")
    return made


def _constant(word: str) -> None:
    """NaN is a missing value, as in other formats; infinite numbers are none."""
    if word != "NaN":
        raise ValueError(f"{word} is no finite number")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _refuse(line: int, what: str) -> NoReturn:
    raise InvalidTable(f"line {line} {what}; write one object on each line", metadata={"line": str(line)})


def _refuse_surrogate(name: str, texts: list[str | None], first: int) -> NoReturn:
    """Name the line whose text has half a character, which only an escape can bring."""
    line = first + next(i for i, text in enumerate(texts) if text and any("\ud800" <= c <= "\udfff" for c in text))
    raise InvalidTable(
        f"line {line}, column {shown(name)}: the text holds half a character (a lone surrogate): remove it",
        metadata={"line": str(line), "row": str(line), "column": name},
    )
