"""What each column of a table holds: every value of every row is looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.data.forms import TAKES, all_finite, fits, integers, misfits, numbers
from service.data.layout import BOOLEAN, CATEGORY, INTEGER, NUMBER, TEXT, TIMESTAMP
from service.data.scan import Scanned, line_of_row
from service.data.texts import Part, read_texts
from service.errors import InvalidTable, shown

CATEGORIES = 20
CATEGORIES_SHARE = 0.05
COUNTED_MISFITS = 1000


@dataclass(frozen=True)
class Detected:
    """A column: its name, the name of its Column.Type, cells without a value, and its sorted categories."""

    name: str
    type: str
    missing: int
    categories: tuple[str, ...] = ()


@dataclass
class _Seen:
    """What the rows so far say of a column: which types all of its values could have."""

    rows: int = 0
    missing: int = 0
    # Numbers, or infinite, or `nan` in another writing than the one for missing values.
    numeric: bool = True
    finite: bool = True
    whole: bool = True
    boolean: bool = True
    stamp: bool = True

    def take(self, part: Part) -> None:
        """Look at more rows."""
        texts = part.texts
        self.rows += len(texts)
        self.missing += texts.null_count
        if self.numeric:
            found = numbers(texts)
            self.numeric = found is not None
            self.finite = self.finite and self.numeric and all_finite(found)
            self.whole = self.whole and self.numeric and integers(texts) is not None
        self.boolean = self.boolean and fits(BOOLEAN, texts)
        self.stamp = self.stamp and fits(TIMESTAMP, texts)

    @property
    def type(self) -> str | None:
        """What the values are; None where their number decides between CATEGORY and TEXT."""
        # A column without any value teaches nothing; as TEXT it is no input unless it is asked for.
        if self.missing == self.rows:
            return TEXT
        if self.numeric:
            return INTEGER if self.whole else NUMBER
        return BOOLEAN if self.boolean else TIMESTAMP if self.stamp else None


def detect(path: Path, scanned: Scanned, asked: Mapping[str, str]) -> list[Detected]:
    """The type of every column: what was asked for, by name, or what its values say.

    Raises InvalidTable for a value that does not fit the type asked for, and for infinite numbers.
    """
    seen = [_Seen() for _ in scanned.names]
    for part in read_texts(path, scanned, range(len(seen))):
        wanted = asked.get(scanned.names[part.index])
        if wanted and not fits(wanted, part.texts):
            raise _refusal(path, scanned, part.index, wanted)
        seen[part.index].take(part)
    types = [asked.get(name) or column.type for name, column in zip(scanned.names, seen, strict=True)]
    for index, (kind, column) in enumerate(zip(types, seen, strict=True)):
        if kind == NUMBER and not column.finite:
            raise _refusal(path, scanned, index, NUMBER)
    categories = _categories(path, scanned, types)
    return [
        Detected(name, kind or (CATEGORY if index in categories else TEXT), column.missing, categories.get(index, ()))
        for index, (name, kind, column) in enumerate(zip(scanned.names, types, seen, strict=True))
    ]


def _categories(path: Path, scanned: Scanned, types: Sequence[str | None]) -> dict[int, tuple[str, ...]]:
    """The sorted values of the columns that are to be CATEGORY, and of those undecided that have few values."""
    few = max(CATEGORIES, int(CATEGORIES_SHARE * scanned.row_count))
    limits = {CATEGORY: scanned.row_count, None: few}
    found: dict[int, set[str]] = {index: set() for index, kind in enumerate(types) if kind in limits}
    for part in read_texts(path, scanned, list(found)):
        if part.index in found:
            values = found[part.index]
            values.update(part.texts.drop_null().unique().to_pylist())
            if len(values) > limits[types[part.index]]:
                del found[part.index]
    return {index: tuple(sorted(values)) for index, values in found.items()}


def _refusal(path: Path, scanned: Scanned, index: int, wanted: str) -> InvalidTable:
    """An error that names the first value that does not fit, and how many there are."""
    count, first = 0, (0, "")
    for part in read_texts(path, scanned, [index]):
        places = misfits(wanted, part.texts, COUNTED_MISFITS - count)
        if places and not count:
            first = part.first_row + places[0], part.texts[places[0]].as_py()
        count += len(places)
    row, value = first
    line, name = line_of_row(path, row), scanned.names[index]
    many = "1 such value" if count == 1 else f"{count:,}{' or more' * (count == COUNTED_MISFITS)} such values"
    return InvalidTable(
        f"line {line}, column {shown(name)}: {shown(value)} is not {wanted} ({TAKES[wanted]}); {many}: "
        "correct them, or write NA where a value is missing",
        metadata={"line": str(line), "row": str(row + 1), "column": name, "count": str(count)},
    )
