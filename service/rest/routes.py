"""The contract's google.api.http annotations as routes."""

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from google.api import annotations_pb2, http_pb2  # type: ignore[import-untyped]  # ships no stubs

from service.calling.methods import Method
from service.errors import MalformedBody, MethodNotFound, VerbNotAllowed, shown

_VARIABLE = re.compile(r"\{([a-z0-9_.]+)=([^{}]+)\}")


@dataclass(frozen=True)
class Route:
    """One HTTP verb on one kind of path.

    `body` is the field that the body holds: `*` = the whole request, empty = none; `data` of a stream = raw bytes.
    """

    verb: str
    template: str  # /v1/{name=jobs/*}:cancel
    body: str
    method: Method

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        """What matches an undecoded path, with a group for each variable."""
        parts, end = [], 0
        for found in _VARIABLE.finditer(self.template):
            segments = re.escape(found[2]).replace(r"\*", "[^/:]+")
            parts += [re.escape(self.template[end : found.start()]), f"({segments})"]
            end = found.end()
        return re.compile("".join([*parts, re.escape(self.template[end:])]))

    @functools.cached_property
    def variables(self) -> tuple[tuple[str, str], ...]:
        """Field and segments of each variable: `("name", "jobs/*")`."""
        return tuple((found[1], found[2]) for found in _VARIABLE.finditer(self.template))

    @property
    def takes_bytes(self) -> bool:
        """Whether the body is a file as it is."""
        return self.method.client_streaming

    @property
    def sends_bytes(self) -> bool:
        """Whether the answer is a file as it is: a stream of messages with parts of it in `data`."""
        return self.method.server_streaming and "data" in self.method.descriptor.output_type.fields_by_name


class Routes:
    """All routes of a table of methods."""

    def __init__(self, methods: Iterable[Method]) -> None:
        self.all = tuple(route for method in methods for route in _routes_of(method))
        self._by_verb: dict[str, list[Route]] = {}
        for route in self.all:
            self._by_verb.setdefault(route.verb, []).append(route)

    def find(self, verb: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route of an undecoded path and its decoded variables.

        Raises MethodNotFound, or VerbNotAllowed with the verbs that the path has.
        """
        for route in self._by_verb.get(verb, ()):
            found = route.pattern.fullmatch(path)
            if found:
                values = [_decode(group) for group in found.groups()]
                return route, dict(zip((name for name, _ in route.variables), values, strict=True))
        allowed = sorted({route.verb for route in self.all if route.pattern.fullmatch(path)})
        if allowed:
            raise verb_not_allowed(verb, path, allowed)
        raise MethodNotFound(
            f"there is no path {shown(path)}; GET /openapi.json tells all paths", metadata={"path": path[:200]}
        )


def verb_not_allowed(verb: str, path: str, allowed: list[str]) -> VerbNotAllowed:
    """The path is there for other verbs."""
    return VerbNotAllowed(
        f"{shown(path)} has no {shown(verb)}; use {' or '.join(allowed)}", metadata={"allow": ", ".join(allowed)}
    )


def _routes_of(method: Method) -> Iterator[Route]:
    rule = method.descriptor.GetOptions().Extensions[annotations_pb2.http]
    for binding in (rule, *rule.additional_bindings):
        verb = binding.WhichOneof("pattern")
        if verb:
            yield _route(binding, verb, method)


def _route(rule: http_pb2.HttpRule, verb: str, method: Method) -> Route:
    return Route(verb.upper(), getattr(rule, verb), rule.body, method)


def _decode(segment: str) -> str:
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise MalformedBody("the path holds percent-encoded bytes that are no UTF-8; encode text as UTF-8") from None
