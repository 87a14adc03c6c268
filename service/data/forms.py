"""The forms that values have in a file: which texts are a number, a boolean, a time, and what they become.

A null is no value and fits everywhere.
"""

import pyarrow as pa
import pyarrow.compute as pc

from service.data.layout import BOOLEAN, INTEGER, NUMBER, TIMESTAMP

# What an error says of the values that a type takes.
TAKES = {
    INTEGER: "whole numbers of 64 bits",
    NUMBER: "finite numbers with a decimal point",
    BOOLEAN: "true and false",
    TIMESTAMP: "dates and times as ISO 8601 writes them",
}

_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,9})?)?"
_STAMP = rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}([T ]{_TIME}(Z|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])?)?$"


def numbers(texts: pa.StringArray) -> pa.DoubleArray | None:
    """Texts as numbers, infinite ones and `nan` among them; None if one is no number."""
    return _cast(texts, pa.float64())


def integers(texts: pa.StringArray) -> pa.Int64Array | None:
    """Texts as whole numbers; None if one is no such number or needs more than 64 bits."""
    # pyarrow takes 0x1F for a whole number, though not for a number.
    if numbers(texts) is None:
        return None
    found = _cast(texts, pa.int64())
    # It takes no plus; most columns that come here hold fractions and fail once more.
    return _cast(pc.replace_substring_regex(texts, r"^\+", ""), pa.int64()) if found is None else found


def all_finite(found: pa.DoubleArray) -> bool:
    """Whether no number is infinite or NaN."""
    return _all(pc.is_finite(found))


def as_texts(values: pa.Array) -> pa.StringArray:
    """Values of any type as a file would have them."""
    return values if pa.types.is_string(values.type) else pc.cast(values, pa.string())


def fits(kind: str, texts: pa.StringArray) -> bool:
    """Whether every text is a value of that type."""
    if kind == INTEGER:
        return integers(texts) is not None
    if kind == NUMBER:
        found = numbers(texts)
        return found is not None and all_finite(found)
    if kind == BOOLEAN:
        return _all(pc.is_in(pc.ascii_lower(texts), value_set=pa.array(["true", "false", None])))
    if kind == TIMESTAMP:
        days = pc.utf8_slice_codeunits(texts, 0, 10)
        return _all(pc.match_substring_regex(texts, _STAMP)) and _cast(days, pa.date32()) is not None
    return True


def misfits(kind: str, texts: pa.StringArray, limit: int) -> list[int]:
    """The places of the first texts, at most `limit`, that are no value of that type, in order."""
    found: list[int] = []
    parts = [(0, len(texts))]
    while parts and len(found) < limit:
        start, stop = parts.pop()
        if fits(kind, texts.slice(start, stop - start)):
            continue
        if stop - start == 1:
            found.append(start)
        else:
            middle = (start + stop) // 2
            parts += [(middle, stop), (start, middle)]
    return found


def typed(kind: str, texts: pa.StringArray) -> pa.Array:
    """Texts that fit as an Arrow array of the type; CATEGORY, TEXT and TIMESTAMP stay texts."""
    if kind == INTEGER:
        return integers(texts)
    if kind == NUMBER:
        return numbers(texts)
    if kind == BOOLEAN:
        return pc.equal(pc.ascii_lower(texts), "true")
    return texts


def _cast(texts: pa.StringArray, wanted: pa.DataType) -> pa.Array | None:
    try:
        return pc.cast(texts, wanted)
    except pa.ArrowInvalid:
        return None


def _all(passed: pa.BooleanArray) -> bool:
    return bool(pc.all(passed, min_count=0).as_py())
