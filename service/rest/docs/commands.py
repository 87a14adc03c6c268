"""An example as the lines that people type: curl, Python, grpcurl."""

import json
import shlex
from dataclasses import dataclass
from urllib.parse import urlencode

from service.rest.docs.examples import Example, Json
from service.rest.routes import Route

AUTHORIZATION = '"authorization: Bearer $TRAIND_TOKEN"'
_WIDTH = 72


@dataclass(frozen=True)
class Address:
    """Where a server is, as its callers write it."""

    http: str  # http://127.0.0.1:8080
    grpc: str  # grpc://127.0.0.1:8081
    # The same for grpcurl, which knows no scheme.
    grpc_target: str  # 127.0.0.1:8081
    tls: bool


def url_path(example: Example) -> str:
    """Path and query: `/v1/datasets?pageSize=10`."""
    return example.path + (f"?{urlencode(example.query)}" if example.query else "")


def curl(route: Route, example: Example, address: Address) -> str:
    """A shell command that prints the answer."""
    # A stream is shown as it comes, a file is kept under the name that it comes with.
    words = ["curl -sOJ" if route.sends_bytes else "curl -sN" if route.method.server_streaming else "curl -s"]
    if route.verb not in {"GET", "POST"} or (route.verb == "POST" and example.body is None and not example.file):
        words[0] += f" -X {route.verb}"
    url = f"{address.http}{url_path(example)}"
    words[0] += f" '{url}'" if "?" in url else f" {url}"
    lines = [words[0], f"-H {AUTHORIZATION}"]
    if example.file:
        lines += ["-H 'content-type: text/csv'", f"--data-binary @{example.file}"]
    elif example.body is not None:
        lines += ["-H 'content-type: application/json'", f"-d {shlex.quote(_dense(example.body))}"]
    return " \\\n  ".join(lines)


def python(example: Example, address: Address) -> str:
    """A whole program."""
    return f'import traind\n\nclient = traind.Client("{address.grpc}")  # the token is TRAIND_TOKEN\n{example.python}'


def grpcurl(route: Route, example: Example, address: Address) -> str | None:
    """A shell command for the gRPC door; None for a stream of bytes, which nobody types."""
    if route.takes_bytes or route.sends_bytes:
        return None
    plain = "" if address.tls else " -plaintext"
    lines = [f"grpcurl{plain} -H {AUTHORIZATION}"]
    message = rpc_message(route, example)
    if message:
        lines.append(f"-d {shlex.quote(_dense(message))}")
    lines.append(f"{address.grpc_target} {route.method.path.removeprefix('/')}")
    return " \\\n  ".join(lines)


def rpc_message(route: Route, example: Example) -> Json:
    """The request message that path, query and body make together, as proto3 JSON."""
    found = route.pattern.fullmatch(example.path)
    values = found.groups() if found else [example.path.removeprefix("/v1/").partition(":")[0]] * len(route.variables)
    message: Json = {name: value for (name, _), value in zip(route.variables, values, strict=True)}
    fields = {field.json_name: field for field in route.method.descriptor.input_type.fields}
    for name, value in example.query.items():
        field = fields[name]
        message[name] = [value] if field.is_repeated else int(value) if value.isdecimal() else value
    if route.body == "*":
        message |= example.body or {}
    elif route.body and example.body:
        message[route.method.descriptor.input_type.fields_by_name[route.body].json_name] = example.body
    return message


def _dense(value: object, indent: str = "") -> str:
    """JSON in one line where it is short, else with one part a line."""
    text = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(text) <= _WIDTH or not isinstance(value, dict | list):
        return text
    more = f"{indent}  "
    if isinstance(value, list):
        return "[\n" + ",\n".join(f"{more}{_dense(item, more)}" for item in value) + f"\n{indent}]"
    members = [f"{more}{json.dumps(name)}: {_dense(part, more)}" for name, part in value.items()]
    return "{\n" + ",\n".join(members) + f"\n{indent}}}"
