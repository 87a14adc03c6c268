"""The names by which callers mean objects, and the tokens by which they turn pages."""

import base64
import json
import re
import uuid
from dataclasses import dataclass
from typing import Literal

from service.errors import InvalidField, NotFound, invalid, shown

SLUG = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_VERSIONED = re.compile(
    r"(?:(?P<owner>[a-z][a-z0-9-]*)\.)?(?P<slug>[a-z][a-z0-9-]*)"
    r"(?:(?:/versions/|:)(?P<version>[0-9]{1,9})|@(?P<alias>[a-z][a-z0-9-]*))?"
)
_ALIASES = "/aliases/"

DEFAULT_PAGE = 50
LARGEST_PAGE = 1000
# Of which a page token can tell: the end of the year 9999, seconds since 1970.
LAST_MOMENT = 253_402_300_800.0


@dataclass(frozen=True)
class Reference:
    """What `datasets/kim.penguins/versions/2` means."""

    owner_name: str
    slug: str
    # None = the newest, or that of the alias.
    version: int | None
    # Of a model; empty where none is named.
    alias: str = ""


def parse_reference(kind: Literal["datasets", "models"], text: str, owner_name: str, field: str) -> Reference:
    """Read `penguins`, `kim.penguins`, either with `datasets/` before and `/versions/2` or `:2` behind; of a model with
    `@champion` too.

    `owner_name` is whom a name without owner means. Raises InvalidField naming `field`.
    """
    found = _VERSIONED.fullmatch(text.removeprefix(f"{kind}/"))
    if found is None or found["version"] == "0" or (found["alias"] and kind == "datasets"):
        behind = ", or @ALIAS," if kind == "models" else ""
        raise invalid(
            field,
            f"{shown(text)} is no name; write {kind}/ID or {kind}/OWNER.ID, with /versions/N{behind} for an older "
            "version; ids are lower-case letters, digits and hyphens",
        )
    version = int(found["version"]) if found["version"] else None
    return Reference(found["owner"] or owner_name, found["slug"], version, found["alias"] or "")


def parse_alias(text: str, owner_name: str, field: str) -> Reference:
    """Read `models/churn/aliases/champion`, `kim.churn/aliases/champion`. Raises InvalidField naming `field`."""
    model, found, alias = text.partition(_ALIASES)
    reference = _VERSIONED.fullmatch(f"{model.removeprefix('models/')}@{alias}") if found else None
    if reference is None:
        raise invalid(
            field, f"{shown(text)} is no alias; write models/ID/aliases/ALIAS, as models/churn/aliases/champion"
        )
    return Reference(reference["owner"] or owner_name, reference["slug"], None, reference["alias"])


def parse_id(kind: Literal["jobs", "uploads"], text: str, field: str) -> str:
    """The UUID in `jobs/{uuid}`, in canonical form. Raises InvalidField naming `field`."""
    bare = text.removeprefix(f"{kind}/")
    try:
        return str(uuid.UUID(bare)) if len(bare) == 36 else _refuse_id(kind, text, field)
    except ValueError:
        return _refuse_id(kind, text, field)


def _refuse_id(kind: str, text: str, field: str) -> str:
    raise invalid(field, f"{shown(text)} is no name; write {kind}/ and the 36 characters of its UUID")


def not_found(kind: str, name: str) -> NotFound:
    """The same answer for what does not exist and for what belongs to somebody else."""
    # There is no list of uploads: they end within the hour.
    cure = "open another one with POST /v1/uploads" if kind == "uploads" else f"list yours with GET /v1/{kind}"
    return NotFound(f"there is no {name} that you may see; {cure}", metadata={"resource": name})


def version_name(kind: Literal["datasets", "models"], owner_name: str, slug: str, version: int) -> str:
    """`datasets/kim.penguins/versions/2`."""
    return f"{kind}/{owner_name}.{slug}/versions/{version}"


def alias_name(owner_name: str, slug: str, alias: str) -> str:
    """`models/kim.churn/aliases/champion`."""
    return f"models/{owner_name}.{slug}{_ALIASES}{alias}"


def page_limit(page_size: int) -> int:
    """How many rows a page has: 0 = the default, too many = the most there are."""
    return min(page_size or DEFAULT_PAGE, LARGEST_PAGE)


def encode_page_token(created_at: float, row_id: str) -> str:
    """Where the next page begins; opaque to callers, and no secret."""
    return base64.urlsafe_b64encode(json.dumps([created_at, row_id]).encode()).decode().rstrip("=")


def decode_page_token(token: str) -> tuple[float, str] | None:
    """The place that a token names; None for the first page. Raises InvalidField on a token that is none of ours."""
    if not token:
        return None
    try:
        created_at, row_id = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        place = float(created_at), str(uuid.UUID(row_id))
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise forged_page_token() from None
    # A token of ours has one spelling; base64 skips characters that it does not know.
    if not 0 <= place[0] < LAST_MOMENT or encode_page_token(*place) != token:
        raise forged_page_token()
    return place


def forged_page_token() -> InvalidField:
    """A page token that no answer ever held."""
    return invalid("page_token", "is not the next_page_token of an answer; begin again without it")
