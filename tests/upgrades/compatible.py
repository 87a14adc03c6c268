"""Whether a contract can be spoken by those who know an older one."""

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

Field = descriptor_pb2.FieldDescriptorProto


def breaks(old, new):
    """What of the descriptor set `old` is gone from `new` or is another thing there, one line each; empty if nothing.

    Looks at files by name; what is added does not matter.
    """
    files = {file.name: file for file in new.file}
    for file in old.file:
        if file.name not in files:
            yield f"{file.name} is gone"
            continue
        now = files[file.name]
        yield from _messages(file.package, file.message_type, now.message_type)
        yield from _enums(file.package, file.enum_type, now.enum_type)
        yield from _services(file.package, file.service, now.service)


def _pairs(scope, old, new):
    """Each old thing with the new one of its name, and the lines about those that are gone."""
    found = {thing.name: thing for thing in new}
    pairs = [(f"{scope}.{thing.name}", thing, found.get(thing.name)) for thing in old]
    return [pair for pair in pairs if pair[2] is not None], [f"{name} is gone" for name, _, now in pairs if now is None]


def _messages(scope, old, new):
    pairs, gone = _pairs(scope, old, new)
    yield from gone
    for name, message, now in pairs:
        yield from _fields(name, message, now)
        yield from _messages(name, message.nested_type, now.nested_type)
        yield from _enums(name, message.enum_type, now.enum_type)


def _fields(scope, old, new):
    pairs, gone = _pairs(scope, old.field, new.field)
    yield from gone
    for name, field, now in pairs:
        before, after = _kind(old, field), _kind(new, now)
        for what in before:
            if before[what] != after[what]:
                yield f"{name}: its {what} was {before[what]} and is {after[what]}"


def _kind(message, field):
    """All that a peer relies on: the number and type on the wire, the name in JSON, and whether absence can be told."""
    oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
    return {
        "number": field.number,
        "type": Field.Type.Name(field.type) + field.type_name,
        "label": Field.Label.Name(field.label),
        "JSON name": field.json_name,
        "presence": "optional" if field.proto3_optional else f"of {oneof}" if oneof else "implicit",
    }


def _enums(scope, old, new):
    pairs, gone = _pairs(scope, old, new)
    yield from gone
    for name, enum, now in pairs:
        numbers = {value.name: value.number for value in now.value}
        for value in enum.value:
            if numbers.get(value.name) != value.number:
                yield f"{name}.{value.name}: was {value.number} and is {numbers.get(value.name, 'gone')}"


def _services(scope, old, new):
    pairs, gone = _pairs(scope, old, new)
    yield from gone
    for name, service, now in pairs:
        methods, lost = _pairs(name, service.method, now.method)
        yield from lost
        for rpc, method, after in methods:
            for what in ("input_type", "output_type", "client_streaming", "server_streaming"):
                if getattr(method, what) != getattr(after, what):
                    yield f"{rpc}: its {what} was {getattr(method, what)} and is {getattr(after, what)}"
            for path in _paths(method) - _paths(after):
                yield f"{rpc}: {' '.join(path)} is gone"


def _paths(method):
    """Every way to it over REST: verb, path, what the body is."""
    rule = method.options.Extensions[annotations_pb2.http]
    rules = [rule, *rule.additional_bindings]
    return {(kind, getattr(one, kind), one.body) for one in rules if (kind := one.WhichOneof("pattern"))}
