"""The contract's protovalidate rules: broken ones as sentences that give the limit and the cure."""

from collections.abc import Iterable
from typing import cast

import protovalidate
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from service.errors import Violation, shown

_SLUG = "must be lower-case letters, digits and hyphens, beginning with a letter, at most 63"
_HASH = "must be the 64 lower-case hexadecimal digits of a SHA-256"
# Regular expressions of the contract in words.
PATTERNS = {
    "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$": _SLUG,
    "^([a-z]([a-z0-9-]{0,61}[a-z0-9])?)?$": f"{_SLUG}, or left out",
    "^([a-z]([a-z0-9-]{0,52}[a-z0-9])?)?$": f"{_SLUG.replace('63', '54')}, or left out",
    "^([0-9a-f]{64})?$": f"{_HASH}, or left out",
}
_SENTENCES = {
    "string.min_len": "has {size} characters; at least {limit} must be there",
    "string.max_len": "has {size} characters; at most {limit} are allowed: shorten it",
    "string.uuid": "{given} is no UUID; write 36 characters like 123e4567-e89b-42d3-a456-426614174000",
    "bytes.max_len": "has {size} bytes; at most {limit} are allowed: send smaller parts",
    "repeated.min_items": "has {size} entries; at least {limit} must be there",
    "repeated.max_items": "has {size} entries; at most {limit} are allowed",
    "repeated.unique": "holds an entry twice; name each once",
    "map.min_pairs": "has {size} entries; at least {limit} must be there",
    "map.max_pairs": "has {size} entries; at most {limit} are allowed",
}


def broken_rules(request: Message) -> list[Violation]:
    """One violation for each field whose rules are broken, in the order of fields."""
    told: dict[str, list[str]] = {}
    for broken in protovalidate.collect_violations(request):
        path, descriptor = _locate(type_of(request), broken.proto.field.elements)
        told.setdefault(path, []).append(_sentence(broken, descriptor))
    return [Violation(path, _merge(sentences)) for path, sentences in told.items()]


def compile_rules(request_types: Iterable[Descriptor]) -> None:
    """Compile the rules of every request, so that a rule that cannot be compiled ends the start."""
    for descriptor in request_types:
        protovalidate.collect_violations(GetMessageClass(descriptor)())


def type_of(message: Message) -> Descriptor:
    """A message's descriptor, of which the stubs know two kinds."""
    return cast("Descriptor", message.DESCRIPTOR)


def allowed_names(descriptor: FieldDescriptor) -> str:
    """The names that an enum field can have, without the one that says nothing."""
    assert descriptor.enum_type is not None
    return ", ".join(value.name for value in descriptor.enum_type.values if value.number)


def _merge(sentences: list[str]) -> str:
    # NaN breaks a range and finiteness; that it is not finite is the cure.
    finite = [s for s in sentences if s.endswith("must be finite")]
    return "; ".join(finite or sentences)


def _locate(descriptor: Descriptor, elements: Iterable[object]) -> tuple[str, FieldDescriptor | Descriptor]:
    """The path as callers write it, and the field; for a oneof the path of its message, and the message's type."""
    path = ""
    here: FieldDescriptor | Descriptor = descriptor
    for element in elements:
        name: str = element.field_name  # type: ignore[attr-defined]  # protovalidate's own messages have no stubs
        found = _message_of(here).fields_by_name.get(name)
        if found is None:
            return path, _message_of(here)
        here = found
        path = f"{path}.{name}" if path else name
        subscript = element.subscript  # type: ignore[attr-defined]
        if subscript is not None:
            value = subscript.value
            path += f"[{shown(value) if isinstance(value, str) else value}]"
            if subscript.field != "index":
                here = _message_of(found).fields_by_name["value"]
    return path, here


def _message_of(here: FieldDescriptor | Descriptor) -> Descriptor:
    if isinstance(here, Descriptor):
        return here
    assert here.message_type is not None
    return here.message_type


def _sentence(broken: protovalidate.Violation, here: FieldDescriptor | Descriptor) -> str:
    rule, given, limit = broken.proto.rule_id, broken.field_value, broken.rule_value
    if isinstance(here, Descriptor):
        members = next(o.fields for o in here.oneofs if o.name == broken.proto.field.elements[-1].field_name)
        return f"needs exactly one of {', '.join(member.name for member in members)}"
    if rule == "required":
        return "is required"
    if rule == "enum.defined_only":
        return f"{given} is none of {allowed_names(here)}"
    if rule == "string.pattern":
        return f"{shown(given)} {PATTERNS.get(limit, f'must match {limit}')}"
    if rule in _SENTENCES:
        size = len(given) if hasattr(given, "__len__") else 0
        return _SENTENCES[rule].format(size=size, limit=limit, given=shown(given))
    return f"is {_number(given)}; {broken.proto.message}"


def _number(given: object) -> str:
    names = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    return names.get(repr(given), repr(given)) if isinstance(given, int | float) else shown(given)
