"""What each column of a table holds: every value of every row is looked at."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from service.data.forms import TAKES, all_finite, as_texts, fits, integers, misfits, numbers
from service.data.layout import BOOLEAN, INTEGER, NUMBER, TEXT, TIMESTAMP, kind_of
from service.data.reading.source import CELL_BYTES, Source
from service.data.reading.texts import MISSING
from service.errors import InvalidTable, TooLarge, TraindError, shown

COUNTED_MISFITS = 1000


class Misfit(Exception):
    """A piece of a column has a value that is not of the type it should be."""


@dataclass(frozen=True)
class Detected:
    """A column: its name, the name of its Column.Type, cells without a value, and its sorted categories."""

    name: str
    type: str
    missing: int
    categories: tuple[str, ...] = ()


@dataclass
class Seen:
    """What the rows so far say of a column: which types all of its values could have."""

    # The type that it shall have; None to find it.
    asked: str | None
    # Whether its texts are no numbers and no booleans, whatever they look like.
    texts_are_texts: bool
    rows: int = 0
    missing: int = 0
    # The type of values that came as such and not as texts.
    typed: str | None = None
    # Of texts. Numbers, or infinite, or `nan` in another writing than the one for missing values.
    numeric: bool = True
    finite: bool = True
    whole: bool = True
    boolean: bool = True
    stamp: bool = True

    def take(self, part: pa.Array) -> pa.Array:
        """Look at more rows and answer them as they are to be kept: values of the type, or texts.

        Raises Misfit, and TooLarge for a text that is too long.
        """
        self.rows += len(part)
        came = kind_of(part.type)
        if came == TEXT:
            return self._take_texts(part)
        wanted = self.asked or came
        if came == INTEGER and wanted == NUMBER:
            part = pc.cast(part, pa.float64(), safe=False)
        elif wanted != came:
            return self._take_texts(as_texts(part))
        self.typed = wanted
        self.missing += part.null_count
        if wanted == NUMBER and not all_finite(part):
            raise Misfit
        return part

    def _take_texts(self, texts: pa.StringArray) -> pa.StringArray:
        if self.texts_are_texts:
            texts = pc.if_else(pc.is_in(texts, value_set=pa.array(MISSING)), pa.scalar(None, pa.string()), texts)
        self.missing += texts.null_count
        longest = pc.max(pc.binary_length(texts)).as_py()
        if longest and longest > CELL_BYTES:
            raise Misfit
        if self.asked:
            if not fits(self.asked, texts):
                raise Misfit
            return texts
        if self.numeric and not self.texts_are_texts:
            found = numbers(texts)
            self.numeric = found is not None
            self.finite = self.finite and self.numeric and all_finite(found)
            self.whole = self.whole and self.numeric and integers(texts) is not None
        self.boolean = self.boolean and not self.texts_are_texts and fits(BOOLEAN, texts)
        self.stamp = self.stamp and fits(TIMESTAMP, texts)
        return texts

    @property
    def type(self) -> str | None:
        """What the values are; None where their number decides between CATEGORY and TEXT."""
        if self.asked or self.typed:
            return self.asked or self.typed
        # A column without any value teaches nothing; as TEXT it is no input unless it is asked for.
        if self.missing == self.rows:
            return TEXT
        if self.numeric and not self.texts_are_texts:
            return INTEGER if self.whole else NUMBER
        return BOOLEAN if self.boolean else TIMESTAMP if self.stamp else None

    @property
    def unfit(self) -> bool:
        """Whether the column turned out to be NUMBER with values that are not finite."""
        return self.type == NUMBER and not self.finite


def columns_to_see(source: Source, asked: Mapping[str, str]) -> list[Seen]:
    """A fresh look at every column; `asked` are types by name."""
    return [
        Seen(asked.get(name) or source.stated.get(index), source.texts_are_texts)
        for index, name in enumerate(source.names)
    ]


def refusal(source: Source, index: int, wanted: str | None) -> TraindError:
    """An error that names the first value that does not fit, and how many there are."""
    count, first, seen = 0, (0, ""), 0
    for part in source.column(index):
        longest = pc.max(pc.binary_length(part)).as_py()
        if longest and longest > CELL_BYTES:
            return _long_cell(source, index, seen, part)
        places = misfits(wanted, part, COUNTED_MISFITS - count) if wanted else []
        if places and not count:
            first = seen + places[0], part[places[0]].as_py()
        count += len(places)
        seen += len(part)
    row, value = first
    place, name = source.place(row), source.names[index]
    many = "1 such value" if count == 1 else f"{count:,}{' or more' * (count == COUNTED_MISFITS)} such values"
    assert wanted
    return InvalidTable(
        f"{place.words}, column {shown(name)}: {shown(value)} is not {wanted} ({TAKES[wanted]}); {many}: "
        f"correct them, or {'write NA' if not source.texts_are_texts else 'leave them away'} where a value is missing",
        metadata={**place.metadata, "column": name, "count": str(count)},
    )


def _long_cell(source: Source, index: int, seen: int, part: pa.StringArray) -> TooLarge:
    lengths = pc.fill_null(pc.binary_length(part), 0).to_numpy()
    at = int((lengths > CELL_BYTES).argmax())
    place, name = source.place(seen + at), source.names[index]
    return TooLarge(
        f"{place.words}, column {shown(name)}: {shown(part[at].as_py())} has {int(lengths[at]):,} bytes; a value has "
        f"at most {CELL_BYTES:,}: cut it, or leave the column away",
        metadata={**place.metadata, "column": name, "limit": str(CELL_BYTES)},
    )
