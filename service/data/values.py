"""The values of one column of a call, checked and turned into an array."""

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from service.data import forms, layout
from service.data.times import times_of
from service.errors import invalid, shown
from traind.v1 import tables_pb2

Column = tables_pb2.Column

KNOWN_SHOWN = 20  # categories that an error names

# Type, values, missing, categories and path of a TableColumn.
_Made = tuple["Column.Type.ValueType", npt.NDArray[Any], npt.NDArray[np.bool_] | None, tuple[str, ...], str]


def column_from_values(given: tables_pb2.ColumnValues, path: str, wanted: Column, row_count: int) -> _Made:
    """Type, values, missing, categories and path of what came as `path`, `columns[0]`, as the column `wanted`.

    Raises InvalidField where kind or length do not fit, and where a number is infinite. Which categories are known is
    the model's to say.
    """
    if given.numbers and given.strings:
        raise invalid(path, f"{shown(given.name)} has numbers and strings; send one of them")
    length = max(len(given.numbers), len(given.strings))
    if length != row_count:
        raise invalid(path, f"{shown(given.name)} has {length} values, columns[0] {row_count}; send one for each row")
    if given.missing and len(given.missing) != row_count:
        raise invalid(f"{path}.missing", f"has {len(given.missing)} values for {row_count} rows; send none or one each")
    missing = np.array(given.missing, np.bool_) if any(given.missing) else None
    match wanted.type:
        case Column.INTEGER | Column.NUMBER:
            return _numbers(given, path, wanted, missing)
        case Column.BOOLEAN:
            return _booleans(given, path, wanted, missing)
        case Column.CATEGORY:
            return _categories(given, path, wanted, missing)
        case Column.TIMESTAMP:
            return _times(given, path, wanted, missing)
        case _:
            texts = np.empty(row_count, np.object_)
            texts[:] = _needed_strings(given, path, wanted)
            return wanted.type, texts, missing, (), f"{path}.strings"


def _numbers(given: tables_pb2.ColumnValues, path: str, wanted: Column, missing: npt.NDArray[np.bool_] | None) -> _Made:
    if given.strings:
        _refuse_kind(path, wanted, "numbers", given.strings[0])
    values = np.array(given.numbers, np.float64)
    if missing is not None:
        values[missing] = np.nan
    infinite = np.flatnonzero(np.isinf(values))
    if infinite.size:
        at = int(infinite[0])
        raise invalid(
            f"{path}.numbers[{at}]",
            f"is {values[at]}; {shown(given.name)} takes finite numbers: {infinite.size} are not",
        )
    # NaN says the same as `missing`.
    nan = np.isnan(values)
    return Column.NUMBER, values, nan if nan.any() else None, (), f"{path}.numbers"


def _booleans(
    given: tables_pb2.ColumnValues, path: str, wanted: Column, missing: npt.NDArray[np.bool_] | None
) -> _Made:
    known: dict[object, bool] = {"true": True, "false": False, 1.0: True, 0.0: False}
    part = "strings" if given.strings else "numbers"
    values: Sequence[object] = given.strings or given.numbers
    gone = missing.tolist() if missing is not None else [False] * len(values)
    for row, (value, absent) in enumerate(zip(values, gone, strict=True)):
        if not absent and value not in known:
            raise invalid(
                f"{path}.{part}[{row}]", f"is {shown(value)}; {shown(wanted.name)} takes true and false, or 1 and 0"
            )
    values_known = np.array([known.get(value, False) for value in values], np.bool_)
    return Column.BOOLEAN, values_known, missing, (), f"{path}.{part}"


def _categories(
    given: tables_pb2.ColumnValues, path: str, wanted: Column, missing: npt.NDArray[np.bool_] | None
) -> _Made:
    strings = _needed_strings(given, path, wanted)
    categories = tuple(sorted(set(strings)))
    codes = {text: code for code, text in enumerate(categories)}
    values = np.fromiter((codes[text] for text in strings), np.int32, len(strings))
    if missing is not None:
        values[missing] = -1
    return Column.CATEGORY, values, missing, categories, f"{path}.strings"


def _times(given: tables_pb2.ColumnValues, path: str, wanted: Column, missing: npt.NDArray[np.bool_] | None) -> _Made:
    strings = _needed_strings(given, path, wanted)
    texts = pa.array(strings, pa.string(), mask=missing)
    for at in forms.misfits(layout.TIMESTAMP, texts, 1):
        raise invalid(
            f"{path}.strings[{at}]",
            f"is {shown(strings[at])}; {shown(wanted.name)} takes {forms.TAKES[layout.TIMESTAMP]}, for instance "
            "2024-05-31 or 2024-05-31T09:30:00+09:00",
        )
    return Column.TIMESTAMP, times_of(texts), missing, (), f"{path}.strings"


def unseen_category(name: str, value: str, known: Sequence[str]) -> str:
    """What an error says of a category that was not there in training."""
    listed = ", ".join(shown(category) for category in known[:KNOWN_SHOWN])
    more = f" and {len(known) - KNOWN_SHOWN} more" if len(known) > KNOWN_SHOWN else ""
    return f"{shown(value)} is no category that {shown(name)} had in training; known are {listed}{more}"


def _needed_strings(given: tables_pb2.ColumnValues, path: str, wanted: Column) -> Sequence[str]:
    if given.numbers:
        _refuse_kind(path, wanted, "strings", f"{given.numbers[0]:g}")
    return given.strings


def _refuse_kind(path: str, wanted: Column, part: str, value: str) -> NoReturn:
    raise invalid(
        path, f"{shown(wanted.name)} is {Column.Type.Name(wanted.type)}; send its values as {part}, not {shown(value)}"
    )
