"""What is checked of every request before its verb runs, the same at both doors.

Output-only fields are cleared, for callers may send back what they were answered. Unknown fields, missing required
fields, control characters and broken protovalidate rules are refused all at once, each by its path in the request.
"""

import functools
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from buf.validate import validate_pb2
from service.calling.rules import broken_rules
from service.calling.statuses import wrong_fields
from service.errors import Violation, shown
from traind.field_behaviors import is_ignored, is_required

# U+2028 and U+2029 end a line wherever text is shown or logged.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Cells of tables: they are compared and never stored, so they may hold what a quoted cell of a CSV file may hold.
_CELLS = frozenset({"traind.v1.ColumnValues.strings"})
# Names that people read and write, kept in one normal form, so that equal looks are equal bytes.
_NORMAL = frozenset({"display_name"})


def holds_controls(text: str) -> bool:
    """Whether a character of it would end a line, or do something else than be shown."""
    return _CONTROL.search(text) is not None


# Nobody reads so many; what comes after is not looked at.
MOST_FINDINGS = 1000


@dataclass
class Findings:
    """What is wrong with a request so far."""

    violations: list[Violation] = field(default_factory=list)
    # Set once a list is so long that the rules of its items are not worth checking.
    endless: bool = False

    def add(self, path: str, description: str) -> None:
        """Note a wrong field; raises InvalidField with all of them when there are MOST_FINDINGS."""
        self.violations.append(Violation(path, description))
        if len(self.violations) >= MOST_FINDINGS:
            raise wrong_fields(self.violations)


def check(request: Message) -> None:
    """Clear what callers cannot set; raise InvalidField naming everything that is wrong."""
    found = Findings()
    _walk(request, "", found)
    if not found.endless:
        known = {violation.field for violation in found.violations}
        found.violations.extend(v for v in broken_rules(request) if v.field not in known)
    if found.violations:
        raise wrong_fields(found.violations)


def join(path: str, name: str) -> str:
    """`job` and `train` as `job.train`."""
    return f"{path}.{name}" if path else name


@functools.cache
def _ignored(descriptor: Descriptor) -> tuple[str, ...]:
    return tuple(f.name for f in descriptor.fields if is_ignored(f))


@functools.cache
def _required(descriptor: Descriptor) -> tuple[FieldDescriptor, ...]:
    return tuple(f for f in descriptor.fields if is_required(f))


@functools.cache
def most_items(descriptor: FieldDescriptor) -> int | None:
    """How many entries the contract allows a list or a map; None where it does not say."""
    rules = descriptor.GetOptions().Extensions[validate_pb2.field]
    if rules.HasField("repeated") and rules.repeated.HasField("max_items"):
        return rules.repeated.max_items
    if rules.HasField("map") and rules.map.HasField("max_pairs"):
        return rules.map.max_pairs
    return None


def _walk(message: Message, path: str, found: Findings) -> None:
    for name in _ignored(message.DESCRIPTOR):
        message.ClearField(name)
    for unknown in UnknownFieldSet(message):  # type: ignore[attr-defined]  # a sequence, its stub says no
        where = path or message.DESCRIPTOR.name
        found.add(where, f"has a field numbered {unknown.field_number} that this server does not know; leave it out")
        break
    _require(message, path, found)
    for descriptor, value in message.ListFields():
        here = join(path, descriptor.name)
        if descriptor.is_repeated:
            most = most_items(descriptor)
            if most is not None and len(value) > most:
                found.add(here, f"has {len(value)} entries; at most {most} are allowed")
                found.endless = True
                continue
        if descriptor.type == FieldDescriptor.TYPE_MESSAGE:
            for place, part in _parts(descriptor, value, here, found):
                _walk(part, place, found)
        elif descriptor.type == FieldDescriptor.TYPE_STRING:
            _check_text(message, descriptor, here, found)


def _parts(descriptor: FieldDescriptor, value: object, path: str, found: Findings) -> Iterator[tuple[str, Message]]:
    """The messages inside a message field, with their paths."""
    if not descriptor.is_repeated:
        yield path, value  # type: ignore[misc]  # ListFields cannot say that a message field holds a message
    elif descriptor.message_type and descriptor.message_type.GetOptions().map_entry:
        for key, part in sorted(value.items()):  # type: ignore[attr-defined]  # nor that a map field holds a map
            if isinstance(key, str) and holds_controls(key):
                found.add(f"{path}[{shown(key)}]", "holds a control character; leave it out")
            if isinstance(part, Message):
                yield f"{path}[{shown(key)}]", part
    else:
        for index, part in enumerate(value):  # type: ignore[arg-type]  # nor that a repeated field holds a sequence
            yield f"{path}[{index}]", part


def _require(message: Message, path: str, found: Findings) -> None:
    """Note required fields that are missing, and what a missing message would need in turn."""
    for descriptor in _required(message.DESCRIPTOR):
        if descriptor.has_presence:
            missing = not message.HasField(descriptor.name)
        else:
            missing = not getattr(message, descriptor.name)
        if missing:
            found.add(join(path, descriptor.name), "is required")
            if descriptor.message_type and not descriptor.is_repeated:
                _require(getattr(message, descriptor.name), join(path, descriptor.name), found)


def _check_text(message: Message, descriptor: FieldDescriptor, path: str, found: Findings) -> None:
    if descriptor.full_name in _CELLS:
        return
    value = getattr(message, descriptor.name)
    if descriptor.name in _NORMAL:
        value = unicodedata.normalize("NFC", value)
        setattr(message, descriptor.name, value)
    for index, text in enumerate(value if descriptor.is_repeated else [value]):
        if holds_controls(text):
            place = f"{path}[{index}]" if descriptor.is_repeated else path
            found.add(place, f"{shown(text)} holds a control character; leave it out")
