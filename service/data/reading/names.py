"""The names of a table's columns, and what makes them unusable."""

import unicodedata
from collections import Counter
from collections.abc import Sequence

from service.errors import InvalidTable, TooLarge, shown

COLUMNS = 4096
NAME_CHARACTERS = 256


def check_column_count(count: int) -> None:
    """Raise TooLarge for more columns than a table may have."""
    if count > COLUMNS:
        raise TooLarge(
            f"the table has more than {COLUMNS:,} columns: upload the ones that are needed",
            metadata={"limit": str(COLUMNS)},
        )


def check_names(names: Sequence[str]) -> None:
    """Raise InvalidTable for a name that is empty, too long, unprintable or there twice, TooLarge for too many."""
    check_column_count(len(names))
    for number, name in enumerate(names, 1):
        if not name:
            raise InvalidTable(f"column {number} has an empty name: name it", metadata={"column": str(number)})
        if len(name) > NAME_CHARACTERS:
            raise InvalidTable(
                f"the name of column {number}, {shown(name)}, has {len(name)} characters: at most {NAME_CHARACTERS}",
                metadata={"column": str(number), "limit": str(NAME_CHARACTERS)},
            )
        if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in name):
            raise InvalidTable(
                f"the name of column {number}, {shown(name)}, holds a control character or a line end: remove it",
                metadata={"column": str(number)},
            )
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        listed = ", ".join(shown(name) for name in twice[:5]) + (", …" if len(twice) > 5 else "")
        raise InvalidTable(
            f"columns have the same name: {listed}; every name must be unique", metadata={"column": twice[0]}
        )
