"""Users and their tokens, as the administrator makes them; tokens.py checks them at the doors.

A token is `trd_<8 characters of its id>_<43 characters of base64url>`, 256 random bits. It is shown once; SQL holds the
SHA-256 of the whole text.
"""

import re
import secrets
from collections.abc import Collection

from service.policy import SCOPES
from service.store import users
from service.store.database import Database
from service.store.records import TokenRow, UserRow

_USER_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


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
