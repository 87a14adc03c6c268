"""Fields of messages as a list: name, type, rules, default, and what the comment says."""

from collections.abc import Iterable

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from buf.validate import validate_pb2
from service.rest.docs.contents import short
from service.rest.docs.markup import Prose, escape
from service.rest.docs.rules import default_of, rules_of
from traind.field_behaviors import is_ignored, is_required

_SCALARS = {
    FieldDescriptor.TYPE_DOUBLE: "number",
    FieldDescriptor.TYPE_FLOAT: "number",
    FieldDescriptor.TYPE_BOOL: "true or false",
    FieldDescriptor.TYPE_STRING: "text",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_INT32: "whole number, int32",
    FieldDescriptor.TYPE_INT64: "whole number, int64",
    FieldDescriptor.TYPE_UINT32: "whole number, uint32",
    FieldDescriptor.TYPE_UINT64: "whole number, uint64",
}
_WELL_KNOWN = {"google.protobuf.Timestamp": "time, RFC 3339", "google.protobuf.Empty": "nothing: <code>{}</code>"}


class Fields:
    """Writes fields."""

    def __init__(self, comments: dict[str, str], prose: Prose) -> None:
        self._comments = comments
        self._prose = prose

    def listed(self, fields: Iterable[FieldDescriptor], places: dict[str, str] | None = None) -> str:
        """A definition list; `places` tells where REST has a field: `path`, `query`, `body`."""
        items = "".join(self._item(field, (places or {}).get(field.name, "")) for field in fields)
        return f'<dl class="fields">{items}</dl>' if items else "<p>No fields.</p>"

    def choices(self, descriptor: Descriptor) -> str:
        """Which fields exclude each other."""
        found = []
        for one in descriptor.oneofs:
            if len(one.fields) < 2:
                continue
            required = one.GetOptions().Extensions[validate_pb2.oneof].required
            names = ", ".join(f"<code>{escape(field.name)}</code>" for field in one.fields)
            found.append(f"<p>{'Exactly' if required else 'At most'} one of {names}.</p>")
        return "".join(found)

    def type_of(self, field: FieldDescriptor) -> str:
        """A field's type as HTML, with a link where it has a place on the page."""
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, value = (self._single(field.message_type.fields_by_name[name]) for name in ("key", "value"))
            return f"map of {key} to {value}"
        return f"list of {self._single(field)}" if field.is_repeated else self._single(field)

    def message(self, descriptor: Descriptor) -> str:
        """A message's name as a link."""
        known = _WELL_KNOWN.get(descriptor.full_name)
        return known or f'<a href="#{short(descriptor)}">{short(descriptor)}</a>'

    def _single(self, field: FieldDescriptor) -> str:
        if field.message_type is not None:
            return self.message(field.message_type)
        if field.enum_type is not None:
            return f'<a href="#{short(field.enum_type)}">{short(field.enum_type)}</a>'
        return _SCALARS[field.type]

    def _item(self, field: FieldDescriptor, place: str) -> str:
        comment = self._comments.get(field.full_name, "")
        chips = [("place", place), *_chips(field)]
        default = default_of(field, comment, self._comments)
        if default:
            chips.append(("rule", f"default {default}"))
        marks = "".join(f' <span class="chip {kind}">{escape(text)}</span>' for kind, text in chips if text)
        assert field.containing_type is not None
        anchor = escape(f"{short(field.containing_type)}.{field.name}")
        return (
            f'<div id="{anchor}"><dt><code>{escape(field.name)}</code> <span class="type">{self.type_of(field)}</span>'
            f"{marks}</dt><dd>{self._prose.paragraphs(comment)}</dd></div>"
        )


def _chips(field: FieldDescriptor) -> Iterable[tuple[str, str]]:
    if is_required(field):
        yield "required", "required"
    elif is_ignored(field):
        yield "server", "set by the server"
    for rule in rules_of(field):
        yield "rule", rule
