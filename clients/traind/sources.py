"""Where the rows of a new data set come from: files, bytes, tables. Each becomes a file of the same values.

Files go as they are. Arrow tables and polars frames go as Arrow files, which hold their types. Other tables go as CSV,
where texts mean what they mean in a file; but texts of a pandas frame are texts, so that a frame with a column of texts
that look like something else (`007`, `true`) goes as JSON Lines. Texts like `NA` are missing values everywhere.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from traind.csv_out import encode_csv
from traind.errors import InvalidSpec
from traind.tables_in import MISSING_MARKS, as_arrow, check_batch, is_missing, read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traind.tables_in import TableIn

# Of what is made from batches, so much stays in memory.
IN_MEMORY = 32 << 20


def open_source(source: Any, columns: Sequence[str] | None) -> BinaryIO:
    """The bytes of a file, at their beginning. A file that was given open is read to its end and left open."""
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source)
    if isinstance(source, str | os.PathLike):
        try:
            return pathlib.Path(source).open("rb")
        except OSError as error:
            raise InvalidSpec(f"{source} cannot be read: {error.strerror}") from None
    if hasattr(source, "read"):
        return _copied(source)
    if isinstance(source, Iterator):
        return _joined(source, columns)
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(source, polars.DataFrame):
        file = io.BytesIO()
        source.write_ipc(file, compression="uncompressed")
        return _at_beginning(file)
    if hasattr(source, "__arrow_c_stream__") and not hasattr(source, "iloc"):
        return _arrow_file(as_arrow(source))
    table = read_table(source, columns)
    check_mixed(table)
    exact = table.kind == "pandas" and any(map(_misread, table.columns.values()))
    return io.BytesIO(encode_json_lines(table) if exact else encode_csv(table))


def check_mixed(table: TableIn) -> None:
    """Raises InvalidSpec naming the first row whose value is of another kind than those before it."""
    for name, values in table.columns.items():
        first: tuple[int, bool] | None = None
        for row, value in enumerate(values):
            if is_missing(value):
                continue
            is_text = isinstance(value, str)
            if first is None:
                first = row, is_text
            elif first[1] != is_text:
                raise InvalidSpec(
                    f"column {name!r}, row {row}: {value!r:.80} is {_kind(value)}, row {first[0]} holds "
                    f"{_kind(values[first[0]])}",
                    field=name,
                    fix="make all values of the column texts, or all of them numbers",
                )


def encode_json_lines(table: TableIn) -> bytes:
    """An object a row; None, NaN and what frames put for them become null, texts stay texts."""
    names = list(table.columns)
    rows = zip(*table.columns.values(), strict=True)
    lines = (json.dumps(dict(zip(names, map(_json, row), strict=True)), ensure_ascii=False) for row in rows)
    return "".join(f"{line}\n" for line in lines).encode()


def _kind(value: Any) -> str:
    return "a text" if isinstance(value, str) else f"of the type {type(value).__name__}"


def _json(value: Any) -> Any:
    if is_missing(value):
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value.item() if hasattr(value, "item") else value


def _misread(values: list[Any]) -> bool:
    """Whether a CSV file would give other values back: numbers, or true and false, for texts that look like them."""
    texts = [value for value in values if isinstance(value, str) and value not in MISSING_MARKS]
    return bool(texts) and all(map(_looks_otherwise, texts))


def _looks_otherwise(text: str) -> bool:
    if text.strip().lower() in {"true", "false"}:
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def _copied(source: Any) -> BinaryIO:
    if isinstance(source.read(0), str):
        raise InvalidSpec("the file was opened as text", fix='open it as bytes: open(path, "rb")')
    file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  # the caller closes it
    shutil.copyfileobj(source, file)
    return _at_beginning(file)


def _joined(batches: Iterator[Any], columns: Sequence[str] | None) -> BinaryIO:
    """The tables of an iterator as one CSV file, of which no more than one is held at once."""
    with contextlib.ExitStack() as undone:
        file = undone.enter_context(tempfile.SpooledTemporaryFile(IN_MEMORY))
        header: list[str] = []
        for number, batch in enumerate(batches):
            table = read_table(batch, columns)
            check_mixed(table)
            header = header or list(table.columns)
            check_batch(number, header, list(table.columns))
            ordered = {name: table.columns[name] for name in header}
            file.write(encode_csv(type(table)(ordered, table.row_count, table.kind), header=number == 0))
        if not header:
            raise InvalidSpec("the iterator gave no batch")
        undone.pop_all()
    return _at_beginning(file)


def _arrow_file(table: Any) -> BinaryIO:
    ipc = importlib.import_module("pyarrow.ipc")  # by name: the client does not need it
    file = io.BytesIO()
    with ipc.new_file(file, table.schema) as writer:
        writer.write(table)
    return _at_beginning(file)


def _at_beginning(file: Any) -> BinaryIO:
    file.seek(0)
    return cast("BinaryIO", file)
