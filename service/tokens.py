"""Who sends a token: checked at every door."""

import hashlib
import hmac
import re

from service.believing import Believed
from service.callers import Caller
from service.errors import TokenRejected, TokenRequired
from service.store import users
from service.store.database import Database, now
from service.store.records import TokenRow

# Tokens that are kept in mind.
REMEMBERED = 10_000
REJECTED = "the token is unknown, expired or revoked; make another with `python -m service user token NAME`"
REQUIRED = "no token came with the call; send it as `authorization: Bearer trd_…`, never in a URL"

_TOKEN = re.compile(r"trd_([a-z2-7]{8})_[A-Za-z0-9_-]{43}")
_NO_HASH = hashlib.sha256(b"").hexdigest()


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
            asked = self._believed.moment()
            caller = _ask(self._database, token, digest)
            self._believed.keep(digest, caller, asked)
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
