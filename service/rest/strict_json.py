"""JSON that means one thing only: no duplicate keys, no deep nesting, no bytes that are no UTF-8.

`NaN`, `Infinity` and numbers beyond double precision come out as floats that are not finite: in JSON such a float can
have no other origin, and whoever reads the value refuses it with the path of its field.
"""

import json
import re
from typing import Any

from service.errors import MalformedBody, shown

DEEPEST = 20
# Of objects and lists together: each costs much more time than its two bytes.
MOST_CONTAINERS = 100_000
# Strings, so that brackets in them do not count, also the one that never ends; possessive, so that time stays linear.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


def loads(body: bytes) -> Any:
    """Read a JSON body. Raises MalformedBody naming line and column, or the key."""
    _check_nesting(body)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise MalformedBody(
            f"the body is no UTF-8 at byte {error.start}; send JSON in UTF-8", metadata={"byte": str(error.start)}
        ) from None
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        place = f"{error.lineno}:{error.colno}"
        raise MalformedBody(
            f"the body is no JSON at {place} (line:column): {error.msg}", metadata={"at": place}
        ) from None
    except ValueError:
        # Python reads integers of at most 4,300 digits.
        raise MalformedBody("the body has an integer of more than 4300 digits; a number has at most 19") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        key = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise MalformedBody(f"the key {shown(key)} stands twice in one object; keep one", metadata={"key": key[:64]})
    return made


def _check_nesting(body: bytes) -> None:
    """Refuse deep nesting and swarms of small objects before anything is parsed."""
    depth = count = 0
    for token in _TOKENS.finditer(body):
        first = body[token.start()]
        if first in b"[{":
            depth, count = depth + 1, count + 1
            if count > MOST_CONTAINERS:
                raise MalformedBody(
                    f"the body has more than {MOST_CONTAINERS} objects and lists",
                    metadata={"limit": str(MOST_CONTAINERS)},
                )
            if depth > DEEPEST:
                raise MalformedBody(
                    f"the body nests objects and lists deeper than {DEEPEST}, at byte {token.start()}",
                    metadata={"limit": str(DEEPEST)},
                )
        elif first in b"]}":
            depth -= 1
