"""Messages of the contract as JSON schemas of their proto3 JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from buf.validate import validate_pb2
from traind.field_behaviors import is_ignored, is_required

if TYPE_CHECKING:
    from collections.abc import Collection

Schema = dict[str, Any]

_DOUBLE: Schema = {"anyOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]}
_WELL_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Empty": {"type": "object", "additionalProperties": False},
}
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: "int32",
    FieldDescriptor.CPPTYPE_INT64: "int64",
    FieldDescriptor.CPPTYPE_UINT32: "uint32",
    FieldDescriptor.CPPTYPE_UINT64: "uint64",
}
# Rules of protovalidate as keywords of JSON schema.
_KEYWORDS = {
    "min_len": "minLength",
    "max_len": "maxLength",
    "pattern": "pattern",
    "gte": "minimum",
    "gt": "exclusiveMinimum",
    "lte": "maximum",
    "lt": "exclusiveMaximum",
    "min_items": "minItems",
    "max_items": "maxItems",
    "unique": "uniqueItems",
    "min_pairs": "minProperties",
    "max_pairs": "maxProperties",
}


class Schemas:
    """Schemas by reference; `components` has what has been referred to.

    `comments` describes by full name (contract_comments.py); `place` is where the document will hold the components.
    """

    def __init__(self, comments: dict[str, str], place: str = "#/components/schemas") -> None:
        self._comments = comments
        self._place = place
        self.components: dict[str, Schema] = {}

    def message(self, descriptor: Descriptor) -> Schema:
        """A message by reference."""
        known = _WELL_KNOWN.get(descriptor.full_name)
        if known:
            return known
        name = short_name(descriptor)
        if name not in self.components:
            self.components[name] = {}
            self.components[name] = self.inline(descriptor, ())
        return {"$ref": f"{self._place}/{name}"}

    def inline(self, descriptor: Descriptor, left_out: Collection[str]) -> Schema:
        """A message in place, without some of its fields."""
        fields = [field for field in descriptor.fields if field.name not in left_out]
        schema: Schema = {
            "type": "object",
            "properties": {field.json_name: self.field(field) for field in fields},
            "additionalProperties": False,
        }
        required = [field.json_name for field in fields if is_required(field)]
        if required:
            schema["required"] = required
        choices = [f"At most one of {', '.join(f.json_name for f in one.fields)}." for one in choices_of(descriptor)]
        description = "\n\n".join([self._comments.get(descriptor.full_name, ""), *choices]).strip()
        return schema | ({"description": description} if description else {})

    def field(self, field: FieldDescriptor) -> Schema:
        """A field, with its comment and its rules."""
        rules = field.GetOptions().Extensions[validate_pb2.field]
        entry = field.message_type if field.message_type and field.message_type.GetOptions().map_entry else None
        if entry:
            value = self._single(entry.fields_by_name["value"])
            schema: Schema = {"type": "object", "additionalProperties": value} | _keywords(rules.map)
        elif field.is_repeated:
            items = self._single(field) | _keywords(_typed(rules.repeated.items))
            schema = {"type": "array", "items": items} | _keywords(rules.repeated)
        else:
            schema = self._single(field) | _keywords(_typed(rules))
        comment = self._comments.get(field.full_name)
        if comment:
            schema["description"] = comment
        return schema | ({"readOnly": True} if is_ignored(field) else {})

    def _single(self, field: FieldDescriptor) -> Schema:
        if field.message_type is not None:
            return dict(self.message(field.message_type))
        if field.enum_type is not None:
            return self._enum(field.enum_type)
        if field.cpp_type in _INTEGERS:
            return {"type": ["integer", "string"], "format": _INTEGERS[field.cpp_type], "pattern": "^-?[0-9]+$"}
        match field.type:
            case FieldDescriptor.TYPE_DOUBLE | FieldDescriptor.TYPE_FLOAT:
                return dict(_DOUBLE)
            case FieldDescriptor.TYPE_BOOL:
                return {"type": "boolean"}
            case FieldDescriptor.TYPE_BYTES:
                return {"type": "string", "contentEncoding": "base64"}
            case _:
                return {"type": "string"}

    def _enum(self, descriptor: EnumDescriptor) -> Schema:
        name = short_name(descriptor)
        values = [value.name for value in descriptor.values if value.number]
        told = [f"- {v}: {self._comments.get(f'{descriptor.full_name}.{v}', '')}" for v in values]
        text = "\n".join([self._comments.get(descriptor.full_name, ""), *told])
        self.components[name] = {"type": "string", "enum": values, "description": text}
        return {"$ref": f"{self._place}/{name}"}


def choices_of(descriptor: Descriptor) -> list[Any]:
    """Oneofs, without those that stand for an optional field."""
    return [one for one in descriptor.oneofs if len(one.fields) > 1]


def short_name(descriptor: Descriptor | EnumDescriptor) -> str:
    """`Job.State` of `traind.v1.Job.State`."""
    return descriptor.full_name.removeprefix("traind.v1.")


def _typed(rules: Any) -> Any:
    """The rules of the field's own type."""
    kind = rules.WhichOneof("type")
    return getattr(rules, kind) if kind else validate_pb2.FieldRules()


def _keywords(rules: Any) -> Schema:
    known = {}
    for descriptor, value in rules.ListFields():
        keyword = _KEYWORDS.get(descriptor.name)
        if keyword:
            known[keyword] = value
    return known
