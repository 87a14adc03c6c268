"""Users and their tokens: made by the administrator, checked at both doors.

A token is `trd_<8 characters of its id>_<43 characters of base64url>`, 256 random bits. It is shown once; SQL holds the
SHA-256 of the whole text.
"""

import hashlib
import hmac
import re
import secrets
import threading
import time
import weakref
from collections.abc import Collection
from dataclasses import dataclass

from service.callers import Caller
from service.errors import TokenRejected, TokenRequired
from service.policy import SCOPES
from service.store import users
from service.store.database import Database, now
from service.store.records import TokenRow, UserRow

# How long an answer of the database about a token is believed, seconds; a revocation takes that long at most. When half
# of it has passed one caller asks again, so that those who call all the time need not all do so at once.
BELIEVED_S = 1.0
# Digests kept in memory; the oldest half goes when there are more.
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


def authenticate(database: Database, authorization: str | None) -> Caller:
    """Who sends this `authorization` header. Asks SQL at most once in BELIEVED_S for each token.

    Raises TokenRequired without a header, TokenRejected for whatever is no good token; both cost the same effort.
    """
    token = _bearer(authorization)
    memory, digest = _memory_of(database), users.hash_of(token)
    known, caller = memory.recall(digest, may_wait=True)
    if not known:
        caller = _ask(database, token, digest)
        memory.keep(digest, caller)
    if caller is None:
        raise TokenRejected(REJECTED)
    return caller


def remembered(database: Database, authorization: str | None) -> Caller | None:
    """The caller if SQL need not be asked now, and by this call: what an event loop may call."""
    token = _bearer(authorization)
    return _memory_of(database).recall(users.hash_of(token), may_wait=False)[1]


@dataclass(slots=True)
class _Said:
    """What SQL said of a token at a moment; `claimed` once somebody asks again."""

    at: float
    caller: Caller | None
    claimed: bool = False


class _Memory:
    """What SQL said of tokens lately, by their SHA-256; never the tokens themselves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: dict[str, _Said] = {}

    def recall(self, digest: str, *, may_wait: bool) -> tuple[bool, Caller | None]:
        """Whether it is known who that is, and who; unknown also to the one who shall ask again."""
        said = self._said.get(digest)
        age_s = time.monotonic() - said.at if said else BELIEVED_S
        if said is None or age_s > BELIEVED_S:
            return False, None
        if age_s > BELIEVED_S / 2 and (may_wait or not said.claimed):
            said.claimed = True
            return False, None
        return True, said.caller

    def keep(self, digest: str, caller: Caller | None) -> None:
        with self._lock:
            self._said.pop(digest, None)
            if len(self._said) >= REMEMBERED:
                for old in list(self._said)[: REMEMBERED // 2]:
                    del self._said[old]
            self._said[digest] = _Said(time.monotonic(), caller)


_memories: weakref.WeakKeyDictionary[Database, _Memory] = weakref.WeakKeyDictionary()


def _memory_of(database: Database) -> _Memory:
    return _memories.get(database) or _memories.setdefault(database, _Memory())


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
