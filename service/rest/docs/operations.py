"""Services and their methods: what each does, how it is called over either door, what it takes and answers."""

from service import policy
from service.rest.docs import commands
from service.rest.docs.contents import Contents, Operation
from service.rest.docs.examples import EXAMPLES
from service.rest.docs.fields import Fields
from service.rest.docs.markup import Prose, code_block, escape
from service.rest.routes import Route


class Operations:
    """Writes methods."""

    def __init__(
        self, contents: Contents, comments: dict[str, str], prose: Prose, fields: Fields, address: commands.Address
    ) -> None:
        self._contents = contents
        self._comments = comments
        self._prose = prose
        self._fields = fields
        self._address = address

    def section(self) -> str:
        """All services."""
        return "".join(self._service(name, found) for name, found in self._contents.services.items())

    def _service(self, name: str, operations: list[Operation]) -> str:
        comment = self._comments.get(f"traind.v1.{name}", "")
        return (
            f'<section id="{name}"><h2>{name}</h2>{self._prose.paragraphs(comment)}'
            f"{''.join(self._operation(operation) for operation in operations)}</section>"
        )

    def _operation(self, operation: Operation) -> str:
        first = operation.routes[0]
        said = self._prose.paragraphs(self._comments.get(operation.full_name, ""))
        # The anchor by the method's name alone serves comments that name it so.
        return (
            f'<article id="{operation.anchor}" class="operation"><h3 id="{operation.name}">{operation.name}</h3>'
            f"{_calls(operation)}{said}"
            f"<h4>Takes</h4>{_body_note(first, self._fields)}{self._takes(operation)}"
            f"<h4>Answers</h4><p>{self._answers(operation)}</p>"
            f"{self._examples(operation)}</article>"
        )

    def _takes(self, operation: Operation) -> str:
        route, request = operation.routes[0], operation.request
        paths = {name for name, _ in route.variables}
        places = {
            field.name: "path" if field.name in paths else "body" if route.body in {"*", field.name} else "query"
            for field in request.fields
        }
        fields = self._fields.listed(request.fields, places)
        return f'<div id="{request.name}">{self._fields.choices(request)}{fields}</div>'

    def _answers(self, operation: Operation) -> str:
        message = self._fields.message(operation.answer)
        if operation.routes[0].sends_bytes:
            return f"A stream of {message}; over REST the file as it is, under its name."
        if operation.routes[0].method.server_streaming:
            return f"A stream of {message}."
        return f"{message[0].upper()}{message[1:]}."

    def _examples(self, operation: Operation) -> str:
        example = EXAMPLES.get(operation.full_name)
        # A test demands one of every method; the page of all the others shall not fail for it.
        if example is None:
            return ""
        route = operation.routes[0]
        name = operation.anchor
        sendable = route.verb == "GET" and not route.method.server_streaming
        send = f' data-send="{escape(commands.url_path(example))}"' if sendable else ""
        blocks = [
            code_block(commands.curl(route, example, self._address), "curl", f' data-curl="{name}"{send}'),
            code_block(commands.python(example, self._address), "Python", f' data-python="{name}"'),
        ]
        line = commands.grpcurl(route, example, self._address)
        if line:
            blocks.append(code_block(line, "grpcurl", f' data-grpcurl="{name}"'))
        return f"<h4>Examples</h4>{''.join(blocks)}"


def _calls(operation: Operation) -> str:
    """Verb and path of each route, the name in gRPC, and the scope."""
    lines = [
        f'<dt>REST</dt><dd><span class="verb {route.verb.lower()}">{route.verb}</span> '
        f"<code>{escape(_template(route))}</code></dd>"
        for route in operation.routes
    ]
    scope = policy.TABLE.get(operation.full_name, "none: open to nobody")
    return (
        f'<dl class="calls">{"".join(lines)}<dt>gRPC</dt><dd><code>{operation.routes[0].method.path}</code></dd>'
        f"<dt>Scope</dt><dd><code>{scope}</code></dd></dl>"
    )


def _template(route: Route) -> str:
    """`/v1/{name=jobs/*}:cancel` as `/v1/jobs/{uuid}:cancel`."""
    path = route.template
    for name, segments in route.variables:
        path = path.replace(f"{{{name}={segments}}}", segments)
    kinds = {"datasets": "{id}", "models": "{id}", "jobs": "{uuid}", "uploads": "{uuid}", "versions": "{n}"}
    for kind, shown in kinds.items():
        path = path.replace(f"{kind}/*", f"{kind}/{shown}")
    return path


def _body_note(route: Route, fields: Fields) -> str:
    if route.takes_bytes:
        return f"<p>Over REST the body is the file as it is, which becomes <code>{route.body}</code>.</p>"
    if route.body == "*":
        return "<p>Over REST the body is a JSON object of the fields that are not in the path.</p>"
    if route.body:
        message = route.method.descriptor.input_type.fields_by_name[route.body].message_type
        assert message is not None
        return f"<p>Over REST the body is the {fields.message(message)} alone, as JSON.</p>"
    return ""
