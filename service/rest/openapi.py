"""The contract as OpenAPI 3.1, written from the descriptors: what REST serves is what this tells."""

import re
from collections.abc import Iterator
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor

from service import policy
from service.rest.docs.examples import EXAMPLES
from service.rest.routes import Route
from traind.contract_comments import read_comments
from traind.field_behaviors import is_ignored
from traind.message_schemas import Schema, Schemas
from traind.version import __version__

_VARIABLE = re.compile(r"\{[a-z0-9_.]+=([^{}]+)\}")
_FILE = "application/octet-stream"
_BYTES: Schema = {"type": "string", "format": "binary"}
_ERROR: Schema = {
    "type": "object",
    "description": "A refused call. Programs decide by the `reason` of the ErrorInfo among the details.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "status", "details"],
            "properties": {
                "code": {"type": "integer", "description": "The HTTP status."},
                "message": {"type": "string", "description": "What is wrong and what to do, for people."},
                "status": {"type": "string", "description": "The code of google.rpc.Code by name."},
                "details": {
                    "type": "array",
                    "description": "google.rpc.ErrorInfo; BadRequest with wrong fields; RetryInfo where waiting helps.",
                    "items": {"type": "object", "required": ["@type"], "properties": {"@type": {"type": "string"}}},
                },
            },
        }
    },
}


def document(routes: tuple[Route, ...]) -> bytes:
    """The document as JSON."""
    comments = read_comments()
    schemas = Schemas(comments)
    paths: dict[str, dict[str, Any]] = {}
    names: set[str] = set()
    for route in routes:
        operation = _operation(route, schemas, comments)
        operation["operationId"] = _unique(names, route.method.full_name.removeprefix("traind.v1.").replace(".", "_"))
        paths.setdefault(_path(route), {})[route.verb.lower()] = operation
    services = sorted({route.method.full_name.rpartition(".")[0] for route in routes})
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": "traind", "version": __version__, "description": "Trains models and serves them."},
            "security": [{"bearer": []}],
            "tags": [{"name": s.rpartition(".")[2], "description": comments.get(s, "")} for s in services],
            "paths": paths,
            "components": {
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
                "schemas": schemas.components | {"Error": _ERROR},
            },
        }
    )


def _operation(route: Route, schemas: Schemas, comments: dict[str, str]) -> dict[str, Any]:
    method = route.method
    text = comments.get(method.full_name, "")
    operation: dict[str, Any] = {
        "tags": [method.full_name.split(".")[-2]],
        "summary": text.partition(".")[0],
        "description": text,
        "security": [{"bearer": [policy.TABLE.get(method.full_name, "")]}],
        "parameters": [*_path_parameters(route), *_query_parameters(route, schemas)],
        "responses": {"200": _answer(route, schemas), "default": _error_answer()},
    }
    if route.body:
        operation["requestBody"] = _body(route, schemas)
    return operation


def _path(route: Route) -> str:
    """`/v1/{name=jobs/*}:cancel` as `/v1/jobs/{job}:cancel`."""
    path = _VARIABLE.sub(r"\1", route.template)
    # Of `aliases` and the like two letters are the plural's.
    return re.sub(r"([a-z]+?)(s|(?<=s)es)/\*", r"\1\2/{\1}", path)


def _path_parameters(route: Route) -> Iterator[dict[str, Any]]:
    example = EXAMPLES.get(route.method.full_name)
    for name in re.findall(r"\{([a-z]+)\}", _path(route)):
        pattern = "^[1-9][0-9]{0,8}$" if name == "version" else "^[^/:]+$"
        made = {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": pattern}}
        if example:
            shown = example.path.split("/")
            place = next(at for at, part in enumerate(_path(route).split("/")) if part.startswith(f"{{{name}}}"))
            # A path with a version more than the one that is shown.
            made["example"] = shown[place].partition(":")[0] if place < len(shown) else "1"
        yield made


def _query_parameters(route: Route, schemas: Schemas) -> Iterator[dict[str, Any]]:
    if route.body == "*":
        return
    closed = {route.body, *(name for name, _ in route.variables)}
    example = EXAMPLES.get(route.method.full_name)
    for made in _leaves(route.method.descriptor.input_type, "", closed, schemas):
        if example and made["name"] in example.query:
            value = example.query[made["name"]]
            made["example"] = [value] if made["schema"].get("type") == "array" else value
        yield made


def _leaves(descriptor: Descriptor, path: str, closed: set[str], schemas: Schemas) -> Iterator[dict[str, Any]]:
    for field in descriptor.fields:
        if field.name in closed or is_ignored(field):
            continue
        if field.message_type is None:
            schema = schemas.field(field)
            description = schema.pop("description", "")
            yield {"name": f"{path}{field.json_name}", "in": "query", "schema": schema, "description": description}
        elif not field.is_repeated:
            yield from _leaves(field.message_type, f"{path}{field.json_name}.", set(), schemas)


def _body(route: Route, schemas: Schemas) -> dict[str, Any]:
    message = route.method.descriptor.input_type
    if route.takes_bytes:
        return {
            "required": True,
            "content": {_FILE: {"schema": _BYTES}},
        }
    if route.body == "*":
        left_out = [name for name, _ in route.variables]
        content = {"schema": schemas.inline(message, left_out)}
    else:
        content = {"schema": schemas.field(message.fields_by_name[route.body])}
    example = EXAMPLES.get(route.method.full_name)
    if example and example.body is not None:
        content["example"] = example.body
    return {"content": {"application/json": content}}


def _answer(route: Route, schemas: Schemas) -> dict[str, Any]:
    if route.sends_bytes:
        # The messages that gRPC streams are not what REST answers.
        return {"description": "The file.", "content": {_FILE: {"schema": _BYTES}}}
    schema = schemas.message(route.method.descriptor.output_type)
    if route.method.server_streaming:
        content = {"text/event-stream": {"schema": {"type": "string"}}, "application/x-ndjson": {"schema": schema}}
    else:
        content = {"application/json": {"schema": schema}}
    return {"description": "Done.", "content": content}


def _error_answer() -> dict[str, Any]:
    return {
        "description": "Refused.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }


def _unique(names: set[str], name: str) -> str:
    count = 1
    while (made := name if count == 1 else f"{name}_{count}") in names:
        count += 1
    names.add(made)
    return made
