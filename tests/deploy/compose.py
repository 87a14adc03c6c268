"""docker-compose.yml as compose reads it: variables filled in, and refused where a required one is missing."""

import re

import yaml

from tests.deploy.processes import ROOT

_VARIABLE = re.compile(r"\$\{(\w+)(?:(:[?-])([^}]*))?\}")


class Missing(Exception):
    """A variable that the file requires is not set; the text is the file's own."""


def load(environ):
    """The file's content, its anchors and merges resolved. Raises Missing."""
    return _filled(yaml.safe_load((ROOT / "docker-compose.yml").read_text()), environ)


def _filled(value, environ):
    match value:
        case dict():
            return {key: _filled(inner, environ) for key, inner in value.items()}
        case list():
            return [_filled(inner, environ) for inner in value]
        case str():
            return _VARIABLE.sub(lambda found: _one(found, environ), value)
        case _:
            return value


def _one(found, environ):
    name, how, text = found.groups()
    given = environ.get(name, "")
    if given or how is None:
        return given
    if how == ":?":
        raise Missing(f"{name}: {text}")
    return text
