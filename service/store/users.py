"""Users and their tokens."""

import hashlib
import uuid
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, insert, select, update

from service.store.clock import clock, now
from service.store.database import Connection
from service.store.insertion import insert_or_ignore
from service.store.records import TokenRow, UserRow
from service.store.tables import token, user_


def add_user(connection: Connection, name: str) -> UserRow:
    """A new user. Raises ValueError if there is one of that name."""
    row = UserRow(str(uuid.uuid4()), name, now(connection))
    values = {"id": row.id, "name": name, "created_at": row.created_at}
    if not insert_or_ignore(connection, user_, values, ("name",)):
        raise ValueError(f"there is a user {name} already")
    return row


def find_user(connection: Connection, name: str) -> UserRow | None:
    """The user of that name."""
    row = connection.execute(select(user_).where(user_.c.name == name)).mappings().first()
    return None if row is None else UserRow(**row)


def list_users(connection: Connection) -> list[UserRow]:
    """All users, by name."""
    return [UserRow(**row) for row in connection.execute(select(user_).order_by(user_.c.name)).mappings()]


def add_token(
    connection: Connection,
    *,
    user_id: str,
    token_id: str,
    token_hash: str,
    scopes: Iterable[str],
    expires_at: float | None = None,
) -> None:
    """Keep what a new token is checked against. `expires_at` by the database's clock; None = never."""
    connection.execute(
        insert(token).values(
            id=token_id,
            user_id=user_id,
            hash=token_hash,
            scopes=",".join(sorted(scopes)),
            created_at=clock(),
            expires_at=expires_at,
        )
    )


def hash_of(text: str) -> str:
    """What is kept of a token: the SHA-256 of its text."""
    return hashlib.sha256(text.encode()).hexdigest()


def is_token(connection: Connection, text: str) -> bool:
    """Whether this server has made that token, be it expired or revoked by now."""
    return connection.execute(select(token.c.id).where(token.c.hash == hash_of(text))).first() is not None


def find_token(connection: Connection, token_id: str) -> TokenRow | None:
    """The token of that id, expired and revoked ones too."""
    row = connection.execute(_tokens().where(token.c.id == token_id)).mappings().first()
    return None if row is None else _token_row(row)


def list_tokens(connection: Connection, user_id: str) -> list[TokenRow]:
    """A user's tokens, oldest first, expired and revoked ones too."""
    query = _tokens().where(token.c.user_id == user_id).order_by(token.c.created_at, token.c.id)
    return [_token_row(row) for row in connection.execute(query).mappings()]


def any_token_lives(connection: Connection) -> bool:
    """Whether there is a token that is neither revoked nor expired."""
    return connection.execute(select(token.c.id).where(_lives()).limit(1)).first() is not None


def living(connection: Connection, token_ids: Collection[str]) -> set[str]:
    """Which of the tokens are neither revoked nor expired."""
    return set(connection.execute(select(token.c.id).where(token.c.id.in_(token_ids), _lives())).scalars())


def revoke_token(connection: Connection, token_id: str) -> bool:
    """End a token now; False if there is none or it was revoked before."""
    guard = (token.c.id == token_id) & token.c.revoked_at.is_(None)
    return connection.execute(update(token).where(guard).values(revoked_at=clock())).rowcount == 1


def _lives() -> ColumnElement[bool]:
    return token.c.revoked_at.is_(None) & (token.c.expires_at.is_(None) | (token.c.expires_at > clock()))


def _tokens() -> Select[Any]:
    return select(token, user_.c.name.label("user_name")).join(user_, user_.c.id == token.c.user_id)


def _token_row(row: RowMapping) -> TokenRow:
    values = dict(row)
    return TokenRow(**values | {"scopes": frozenset(values["scopes"].split(",")) - {""}})
