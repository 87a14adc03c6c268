"""JSON values and query parameters as messages of the contract, by proto3 JSON with nothing let pass in silence.

Every wrong value is noted with its path; names of fields are taken in both spellings, `batch_size` and `batchSize`.
"""

import difflib
import functools
import re
from collections.abc import Iterable
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from service.calling.requests import Findings, join
from service.calling.rules import type_of
from service.errors import shown
from service.rest.scalars import WrongValue, extend_plain, kind_of, scalar
from traind.field_behaviors import is_ignored

# Looking for the nearest name costs time, and nobody is shown more.
_HELPED = 20


def fill(message: Message, given: Any, path: str, found: Findings) -> None:
    """Put a JSON object into a message, noting what is wrong."""
    if not isinstance(given, dict):
        found.add(path or "(body)", f"is {kind_of(given)}; must be an object")
        return
    seen: dict[str, str] = {}
    for key, value in given.items():
        field = fields_of(type_of(message)).get(key)
        if field is None:
            unknown(type_of(message), key, path, found)
            continue
        place = join(path, field.name)
        if seen.setdefault(field.name, key) != key:
            found.add(place, f"stands twice, as {shown(seen[field.name])} and as {shown(key)}; keep one")
        elif value is not None and not is_ignored(field):
            other = _other_member(message, field)
            if other:
                found.add(path or field.name, f"has {other} and {field.name}, which exclude each other; keep one")
            else:
                _fill_field(message, field, value, place, found)


@functools.cache
def fields_of(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    """The fields of a message by both spellings."""
    return {name: field for field in descriptor.fields for name in (field.name, field.json_name)}


def unknown(descriptor: Descriptor, key: str, path: str, found: Findings) -> None:
    """Note a field that is not there, with the nearest one that is."""
    nearest = []
    if len(found.violations) < _HELPED:
        nearest = difflib.get_close_matches(key[:64], fields_of(descriptor), n=1, cutoff=0.7)
    known = ", ".join(field.name for field in descriptor.fields if not is_ignored(field)) or "nothing"
    cure = f"did you mean {nearest[0]}?" if nearest else f"known are {known}"
    found.add(join(path, key if re.fullmatch(r"\w{1,64}", key) else shown(key)), f"is unknown; {cure}")


def fill_query(message: Message, pairs: Iterable[tuple[str, str]], closed: set[str], found: Findings) -> None:
    """Put query parameters into a message: `page_size=5`, `states=QUEUED&states=RUNNING`, dots into messages.

    Fields named in `closed` stand elsewhere in the request.
    """
    given: dict[str, Any] = {}
    for name, text in pairs:
        leaf = _leaf(type_of(message), name, closed, found)
        if leaf is None:
            continue
        parents, field = leaf
        place = given
        for parent in parents:
            place = place.setdefault(parent, {})
        value: Any = text
        if field.type == FieldDescriptor.TYPE_BOOL:
            value = {"true": True, "false": False}.get(text, text)
        if field.is_repeated:
            place.setdefault(field.name, []).append(value)
        elif field.name in place:
            # By the contract's name, for the two may be spelled differently.
            found.add(".".join([*parents, field.name]), "stands twice in the query; keep one")
        else:
            place[field.name] = value
    fill(message, given, "", found)


def _leaf(
    descriptor: Descriptor, name: str, closed: set[str], found: Findings
) -> tuple[list[str], FieldDescriptor] | None:
    """The messages that a parameter's name passes through, and its field."""
    here, parents = descriptor, []
    *outer, last = name.split(".")
    for segment in outer:
        field = fields_of(here).get(segment)
        if field is None or field.message_type is None or field.is_repeated or field.name in closed:
            unknown(here, name, "", found)
            return None
        parents.append(field.name)
        here = field.message_type
    field = fields_of(here).get(last)
    if field is None:
        unknown(here, name, "", found)
        return None
    if not parents and field.name in closed:
        found.add(field.name, "does not stand in the query; see the path and the body of the method")
        return None
    if field.message_type is not None:
        found.add(".".join([*parents, field.name]), "is an object; name its fields, with dots between")
        return None
    return parents, field


def _other_member(message: Message, field: FieldDescriptor) -> str | None:
    """The member of the field's oneof that is set already."""
    if field.containing_oneof is None:
        return None
    member: str | None = message.WhichOneof(field.containing_oneof.name)
    return member


def _fill_field(message: Message, field: FieldDescriptor, value: Any, path: str, found: Findings) -> None:
    if field.is_repeated:
        _fill_many(message, field, value, path, found)
    elif field.message_type is not None:
        part = getattr(message, field.name)
        part.SetInParent()
        _fill_message(part, value, path, found)
    else:
        try:
            setattr(message, field.name, scalar(field, value))
        except WrongValue as wrong:
            found.add(path, str(wrong))


def _fill_message(part: Message, value: Any, path: str, found: Findings) -> None:
    if not part.DESCRIPTOR.full_name.startswith("google.protobuf."):
        fill(part, value, path, found)
        return
    try:
        json_format.ParseDict(value, part)
    except (json_format.ParseError, AttributeError, TypeError, ValueError):
        found.add(path, f"{shown(value)} is no {part.DESCRIPTOR.name}")


def _fill_many(message: Message, field: FieldDescriptor, value: Any, path: str, found: Findings) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        _fill_map(message, field, value, path, found)
        return
    if not isinstance(value, list):
        found.add(path, f"is {kind_of(value)}; must be a list")
        return
    place = getattr(message, field.name)
    if extend_plain(field, place, value):
        return
    for index, item in enumerate(value):
        here = f"{path}[{index}]"
        if field.message_type is not None:
            _fill_message(place.add(), item, here, found)
            continue
        try:
            place.append(scalar(field, item))
        except WrongValue as wrong:
            found.add(here, str(wrong))


def _fill_map(message: Message, field: FieldDescriptor, value: Any, path: str, found: Findings) -> None:
    if not isinstance(value, dict):
        found.add(path, f"is {kind_of(value)}; must be an object")
        return
    assert field.message_type is not None
    keys, values = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
    place = getattr(message, field.name)
    for text, item in value.items():
        here = f"{path}[{shown(text)}]"
        try:
            key = scalar(keys, text)
            if values.message_type is not None:
                _fill_message(place[key], item, here, found)
            else:
                place[key] = scalar(values, item)
        except WrongValue as wrong:
            found.add(here, str(wrong))
