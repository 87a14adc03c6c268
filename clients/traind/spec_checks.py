"""Finds what is wrong in a dictionary before it becomes a message, and names field and cure in our own words."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor

from traind.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
    for error in find_errors(value, kind, path):
        raise error


def find_errors(value: Any, kind: Descriptor, path: str) -> Iterator[InvalidSpec]:
    """Everything that is wrong in a dictionary, in the order in which it stands there."""
    if kind.full_name.startswith("google.protobuf."):
        return  # times and the like stand as texts
    if not isinstance(value, dict):
        yield InvalidSpec(f"expected fields in {{}}, got {_said(value)}", field=path)
        return
    chosen: dict[str, str] = {}
    for name, item in value.items():
        field = find_field(kind, name)
        if field is None:
            yield _unknown(name, kind.fields_by_name, path)
            continue
        if item is None:
            continue  # null is absent
        if field.containing_oneof is not None:
            other = chosen.setdefault(field.containing_oneof.name, name)
            if other != name:
                yield InvalidSpec(f"{other!r} and {name!r} stand there; only one can be meant", field=path)
        yield from _field_errors(item, field, f"{path}.{name}")


def _field_errors(item: Any, field: FieldDescriptor, path: str) -> Iterator[InvalidSpec]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        if not isinstance(item, dict):
            yield InvalidSpec(f"expected values by name in {{}}, got {_said(item)}", field=path)
            return
        for name, one in item.items():
            yield from _value_errors(one, field.message_type.fields_by_name["value"], f"{path}.{name}")
    elif field.is_repeated:
        if not isinstance(item, list):
            yield InvalidSpec(f"expected a list, got {_said(item)}", field=path, fix=f"write [{item!r:.40}]")
            return
        for i, one in enumerate(item):
            yield from _value_errors(one, field, f"{path}[{i}]")
    else:
        yield from _value_errors(item, field, path)


def _value_errors(value: Any, field: FieldDescriptor, path: str) -> Iterator[InvalidSpec]:
    if field.message_type is not None:
        yield from find_errors(value, field.message_type, path)
    elif field.enum_type is not None:
        yield from _enum_errors(value, field.enum_type, path)
    elif wanted := _wanted(value, field):
        yield InvalidSpec(f"expected {wanted}, got {_said(value)}", field=path)


def _wanted(value: Any, field: FieldDescriptor) -> str:
    """What should stand there instead of a value; empty where it may."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return "" if isinstance(value, bool) else "true or false"
    if field.cpp_type in _WHOLE:
        return "" if _is_number(value) and float(value) == int(float(value)) else "a whole number"
    if field.cpp_type in _REAL:
        return "" if _is_number(value) or value in ("NaN", "Infinity", "-Infinity") else "a number"
    return "" if isinstance(value, str) else "a text"


def _enum_errors(value: Any, kind: EnumDescriptor, path: str) -> Iterator[InvalidSpec]:
    if value in kind.values_by_name if isinstance(value, str) else type(value) is int:
        return
    known = [one.name for one in kind.values if one.number != 0]
    yield InvalidSpec(f"{_said(value)} is not known there", field=path, fix=f"one of {', '.join(known)}")


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
