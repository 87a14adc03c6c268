"""Finds what is wrong in a dictionary before it becomes a message, and names field and cure in our own words."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor

from traind.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import Descriptor, EnumDescriptor

_WHOLE = frozenset(
    {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT32}
    | {FieldDescriptor.CPPTYPE_UINT64}
)
_REAL = frozenset({FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT})


def find_field(kind: Descriptor, name: str) -> FieldDescriptor | None:
    """The field of a name in either spelling: `perceptron_rule` and `perceptronRule`."""
    return kind.fields_by_name.get(name) or kind.fields_by_camelcase_name.get(name)


def check_message(value: Any, kind: Descriptor, path: str) -> None:
    """Check a dictionary against a kind of message. Raises InvalidSpec naming the first wrong field."""
    if kind.full_name.startswith("google.protobuf."):
        return  # times and the like stand as texts
    if not isinstance(value, dict):
        raise InvalidSpec(f"expected fields in {{}}, got {_said(value)}", field=path)
    chosen: dict[str, str] = {}
    for name, item in value.items():
        field = find_field(kind, name)
        if field is None:
            raise _unknown(name, kind.fields_by_name, path)
        if item is None:
            continue  # null is absent
        if field.containing_oneof is not None:
            other = chosen.setdefault(field.containing_oneof.name, name)
            if other != name:
                raise InvalidSpec(f"{other!r} and {name!r} stand there; only one can be meant", field=path)
        _check_field(item, field, f"{path}.{name}")


def _check_field(item: Any, field: FieldDescriptor, path: str) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        if not isinstance(item, dict):
            raise InvalidSpec(f"expected values by name in {{}}, got {_said(item)}", field=path)
        for name, one in item.items():
            _check_value(one, field.message_type.fields_by_name["value"], f"{path}.{name}")
    elif field.is_repeated:
        if not isinstance(item, list):
            raise InvalidSpec(f"expected a list, got {_said(item)}", field=path, fix=f"write [{item!r:.40}]")
        for i, one in enumerate(item):
            _check_value(one, field, f"{path}[{i}]")
    else:
        _check_value(item, field, path)


def _check_value(value: Any, field: FieldDescriptor, path: str) -> None:
    if field.message_type is not None:
        check_message(value, field.message_type, path)
    elif field.enum_type is not None:
        _check_enum(value, field.enum_type, path)
    elif field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if not isinstance(value, bool):
            raise InvalidSpec(f"expected true or false, got {_said(value)}", field=path)
    elif field.cpp_type in _WHOLE:
        if not _is_number(value) or float(value) != int(float(value)):
            raise InvalidSpec(f"expected a whole number, got {_said(value)}", field=path)
    elif field.cpp_type in _REAL:
        if not _is_number(value) and value not in ("NaN", "Infinity", "-Infinity"):
            raise InvalidSpec(f"expected a number, got {_said(value)}", field=path)
    elif not isinstance(value, str):
        raise InvalidSpec(f"expected a text, got {_said(value)}", field=path)


def _check_enum(value: Any, kind: EnumDescriptor, path: str) -> None:
    if value in kind.values_by_name if isinstance(value, str) else type(value) is int:
        return
    known = [one.name for one in kind.values if one.number != 0]
    raise InvalidSpec(f"{_said(value)} is not known there", field=path, fix=f"one of {', '.join(known)}")


def _is_number(value: Any) -> bool:
    """A finite number, or a text that is one, as proto3 JSON allows."""
    if isinstance(value, bool):
        return False
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return number - number == 0


def _unknown(name: str, known: Iterable[str], path: str) -> InvalidSpec:
    names = list(known)
    near = difflib.get_close_matches(name, names, 1)
    fix = f"did you mean {near[0]!r}?" if near else f"known there: {', '.join(names)}"
    return InvalidSpec(f"there is no field {name!r}", field=f"{path}.{name}", fix=fix)


def _said(value: Any) -> str:
    return f"{value!r:.60}" if isinstance(value, str | int | float) else f"a {type(value).__name__}"
