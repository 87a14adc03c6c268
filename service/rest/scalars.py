"""JSON values as values of proto fields: what proto3 JSON allows, and nothing that would have to be guessed."""

import base64
import binascii
import math
import re
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from service.calling.rules import allowed_names
from service.errors import shown

_INTEGER = re.compile(r"-?[0-9]{1,25}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_NUMBERS = {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}


class WrongValue(Exception):
    """A value that cannot be taken; the text is the description."""


def extend_plain(field: FieldDescriptor, place: Any, values: list[Any]) -> bool:
    """The quick way for long lists of plain values; False where one needs a closer look."""
    kinds = set(map(type, values))
    if field.cpp_type in _NUMBERS and kinds <= {int, float}:
        try:
            numbers = [float(value) for value in values]
        except OverflowError:
            return False
        if all(map(math.isfinite, numbers)):
            place.extend(numbers)
            return True
    elif field.type == FieldDescriptor.TYPE_STRING and kinds == {str} and _is_text("".join(values)):
        place.extend(values)
        return True
    elif field.cpp_type in _RANGES and kinds == {int}:
        low, high = _RANGES[field.cpp_type]
        if low <= min(values) and max(values) <= high:
            place.extend(values)
            return True
    return False


def scalar(field: FieldDescriptor, value: Any) -> Any:
    """A JSON value as the value of a field that is no message. Raises WrongValue."""
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return _number(value)
        case FieldDescriptor.CPPTYPE_BOOL:
            if isinstance(value, bool):
                return value
            raise WrongValue(f"is {kind_of(value)}; must be true or false")
        case FieldDescriptor.CPPTYPE_STRING:
            return _bytes(value) if field.type == FieldDescriptor.TYPE_BYTES else _text(value)
        case FieldDescriptor.CPPTYPE_ENUM:
            return _enum(field, value)
        case kind:
            return _whole(value, *_RANGES[kind])


def _number(value: Any) -> float:
    number = math.nan
    if isinstance(value, str):
        if value in _NOT_FINITE:
            return _NOT_FINITE[value]
        if not _NUMBER.fullmatch(value):
            raise WrongValue(f'is {kind_of(value)}; must be a number, or "NaN", "Infinity" or "-Infinity" in quotes')
        number = float(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    else:
        raise WrongValue(f"is {kind_of(value)}; must be a number")
    if not math.isfinite(number):
        raise WrongValue(
            "must be finite here: a number ends at 1.8e308 in double precision; NaN and Infinity, where they are "
            'allowed, are written in quotes: "NaN", "Infinity", "-Infinity"'
        )
    return number


def _whole(value: Any, low: int, high: int) -> int:
    number = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif (isinstance(value, float) and value.is_integer()) or (isinstance(value, str) and _INTEGER.fullmatch(value)):
        number = int(value)
    if number is None:
        raise WrongValue(f"is {kind_of(value)}; must be a whole number")
    if not low <= number <= high:
        raise WrongValue(f"is {shown(number)}; must be from {low} to {high}")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise WrongValue(f"is {kind_of(value)}; must be text")
    if not _is_text(value):
        raise WrongValue(f"{shown(value)} holds half of a surrogate pair, which is no character; leave it out")
    return value


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bytes(value: Any) -> bytes:
    text = _text(value).replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise WrongValue(f"{shown(value)} is no base64") from None


def _enum(field: FieldDescriptor, value: Any) -> int:
    assert field.enum_type is not None
    if isinstance(value, str):
        known = field.enum_type.values_by_name.get(_text(value))
        if known is None:
            raise WrongValue(f"{shown(value)} is none of {allowed_names(field)}")
        return known.number
    return _whole(value, *_RANGES[FieldDescriptor.CPPTYPE_INT32])


def kind_of(value: Any) -> str:
    """The JSON type of a value, with the value where it is short."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"a boolean ({str(value).lower()})"
    if isinstance(value, int | float):
        return f"a number ({shown(value)[1:-1]})"
    if isinstance(value, str):
        return f"text ({shown(value)})"
    return "a list" if isinstance(value, list) else "an object"
