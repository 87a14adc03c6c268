"""What each column of a table holds: every value is looked at, by duckdb, which sees one file and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from service.data.scan import Scanned, line_of_row
from service.errors import InvalidTable, shown

# The names of Column.Type; the contract's generated code would cost the child a third of its time.
INTEGER, NUMBER, BOOLEAN, TIMESTAMP, CATEGORY, TEXT = "INTEGER", "NUMBER", "BOOLEAN", "TIMESTAMP", "CATEGORY", "TEXT"

MISSING = ("", "NA", "N/A", "NaN", "null", "None")
CATEGORIES = 20
CATEGORIES_SHARE = 0.05
COLUMNS_AT_ONCE = 64
MEMORY = "512MB"

# duckdb's casts take more than is meant here (1_000, 0x1F, epoch), so the form is checked beside them.
_NUMBER = r"'[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?'"
_WHOLE = r"'[+-]?[0-9]+'"
_NOT_FINITE = r"'(?i)[+-]?(inf|infinity|nan)'"
_STAMP = r"'[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?'"
# Whether a value @ fits a type.
_FITS = {
    INTEGER: f"(regexp_full_match(@, {_WHOLE}) AND TRY_CAST(@ AS BIGINT) IS NOT NULL)",
    NUMBER: f"(regexp_full_match(@, {_NUMBER}) AND coalesce(isfinite(TRY_CAST(@ AS DOUBLE)), false))",
    BOOLEAN: "(lower(@) IN ('true', 'false'))",
    TIMESTAMP: f"(regexp_full_match(@, {_STAMP}) AND TRY_CAST(@ AS TIMESTAMP) IS NOT NULL)",
    CATEGORY: "true",
    TEXT: "true",
}
_CASTS = {
    INTEGER: "CAST(@ AS BIGINT)",
    NUMBER: "CAST(@ AS DOUBLE)",
    BOOLEAN: "(lower(@) = 'true')",
    TIMESTAMP: "@",
    CATEGORY: "@",
    TEXT: "@",
}
# Whether it is a number or claims to be one.
_NUMERIC = f"(regexp_full_match(@, {_NUMBER}) OR regexp_full_match(@, {_NOT_FINITE}))"
_CURES = {
    INTEGER: "whole numbers of 64 bits",
    NUMBER: "finite numbers with a decimal point",
    BOOLEAN: "true and false",
    TIMESTAMP: "dates and times as ISO 8601 writes them",
}


@dataclass(frozen=True)
class Detected:
    """A column: its name, the name of its Column.Type, cells without a value, and its sorted categories."""

    name: str
    type: str
    missing: int
    categories: tuple[str, ...] = ()


class RawTable:
    """The table as texts in duckdb: columns c0, c1, …; NULL where a value is missing; rows in the file's order."""

    def __init__(self, source: Path, scanned: Scanned, spill: Path) -> None:
        self.source = source
        self.scanned = scanned
        self.connection = duckdb.connect(":memory:")
        for setting in (
            "threads = 1",
            f"memory_limit = '{MEMORY}'",
            f"temp_directory = {_quoted(spill)}",
            "autoinstall_known_extensions = false",
            "autoload_known_extensions = false",
            # It would turn each list of words below into a join.
            "disabled_optimizers = 'in_clause'",
            f"allowed_paths = [{_quoted(source)}]",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            self.connection.execute(f"SET {setting}")
        self._load()

    def typed(self, columns: Sequence["Detected"], rows_at_once: int) -> Any:
        """The values in their types as a reader of Arrow batches, in the file's order; categories as texts."""
        parts = [f"{_CASTS[column.type].replace('@', f'c{i}')} AS c{i}" for i, column in enumerate(columns)]
        return self.connection.sql(_select(", ".join(parts))).to_arrow_reader(rows_at_once)

    def count(self, tests: Sequence[tuple[int, str]]) -> list[int]:
        """For each column and test in SQL: how many values pass."""
        counts: list[int] = []
        for start in range(0, len(tests), COLUMNS_AT_ONCE):
            parts = [
                f"count_if({test.replace('@', f'c{index}')})" for index, test in tests[start : start + COLUMNS_AT_ONCE]
            ]
            counts += self._row(", ".join(parts))
        return counts

    def distinct(self, index: int, limit: int) -> tuple[str, ...] | None:
        """The sorted values of a column; None if there are more than `limit`."""
        column = f"c{index}"
        query = _select(f"DISTINCT {column}", f"WHERE {column} IS NOT NULL ORDER BY 1 LIMIT {limit + 1}")
        found = self.connection.execute(query).fetchall()
        return None if len(found) > limit else tuple(value for (value,) in found)

    def refuse(self, index: int, wanted: str) -> None:
        """Raise InvalidTable naming the first value that does not fit the type, if there is one."""
        column = f"c{index}"
        test = f"{column} IS NOT NULL AND NOT {_FITS[wanted].replace('@', column)}"
        (count,) = self._row(f"count_if({test})")
        if not count:
            return
        row, value = self._row(f"rowid, {column}", f"WHERE {test} ORDER BY rowid LIMIT 1")
        line = line_of_row(self.source, row)
        name = self.scanned.names[index]
        raise InvalidTable(
            f"line {line}, column {shown(name)}: {shown(value)} is not {wanted} ({_CURES[wanted]}); "
            f"{count} such {'value' if count == 1 else 'values'}: correct them, or write NA where a value is missing",
            metadata={"line": str(line), "row": str(row + 1), "column": name, "count": str(count)},
        )

    def _load(self) -> None:
        names = [f"c{index}" for index in range(len(self.scanned.names))]
        columns = ", ".join(f"'{name}': 'VARCHAR'" for name in names)
        missing = ", ".join(_quoted(word) for word in MISSING)
        limit = f"LIMIT {self.scanned.row_count}" if self.scanned.blank_end else ""
        self.connection.execute(
            f"CREATE TABLE t AS SELECT * FROM read_csv({_quoted(self.source)}, auto_detect = false, "  # noqa: S608
            f"columns = {{{columns}}}, header = true, delim = ',', quote = '\"', escape = '\"', strict_mode = true, "
            f"nullstr = [{missing}], max_line_size = {4 << 20}, buffer_size = {16 << 20}) {limit}"
        )
        (rows,) = self._row("count(*)")
        if rows != self.scanned.row_count:
            raise AssertionError(f"duckdb read {rows} rows of {self.scanned.row_count}")
        spaced = self.count([(index, "@ <> trim(@, ' \t')") for index in range(len(names))])
        for name in (name for name, count in zip(names, spaced, strict=True) if count):
            bare = f"trim({name}, ' \t')"
            self.connection.execute(f"UPDATE t SET {name} = CASE WHEN {bare} IN ({missing}) THEN NULL ELSE {bare} END")  # noqa: S608

    def _row(self, what: str, where: str = "") -> tuple[Any, ...]:
        # All of it: duckdb holds a connection whose result was not read to its end.
        (row,) = self.connection.execute(_select(what, where)).fetchall()
        return tuple(row)


def detect(table: RawTable, asked: Mapping[str, str]) -> list[Detected]:
    """The type of every column: what was asked for, by name, or what its values say.

    Raises InvalidTable for a value that does not fit the type asked for, and for infinite numbers.
    """
    names = table.scanned.names
    present = table.count([(index, "@ IS NOT NULL") for index in range(len(names))])
    types = {index: asked[name] for index, name in enumerate(names) if name in asked}
    for index, wanted in types.items():
        table.refuse(index, wanted)
    # A column without any value teaches nothing; as TEXT it is no input unless it is asked for.
    types |= {index: TEXT for index, count in enumerate(present) if not count and index not in types}
    open_columns = [index for index in range(len(names)) if index not in types]
    for index, numeric in _passing(table, open_columns, _NUMERIC, present):
        if numeric:
            table.refuse(index, NUMBER)
            types[index] = NUMBER
    numbers = [index for index in open_columns if index in types]
    types |= {index: INTEGER for index, whole in _passing(table, numbers, _FITS[INTEGER], present) if whole}
    for wanted in (BOOLEAN, TIMESTAMP):
        left = [index for index in open_columns if index not in types]
        types |= {index: wanted for index, fits in _passing(table, left, _FITS[wanted], present) if fits}
    return [
        _detected(table, index, name, types.get(index), table.scanned.row_count - present[index])
        for index, name in enumerate(names)
    ]


def _passing(table: RawTable, indices: Sequence[int], test: str, present: Sequence[int]) -> list[tuple[int, bool]]:
    """For each column, whether every value passes."""
    counts = table.count([(index, test) for index in indices])
    return [(index, count == present[index]) for index, count in zip(indices, counts, strict=True)]


def _detected(table: RawTable, index: int, name: str, kind: str | None, missing: int) -> Detected:
    if kind not in {CATEGORY, None}:
        return Detected(name, str(kind), missing)
    rows = table.scanned.row_count
    limit = rows if kind == CATEGORY else max(CATEGORIES, int(CATEGORIES_SHARE * rows))
    categories = table.distinct(index, limit)
    return Detected(name, TEXT, missing) if categories is None else Detected(name, CATEGORY, missing, categories)


def _select(what: str, rest: str = "") -> str:
    return f"SELECT {what} FROM t {rest}"  # noqa: S608 - made of our own c0, c1, …: nothing of the file is in it


def _quoted(text: object) -> str:
    """A text of SQL."""
    return "'" + str(text).replace("'", "''") + "'"
