"""On which line of a .json or .toml file a field of a spec stands."""

from __future__ import annotations

import bisect
import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str | int, ...]

_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def line_of(text: str, suffix: str, field: str) -> int:
    """The line, from 1, of `job.train.learn.gradient.epochs` or of the innermost part of it that stands in the text.

    `text` is well-formed JSON or, with the suffix `.toml`, TOML. Either spelling of a field finds it.
    """
    path = parse_path(field.removeprefix("job").removeprefix("."))
    if suffix == ".toml":
        return _toml_line(text, path)
    places = dict(_json_places(text))
    return next((places[path[:n]] for n in range(len(path), 0, -1) if path[:n] in places), 1)


def parse_path(field: str) -> Path:
    """`train.preprocess.groups[2].columns` as its steps, names in camel case."""
    return tuple(int(index) if index else _camel(name) for index, name in _STEP.findall(field))


def _camel(name: str) -> str:
    """Either spelling of a field in one, as descriptors make it."""
    return re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), name)


def _json_places(text: str) -> Iterator[tuple[Path, int]]:
    """Every key and item with its line; the text has been parsed before, so its brackets are sound."""
    path: list[str | int] = []
    key: str | None = None
    line, seen = 1, 0
    for token in _TOKEN.finditer(text):
        line += text.count("\n", seen, token.start())
        seen = token.start()
        match token[0]:
            case "{" | "[" as bracket:
                path.append("" if bracket == "{" else 0)
                if bracket == "[":
                    yield tuple(path), line + _to_next(text, token.end())
            case "}" | "]":
                path.pop()
            case ",":
                if path and isinstance(path[-1], int):
                    path[-1] += 1
                    yield tuple(path), line + _to_next(text, token.end())
            case ":":
                if path and key is not None:
                    path[-1] = _camel(json.loads(key, strict=False))
                    yield tuple(path), line
            case word:
                key = word


def _to_next(text: str, start: int) -> int:
    """Line ends until something stands there."""
    blank = re.compile(r"\s*").match(text, start)
    return blank[0].count("\n") if blank else 0


def _toml_line(text: str, path: Path) -> int:
    """Where the statement begins that first told the value.

    tomllib tells no places. But a beginning of the file that ends with a statement is TOML itself, so the statement is
    found after which the value is there and before which it is not.
    """
    lines = text.splitlines(keepends=True)
    statements = list(_statements(lines))
    whole = tomllib.loads(text)
    depth = next((n for n in range(len(path), 0, -1) if _holds(whole, path[:n])), 0)
    if not depth:
        return 1
    first = bisect.bisect_left(
        statements, 1, key=lambda span: int(_holds(tomllib.loads("".join(lines[: span[1]])), path[:depth]))
    )
    return statements[first][0] + 1


def _statements(lines: list[str]) -> Iterator[tuple[int, int]]:
    """The first line of every statement and the one after its last, from 0."""
    begun = 0
    for i, line in enumerate(lines):
        # A statement of several lines ends with a bracket or with three quotes.
        if (i == begun or re.search("[]}]|\"\"\"|'''", line)) and _is_toml("".join(lines[begun : i + 1])):
            yield begun, i + 1
            begun = i + 1


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _holds(value: Any, path: Path) -> bool:
    for step in path:
        if isinstance(step, int):
            if not isinstance(value, list) or step >= len(value):
                return False
            value = value[step]
        else:
            key = next((k for k in value if _camel(k) == step), None) if isinstance(value, dict) else None
            if key is None:
                return False
            value = value[key]
    return True
