"""The JSON Schema of a spec: what an editor needs to complete and to check a .json or .toml file of a job."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from buf.validate import validate_pb2
from traind.contract_comments import read_comments
from traind.field_behaviors import is_ignored, is_required
from traind.message_schemas import Schema, Schemas, choices_of, short_name
from traind.v1 import jobs_pb2
from traind.version import __version__

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from google.protobuf.descriptor import Descriptor, FieldDescriptor

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_PLACE = "#/$defs"
_TEXT: Schema = {"type": "string"}


def spec_schema() -> Schema:
    """The schema: a job's fields that can be set, in both spellings, with what parse_job takes beside."""
    schemas = _SpecSchemas(read_comments(), _PLACE)
    root = schemas.message(jobs_pb2.Job.DESCRIPTOR)
    parts = schemas.components
    parts["Job"]["properties"]["$schema"] = {"type": "string", "description": "Where this schema is, for editors."}
    for name in ("inputs", "target"):
        _also(parts["TrainSpec"]["properties"], name, _TEXT)
    tensor = parts["Given"]["properties"]["weights"]
    tensor["additionalProperties"] = {"anyOf": [tensor["additionalProperties"], {"type": ["array", "number"]}]}
    return {"$schema": DRAFT, "title": f"A job of traind {__version__}", **root, "$defs": parts}


class _SpecSchemas(Schemas):
    """Schemas of what people write: no field that only the server sets, and one choice of several at the most."""

    def inline(self, descriptor: Descriptor, left_out: Collection[str]) -> Schema:
        """A message in place."""
        ignored = [field.name for field in descriptor.fields if is_ignored(field)]
        schema = super().inline(descriptor, [*left_out, *ignored])
        fields = [field for field in descriptor.fields if field.name not in ignored]
        for field in fields:
            if field.name != field.json_name:
                place = f"{_PLACE}/{short_name(descriptor)}/properties/{field.json_name}"
                schema["properties"][field.name] = {"$ref": place, "description": f"The same as `{field.json_name}`."}
        schema.pop("required", None)
        rules = [_any_of([field]) for field in fields if is_required(field)]
        rules += [_at_most_one(one) for one in choices_of(descriptor)]
        return schema | ({"allOf": rules} if rules else {})


def _any_of(fields: Iterable[FieldDescriptor]) -> Schema:
    """One of the fields is there, in one of its spellings."""
    names = list(dict.fromkeys(chain.from_iterable((field.json_name, field.name) for field in fields)))
    return {"required": names} if len(names) == 1 else {"anyOf": [{"required": [name]} for name in names]}


def _at_most_one(oneof: Any) -> Schema:
    kinds = [_any_of([field]) for field in oneof.fields]
    needed = oneof.GetOptions().Extensions[validate_pb2.oneof].required
    return {"oneOf": kinds if needed else [*kinds, {"not": {"anyOf": kinds}}]}


def _also(properties: dict[str, Schema], name: str, other: Schema) -> None:
    """Let a field be written another way too."""
    field = properties[name]
    description = field.pop("description", "")
    properties[name] = {"anyOf": [field, other], "description": description}
