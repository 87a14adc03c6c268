"""Tables in the forms people hold them: files, dictionaries, rows, NumPy arrays, data frames. None is imported here."""

from __future__ import annotations

import csv
import importlib
import itertools
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from traind.errors import InvalidSpec

# As the server reads a CSV file.
MISSING_MARKS = frozenset({"", "NA", "N/A", "NaN", "null", "None"})
DELIMITERS = (",", ";", "|", "\t")
ENCODINGS = {"UTF-8": "utf-8-sig", "UTF8": "utf-8-sig", "CP949": "cp949", "EUC-KR": "cp949"}


@dataclass(frozen=True)
class TableIn:
    """Columns by name, each a list of Python values, all of one length; `kind` is the form they came in."""

    columns: dict[str, list[Any]]
    row_count: int
    kind: str  # `numpy`, `pandas`, `polars`, `pyarrow`, `torch`, `list`
    # Of a pandas frame, so that answers can carry it.
    index: Any = None


def read_table(data: Any, names: Sequence[str] | None = None, *, encoding: str = "", delimiter: str = "") -> TableIn:
    """Read any form of a table.

    `names` are the columns of what has no names of its own: an array [rows, columns] or rows of values; an array of one
    dimension is one row of all columns, or the rows of a single one. An iterator gives one table after another, each in
    any of these forms and with the same columns. `encoding` and `delimiter` are a CSV file's, as in
    Datasets.create. Raises InvalidSpec naming column or row.
    """
    if isinstance(data, str | os.PathLike):
        with pathlib.Path(data).open(encoding=codec(encoding), newline="") as file:
            return read_csv(file, os.fspath(data), delimiter)
    if _is_arrow(data) or (hasattr(data, "__arrow_c_stream__") and not hasattr(data, "columns")):
        return _arrow(data)
    if isinstance(data, Iterator):
        return _batches(data, names)
    if isinstance(data, Mapping):
        return _table({str(name): _values(values, str(name)) for name, values in data.items()}, "list")
    if hasattr(data, "columns"):
        return _frame(data)
    if hasattr(data, "ndim") and hasattr(data, "tolist"):
        return _array(data, names)
    if isinstance(data, Sequence) and not isinstance(data, bytes | bytearray):
        return _rows(data, names)
    raise InvalidSpec(
        f"a {type(data).__name__} is no table",
        fix="give a path, a list of dicts, a dict of columns, an array of rows, a data frame, or an iterator of those",
    )


def codec(encoding: str) -> str:
    """Python's name of an encoding that the server takes too; a byte-order mark is passed over."""
    spelled = encoding.upper().replace("_", "-") or "UTF-8"
    if spelled not in ENCODINGS:
        raise InvalidSpec(f"the encoding {encoding!r} is not known", field="encoding", fix="use UTF-8 or CP949")
    return ENCODINGS[spelled]


def read_csv(file: TextIO, name: str, delimiter: str = "") -> TableIn:
    """Read a CSV file with a header; missing marks become None. Raises InvalidSpec naming the line."""
    try:
        first = file.readline()
    except UnicodeDecodeError as error:
        raise _wrong_encoding(1, name, error) from None
    lines = itertools.chain([first], file)
    reader = csv.reader(lines, strict=True, delimiter=_delimiter(delimiter, first))
    try:
        header = next(reader, [])
        if not header or len(set(header)) < len(header):
            raise InvalidSpec(f"{name} has no header, or names a column twice", fix="begin with a line of column names")
        columns: list[list[Any]] = [[] for _ in header]
        for row in reader:
            if len(row) != len(header):
                if not row:
                    continue
                raise InvalidSpec(f"line {reader.line_num} of {name} has {len(row)} cells, the header {len(header)}")
            for column, cell in zip(columns, row, strict=True):
                column.append(None if cell in MISSING_MARKS else cell)
    except UnicodeDecodeError as error:
        raise _wrong_encoding(reader.line_num + 1, name, error) from None
    except csv.Error as error:
        raise InvalidSpec(f"line {reader.line_num} of {name} cannot be read: {error}") from None
    return _table(dict(zip(header, columns, strict=True)), "list")


def _delimiter(given: str, first: str) -> str:
    """What was given, else what makes the most columns of the first line, a comma where several make as many."""
    asked = "\t" if given == "\\t" else given
    if asked and asked not in DELIMITERS:
        raise InvalidSpec(f"{given!r} stands between no values", field="delimiter", fix="use one of , ; | \\t")
    return asked or max(DELIMITERS, key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))


def _wrong_encoding(line: int, name: str, error: UnicodeDecodeError) -> InvalidSpec:
    other = "CP949, as Korean Excel saves it" if error.encoding.lower().startswith("utf") else "UTF-8"
    return InvalidSpec(f"about line {line} of {name} is no {error.encoding}", fix=f"tell its encoding: perhaps {other}")


def is_missing(value: Any) -> bool:
    """None, NaN, and what data frames put for them."""
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    return isinstance(value, float) and value != value  # noqa: PLR0124 - only NaN differs from itself


def _table(columns: dict[str, list[Any]], kind: str, index: Any = None) -> TableIn:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        (first, rows), (other, others) = next((a, b) for a in lengths.items() for b in lengths.items() if a[1] != b[1])
        raise InvalidSpec(f"columns differ in length: {first!r} has {rows} values, {other!r} has {others}")
    if not lengths:
        raise InvalidSpec("the table has no columns")
    return TableIn(columns, next(iter(lengths.values())), kind, index)


def _values(column: Any, name: str) -> list[Any]:
    """A column as a list of Python values."""
    for spelling in ("tolist", "to_list"):
        if hasattr(column, spelling):
            values = getattr(column, spelling)()
            if isinstance(values, list):
                return values
    if isinstance(column, Sequence) and not isinstance(column, str | bytes):
        return list(column)
    raise InvalidSpec(f"column {name!r} is no list of values but a {type(column).__name__}")


def _frame(frame: Any) -> TableIn:
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise InvalidSpec("the data frame names a column twice", fix="give every column a name of its own")
    columns = {name: _values(frame[own], name) for name, own in zip(names, frame.columns, strict=True)}
    library = type(frame).__module__.partition(".")[0]
    kind = library if library in {"pandas", "polars"} else "list"
    return _table(columns, kind, frame.index if kind == "pandas" else None)


def _is_arrow(data: Any) -> bool:
    arrow = sys.modules.get("pyarrow")
    return arrow is not None and isinstance(data, arrow.Table | arrow.RecordBatch)


def as_arrow(data: Any) -> Any:
    """A pyarrow Table of what speaks Arrow's stream interface. Raises InvalidSpec where pyarrow is not installed."""
    if _is_arrow(data):
        return data
    try:
        arrow = importlib.import_module("pyarrow")  # by name: the client does not need it
    except ModuleNotFoundError:
        kind = type(data).__name__
        raise InvalidSpec(f"a {kind} is read through Arrow", fix="pip install 'traind[arrow]'") from None
    return arrow.table(data)


def _arrow(data: Any) -> TableIn:
    table = as_arrow(data)
    names = list(table.schema.names)
    if len(set(names)) < len(names):
        raise InvalidSpec("the Arrow table names a column twice", fix="give every column a name of its own")
    return _table({name: table.column(i).to_pylist() for i, name in enumerate(names)}, "pyarrow")


def _batches(batches: Iterator[Any], names: Sequence[str] | None) -> TableIn:
    """The tables of an iterator as one."""
    columns: dict[str, list[Any]] = {}
    for number, batch in enumerate(batches):
        table = read_table(batch, names)
        if number == 0:
            columns = {name: [] for name in table.columns}
        check_batch(number, list(columns), list(table.columns))
        for name, values in table.columns.items():
            columns[name] += values
    return _table(columns, "list")


def check_batch(number: int, expected: Sequence[str], found: Sequence[str]) -> None:
    """Raises InvalidSpec unless a batch has the columns of the first."""
    if set(expected) != set(found):
        missing, more = [n for n in expected if n not in found], [n for n in found if n not in expected]
        told = [f"lacks {', '.join(map(repr, missing))}"] if missing else []
        told += [f"has {', '.join(map(repr, more))} too"] if more else []
        raise InvalidSpec(f"batch {number} {' and '.join(told)}", fix="give every batch the columns of the first")


def _array(array: Any, names: Sequence[str] | None) -> TableIn:
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    kind = "numpy" if numpy is not None and isinstance(array, numpy.ndarray) else "list"
    if torch is not None and isinstance(array, torch.Tensor):
        kind, array = "torch", array.detach().cpu()
    fields = getattr(array.dtype, "names", None)  # of a structured array
    if fields:
        return _table({name: array[name].tolist() for name in fields}, kind)
    width = len(_needed(names))
    if array.ndim == 1:
        array = array.reshape(-1, 1) if width == 1 else array.reshape(1, -1)
    if array.ndim != 2 or array.shape[1] != width:
        shape = tuple(array.shape)
        raise InvalidSpec(f"the array has shape {shape}, expected [rows, {width}] for {', '.join(names or ())}")
    return _table({name: array[:, i].tolist() for i, name in enumerate(_needed(names))}, kind)


def _rows(rows: Sequence[Any], names: Sequence[str] | None) -> TableIn:
    if not rows:
        raise InvalidSpec("the table has no rows")
    if isinstance(rows[0], Mapping):
        header: dict[str, None] = {}
        for i, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise InvalidSpec(f"row {i} is a {type(row).__name__}, the rows before are dicts")
            header.update(dict.fromkeys(str(name) for name in row))
        return _table({name: [row.get(name) for row in rows] for name in header}, "list")
    width = len(_needed(names))
    lists = [_row(row) for row in rows] if _row(rows[0]) is not None else None
    if lists is None:
        lists = [[value] for value in rows] if width == 1 else [list(rows)]
    for i, values in enumerate(lists):
        if values is None or len(values) != width:
            given = "one value" if values is None else f"{len(values)} values"
            raise InvalidSpec(f"row {i} has {given}, expected {width} for {', '.join(names or ())}")
    return _table({name: [row[i] for row in lists if row] for i, name in enumerate(_needed(names))}, "list")


def _row(row: Any) -> list[Any] | None:
    """A row's values; None for a single value."""
    if hasattr(row, "tolist"):
        row = row.tolist()
    return list(row) if isinstance(row, Sequence) and not isinstance(row, str | bytes) else None


def _needed(names: Sequence[str] | None) -> Sequence[str]:
    if not names:
        raise InvalidSpec("an array has no column names", fix="give them: columns=['area', 'rooms', ...]")
    if len(set(names)) < len(names):
        raise InvalidSpec("a column name is given twice")
    return names
