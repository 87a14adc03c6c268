"""What a field may hold, in words: the rules of protovalidate, and the defaults that the comments tell."""

import re
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from buf.validate import validate_pb2
from service.calling.rules import PATTERNS

# A value, as in `absent = 0.2`; what takes words is told by the comment alone.
_DEFAULT = re.compile(r"\babsent = (\S+?)[.;](?:\s|$)", re.IGNORECASE)
_VALUE = re.compile(r"(\S+)\.")
# What is said of an enum's first value where it is no default.
_NO_VALUE = "Not used."
# Told by the type already.
_SILENT = frozenset({"defined_only", "not_in"})


def rules_of(field: FieldDescriptor) -> list[str]:
    """Phrases: `1 to 200 characters`, `greater than 0`."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    kind = rules.WhichOneof("type")
    return list(_phrases(getattr(rules, kind), kind)) if kind else []


def default_of(field: FieldDescriptor, comment: str, enum_comments: dict[str, str]) -> str:
    """What stands for a field that is left out; empty where the comment alone can tell."""
    told = _DEFAULT.search(comment)
    if told:
        return told[1]
    if field.enum_type is not None and not field.is_repeated:
        return enum_default(field.enum_type, enum_comments)
    return "false" if field.type == FieldDescriptor.TYPE_BOOL and not field.has_presence else ""


def enum_default(descriptor: EnumDescriptor, comments: dict[str, str]) -> str:
    """What an enum's unspecified value stands for, where that is another value: `RELU`."""
    told = _VALUE.fullmatch(unspecified(descriptor, comments))
    return told[1] if told else ""


def unspecified(descriptor: EnumDescriptor, comments: dict[str, str]) -> str:
    """What is meant where an enum is left out; empty where nothing is."""
    comment = comments.get(f"{descriptor.full_name}.{descriptor.values_by_number[0].name}", "")
    return "" if comment == _NO_VALUE else comment


def _phrases(rules: Any, kind: str) -> Iterator[str]:
    limits = {descriptor.name: value for descriptor, value in rules.ListFields()}
    if kind in {"repeated", "map"}:
        yield from _entries(limits)
    elif kind in {"string", "bytes"}:
        one, many = ("character", "characters") if kind == "string" else ("byte", "bytes")
        yield from _span(limits, "min_len", "max_len", one, many)
        yield from _text(limits)
    elif kind != "enum":
        yield from _number(limits)
    # A rule that has no words here is better told raw than kept silent about.
    yield from (f"{name} = {value}" for name, value in limits.items() if name not in _SILENT)


def _entries(limits: dict[str, Any]) -> Iterator[str]:
    """Of a list or a map: how many, and what each may be."""
    for low, high in (("min_items", "max_items"), ("min_pairs", "max_pairs")):
        yield from _span(limits, low, high, "entry", "entries")
    if limits.pop("unique", False):
        yield "no entry twice"
    for name, word in (("items", "each"), ("keys", "each key"), ("values", "each value")):
        inner = limits.pop(name, None)
        kind = inner.WhichOneof("type") if inner is not None else None
        if kind:
            yield from (f"{word} {phrase}" for phrase in _phrases(getattr(inner, kind), kind))


def _span(limits: dict[str, Any], low_name: str, high_name: str, one: str, many: str) -> Iterator[str]:
    low, high = limits.pop(low_name, None), limits.pop(high_name, None)
    if low is not None and high is not None:
        yield f"{low:,} to {high:,} {many}"
    elif high is not None:
        yield f"at most {high:,} {one if high == 1 else many}"
    elif low is not None:
        yield f"at least {low:,} {one if low == 1 else many}"


def _text(limits: dict[str, Any]) -> Iterator[str]:
    pattern = limits.pop("pattern", None)
    if pattern:
        yield PATTERNS.get(pattern, f"must match {pattern}").removeprefix("must be ")
    if limits.pop("uuid", False):
        yield "a UUID"


def _number(limits: dict[str, Any]) -> Iterator[str]:
    gte, gt, lte, lt = (limits.pop(name, None) for name in ("gte", "gt", "lte", "lt"))
    if gte is not None and lte is not None:
        yield f"{_told(gte)} to {_told(lte)}"
    else:
        words = (("at least", gte), ("greater than", gt), ("at most", lte), ("less than", lt))
        told = [f"{word} {_told(limit)}" for word, limit in words if limit is not None]
        if told:
            yield " and ".join(told)
    if limits.pop("finite", False):
        yield "finite"


def _told(limit: float) -> str:
    """A limit without a fraction that says nothing: `31,536,000`, `0.5`."""
    return f"{int(limit):,}" if limit == int(limit) else repr(limit)
