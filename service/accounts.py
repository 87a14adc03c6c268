"""Users and their tokens: made by the administrator, checked at both doors.

A token is `trd_<8 characters of its id>_<43 characters of base64url>`, 256 random bits. It is shown once; SQL holds the
SHA-256 of the whole text.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection

from service.believing import Believed
from service.callers import Caller
from service.errors import TokenRejected, TokenRequired
from service.policy import SCOPES
from service.store import users
from service.store.database import Database, now
from service.store.records import TokenRow, UserRow

# Tokens that are kept in mind.
REMEMBERED = 10_000

_USER_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_TOKEN = re.compile(r"trd_([a-z2-7]{8})_[A-Za-z0-9_-]{43}")
_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_NO_HASH = hashlib.sha256(b"").hexdigest()

REJECTED = "the token is unknown, expired or revoked; make another with `python -m service user token NAME`"
REQUIRED = "no token came with the call; send it as `authorization: Bearer trd_…`, never in a URL"


def create_user(database: Database, name: str) -> UserRow:
    """Store a user. Raises ValueError on a name that is taken or no slug."""
    if not _USER_NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot be a user's name: write 1 to 31 lower-case letters, digits and hyphens, "
            "beginning with a letter"
        )
    with database.write() as connection:
        return users.add_user(connection, name)


def create_token(database: Database, user_name: str, scopes: Collection[str], expires_at: float | None = None) -> str:
    """Make a token and return its text, which nothing can show again. `expires_at`: seconds since the epoch."""
    unknown = sorted(set(scopes) - SCOPES)
    if unknown or not scopes:
        raise ValueError(
            f"{', '.join(unknown) or 'no scope'} cannot be given: the scopes are {', '.join(sorted(SCOPES))}"
        )
    token_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(8))
    text = f"trd_{token_id}_{secrets.token_urlsafe(32)}"
    with database.write() as connection:
        user = users.find_user(connection, user_name)
        if user is None:
            raise ValueError(f"there is no user {user_name!r}: make one with `python -m service user add {user_name}`")
        users.add_token(
            connection,
            user_id=user.id,
            token_id=token_id,
            token_hash=users.hash_of(text),
            scopes=frozenset(scopes),
            expires_at=expires_at,
        )
    return text


def revoke_token(database: Database, token_id: str) -> bool:
    """End a token by its 8 characters; whether there was one."""
    with database.write() as connection:
        return users.revoke_token(connection, token_id)


def list_tokens(database: Database, user_name: str) -> list[TokenRow]:
    """A user's tokens, without what they open."""
    with database.read() as connection:
        user = users.find_user(connection, user_name)
        if user is None:
            raise ValueError(f"there is no user {user_name!r}: `python -m service user list` shows them all")
        return list(users.list_tokens(connection, user.id))


class Tokens:
    """Who sends which token, as SQL says it. For any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Callers by the SHA-256 of their tokens, None where a token is no good; never the tokens themselves.
        self._believed: Believed[str, Caller | None] = Believed(REMEMBERED)

    def authenticate(self, authorization: str | None) -> Caller:
        """Who sends this `authorization` header. Asks SQL about each token once in a while; see believing.

        Raises TokenRequired without a header, TokenRejected for whatever is no good token; both cost the same effort.
        """
        token = _bearer(authorization)
        digest = users.hash_of(token)
        said = self._believed.recall(digest, may_wait=True)
        if said is None:
            generation = self._believed.generation
            caller = _ask(self._database, token, digest)
            self._believed.keep(digest, caller, generation)
        else:
            caller = said.told
        if caller is None:
            raise TokenRejected(REJECTED)
        return caller

    def remembered(self, authorization: str | None) -> Caller | None:
        """The caller if SQL need not be asked now, and by this call: what an event loop may call."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() == "bearer" and token.isascii():
            said = self._believed.recall(users.hash_of(token), may_wait=False)
            if said is not None and said.told is not None:
                return said.told
        _bearer(authorization)
        return None


def _bearer(authorization: str | None) -> str:
    if not authorization:
        raise TokenRequired(REQUIRED)
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not _TOKEN.fullmatch(token):
        raise TokenRejected(REJECTED)
    return token


def _ask(database: Database, token: str, digest: str) -> Caller | None:
    found = _TOKEN.fullmatch(token)
    with database.read() as connection:
        row = users.find_token(connection, found[1] if found else "")
        equal = hmac.compare_digest(row.hash if row else _NO_HASH, digest)
        if row is None or not equal or not _holds(row, now(connection)):
            return None
    return Caller(row.user_id, row.user_name, row.id, row.scopes)


def _holds(row: TokenRow, moment: float) -> bool:
    return row.revoked_at is None and (row.expires_at is None or moment < row.expires_at)
