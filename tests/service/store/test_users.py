"""Users and tokens."""

import pytest

from service.store import users
from service.store.database import now


def test_a_user_is_found_by_name(database):
    with database.write() as connection:
        made = users.add_user(connection, "kim")
        users.add_user(connection, "an")
    with database.read() as connection:
        assert users.find_user(connection, "kim") == made
        assert users.find_user(connection, "Kim") is None
        assert [row.name for row in users.list_users(connection)] == ["an", "kim"]
        assert abs(made.created_at - now(connection)) < 10


def test_a_name_is_given_once(database):
    with database.write() as connection:
        users.add_user(connection, "kim")
    with pytest.raises(ValueError, match="kim"), database.write() as connection:
        users.add_user(connection, "kim")


def test_a_token_has_its_users_name_and_scopes(database):
    with database.write() as connection:
        kim = users.add_user(connection, "kim")
        users.add_token(connection, user_id=kim.id, token_id="abcd1234", token_hash="h" * 64, scopes={"read", "submit"})
        users.add_token(connection, user_id=kim.id, token_id="efgh5678", token_hash="x", scopes=(), expires_at=12.5)
    with database.read() as connection:
        found = users.find_token(connection, "abcd1234")
        assert (found.user_id, found.user_name, found.hash) == (kim.id, "kim", "h" * 64)
        assert found.scopes == frozenset({"read", "submit"})
        assert found.expires_at is None
        assert found.revoked_at is None
        other = users.find_token(connection, "efgh5678")
        assert (other.scopes, other.expires_at) == (frozenset(), 12.5)
        assert users.find_token(connection, "nothing!") is None
        assert [row.id for row in users.list_tokens(connection, kim.id)] == ["abcd1234", "efgh5678"]
        assert users.list_tokens(connection, "another") == []


def test_a_token_is_revoked_once(database):
    with database.write() as connection:
        kim = users.add_user(connection, "kim")
        users.add_token(connection, user_id=kim.id, token_id="abcd1234", token_hash="h", scopes=("read",))
        assert users.revoke_token(connection, "abcd1234")
        assert not users.revoke_token(connection, "abcd1234")
        assert not users.revoke_token(connection, "nothing!")
        assert users.find_token(connection, "abcd1234").revoked_at <= now(connection)
