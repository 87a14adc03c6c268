"""How the columns become features: functions that read a column, and one that does the steps of each."""

from collections.abc import Iterator

from service.data.preprocessing import Fitted, FittedColumn
from service.data.preprocessing.steps import Code, NumberStep, OneHot, Ordinal
from service.script_files.lines import call, function, literal
from service.script_files.steps import step_lines
from traind.v1 import tables_pb2

Column = tables_pb2.Column
# What a data set's files have for a missing value.
_MARKS = ("", "NA", "N/A", "NaN", "null", "None")

_VALUES = [
    "if any(name not in row for row in rows):",
    '    raise ValueError(f"a row lacks the column {name!r}")',
    "column = [row[name] for row in rows]",
    "return [None if value in MISSING or value != value else value for value in column]",
]
_COMPLETE = [
    'gone = np.isnat(x) if x.dtype.kind == "M" else np.isnan(x)',
    "if gone.any():",
    '    raise ValueError(f"row {gone.argmax() + 1} lacks {name!r}, and the model takes complete rows only")',
    "return x",
]
_NUMBERS = [
    "x = np.array([np.nan if value is None else float(value) for value in values(rows, name)])",
    "if np.isinf(x).any():",
    '    raise ValueError(f"row {np.isinf(x).argmax() + 1} has an infinite {name!r}")',
    "return x",
]
_CATEGORIES = [
    "places = {category: place for place, category in enumerate(known)}",
    "codes = []",
    "for row, value in enumerate(values(rows, name), 1):",
    "    if value is None and filled is None:",
    '        raise ValueError(f"row {row} lacks {name!r}, and the model takes complete rows only")',
    "    code = places.get(filled if value is None else str(value), -1)",
    "    if code < 0 and value is not None and not unseen:",
    '        raise ValueError(f"row {row}: {value!r} is no {name!r} that training had")',
    "    codes.append(code)",
    "return np.array(codes, dtype=np.int64)",
]
_BOOLEANS = [
    'texts = {"1": "true", "1.0": "true", "0": "false", "0.0": "false", "true": "true", "false": "false"}',
    "column = values(rows, name)",
    "if any(value is not None and str(value).lower() not in texts for value in column):",
    '    raise ValueError(f"{name!r} takes true and false, or 1 and 0")',
    "return [{name: None if value is None else texts[str(value).lower()]} for value in column]",
]
_TIMES = [
    "moments = [None if value is None else datetime.fromisoformat(str(value)) for value in values(rows, name)]",
    "# In UTC where an offset is told.",
    "moments = [m.astimezone(UTC).replace(tzinfo=None) if m and m.tzinfo else m for m in moments]",
    'return np.array(moments, dtype="datetime64[us]")',
]
_DAY = 'moments.astype("datetime64[D]")'
_PARTS = {
    "YEAR": 'moments.astype("datetime64[Y]").astype(np.int64) + 1970',
    "MONTH": 'moments.astype("datetime64[M]").astype(np.int64) % 12 + 1',
    "DAY": f'({_DAY} - moments.astype("datetime64[M]")).astype(np.int64) + 1',
    "WEEKDAY": f"({_DAY}.astype(np.int64) + 3) % 7",
    "DAY_OF_YEAR": f'({_DAY} - moments.astype("datetime64[Y]")).astype(np.int64) + 1',
    "HOUR": f"(moments - {_DAY}).astype(np.int64) // 3_600_000_000",
    "MINUTE": f"(moments - {_DAY}).astype(np.int64) // 60_000_000 % 60",
    "DAYS": "moments.astype(np.int64) / 86_400_000_000",
}


def missing_marks(fitted: Fitted) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Texts that are missing values: of a row, and of a file. What is a category is none."""
    known = {category for column in fitted.columns for category in column.categories}
    return tuple(mark for mark in _MARKS[:1] if mark not in known), tuple(mark for mark in _MARKS if mark not in known)


def steps_of(fitted: Fitted) -> Iterator[NumberStep]:
    """Every step of numbers."""
    for column in fitted.columns:
        yield from column.number_steps
        for part in column.parts:
            yield from part.steps


def column_functions(fitted: Fitted) -> list[str]:
    """The functions that read columns, as far as there are such columns."""
    kinds = {column.type for column in fitted.columns}
    numeric = any(column.encoding is None and column.type != Column.TIMESTAMP for column in fitted.columns)
    lines = function("values(rows, name)", "A column, None where a row has no value.", _VALUES)
    if any(not column.takes_missing and column.encoding is None for column in fitted.columns):
        lines += function("complete(name, x)", "Refuses rows without a value.", _COMPLETE)
    if numeric:
        lines += function("numbers(rows, name)", "A column of numbers, NaN where there is none.", _NUMBERS)
    if any(column.encoding for column in fitted.columns):
        told = "Places among the `known` categories, else -1; `filled` stands for a missing value."
        lines += function("categories(rows, name, known, filled=None, unseen=False)", told, _CATEGORIES)
    if Column.BOOLEAN in kinds:
        lines += function("booleans(rows, name)", 'The same column as "true" and "false".', _BOOLEANS)
    if Column.TIMESTAMP in kinds:
        lines += function("times(rows, name)", "A column of ISO 8601 times, NaT where there is none.", _TIMES)
    return lines


def features_function(fitted: Fitted, limit: float, dtype: str) -> list[str]:
    """The function that makes what the network sees."""
    body = ["columns = []"]
    for column in fitted.columns:
        body += _column(column)
    body += [
        "features = np.column_stack(columns).astype(np.float64)",
        f"if not (np.abs(features) <= {literal(limit)}).all():",
        '    raise ValueError("a row has a number that is too large, or that a step has no finite result for")',
        f"return torch.from_numpy(features).to({dtype})",
    ]
    return function("features(rows)", f"What the network sees: [rows, {fitted.width}].", body)


def _column(column: FittedColumn) -> list[str]:
    if column.type == Column.TIMESTAMP:
        lines = _times(column)
    elif column.encoding is None:
        read = f"numbers(rows, {literal(column.name)})"
        lines = [f"x = {_read(column, read)}", *step_lines(column.number_steps), "columns.append(x)"]
    else:
        lines = _categories(column)
    if column.indicator:
        lines.append(f"columns.append([value is None for value in values(rows, {literal(column.name)})])")
    return lines


def _read(column: FittedColumn, read: str) -> str:
    return read if column.takes_missing else f"complete({literal(column.name)}, {read})"


def _times(column: FittedColumn) -> list[str]:
    lines = [f"moments = {_read(column, f'times(rows, {literal(column.name)})')}"]
    for part in column.parts:
        lines.append(f"x = {_PARTS[part.part]}")
        if column.takes_missing:
            lines.append("x = np.where(np.isnat(moments), np.nan, x)")
        lines += [*step_lines(part.steps), "columns.append(x)"]
    return lines


def _categories(column: FittedColumn) -> list[str]:
    name = literal(column.name)
    rows = f"booleans(rows, {name})" if column.type == Column.BOOLEAN else "rows"
    end = f"], filled={column.fill_text!r}" if column.takes_missing else "]"
    end += ", unseen=True)" if column.takes_unseen else ")"
    lines = call(f"codes = categories({rows}, {name}, [", column.categories, end)
    match column.encoding:
        case OneHot(categories):
            lines.append(f"columns += [codes == place for place in range({len(categories)})]")
        case Ordinal():
            lines.append("columns.append(codes)")
        case Code():
            lines.append("columns.append(codes + 1)  # which vector of the embedding; 0 for none of them")
        case None:
            raise AssertionError("a column of categories has an encoding")
    return lines
