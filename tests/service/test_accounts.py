"""Users and tokens over both databases."""

import hashlib
import re
import threading

import pytest
import sqlalchemy

from service import accounts, believing, tokens
from service.accounts import create_token, create_user, revoke_token
from service.app import App
from service.errors import TokenRejected, TokenRequired
from service.settings import Settings
from service.store import users
from service.store.database import now


@pytest.fixture
def app(database, database_url, tmp_path):
    create_user(database, "kim")
    return App(Settings(tmp_path, database_url), database, None)


def bearer(token):
    return f"Bearer {token}"


def refused(app, authorization):
    with pytest.raises(TokenRejected) as error:
        app.tokens.authenticate(authorization)
    return error.value.message


def test_a_token_names_its_caller(app):
    token = create_token(app.database, "kim", ["read", "predict"])
    assert re.fullmatch(r"trd_[a-z2-7]{8}_[A-Za-z0-9_-]{43}", token)
    caller = app.tokens.authenticate(bearer(token))
    assert (caller.user_name, caller.token_id, caller.scopes) == ("kim", token[4:12], {"read", "predict"})
    assert app.tokens.authenticate(f"bearer {token}") == caller


def test_only_the_hash_is_stored(app):
    token = create_token(app.database, "kim", ["read"])
    with app.database.read() as connection:
        tables = sqlalchemy.inspect(connection).get_table_names()
        rows = [str(row) for table in tables for row in connection.exec_driver_sql(f'SELECT * FROM "{table}"')]
    everything = "\n".join(rows)
    assert hashlib.sha256(token.encode()).hexdigest() in everything
    assert token not in everything
    assert token[13:] not in everything


def test_tokens_differ(app):
    assert len({create_token(app.database, "kim", ["read"]) for _ in range(20)}) == 20


def test_no_header_is_told_apart_from_a_bad_one(app):
    for missing in (None, ""):
        with pytest.raises(TokenRequired):
            app.tokens.authenticate(missing)


def test_what_is_no_good_token_is_refused_in_the_same_words(app):
    good = create_token(app.database, "kim", ["read"])
    revoked, expired = create_token(app.database, "kim", ["read"]), create_token(app.database, "kim", ["read"], 1.0)
    revoke_token(app.database, revoked[4:12])
    bad = [
        revoked,
        expired,
        good[:-1],
        good + "A",
        good[:12] + "_" + "A" * 43,
        "trd_aaaaaaaa_" + good[13:],
        "",
        "é",
        good.upper(),
    ]
    assert len({refused(app, bearer(token)) for token in bad} | {refused(app, f"Basic {good}")}) == 1
    app.tokens.authenticate(bearer(good))


def test_a_token_ends_at_its_time(app):
    with app.database.read() as connection:
        moment = now(connection)
    good = create_token(app.database, "kim", ["read"], expires_at=moment + 60)
    late = create_token(app.database, "kim", ["read"], expires_at=moment - 0.001)
    app.tokens.authenticate(bearer(good))
    refused(app, bearer(late))
    with app.database.read() as connection:
        assert users.living(connection, [good[4:12], late[4:12]]) == {good[4:12]}


def test_a_revocation_is_noticed_when_the_memory_is_old(app, monkeypatch):
    token = create_token(app.database, "kim", ["read"])
    caller = app.tokens.authenticate(bearer(token))
    assert revoke_token(app.database, token[4:12])
    assert app.tokens.authenticate(bearer(token)) == caller, "the answer of a moment ago is believed"
    with app.database.read() as connection:
        assert users.living(connection, [caller.token_id, "aaaaaaaa"]) == set()
    monkeypatch.setattr(believing, "BELIEVED_S", 0.0)
    refused(app, bearer(token))
    assert not revoke_token(app.database, "aaaaaaaa")


def test_one_caller_asks_again_before_the_others_have_to(app, monkeypatch):
    monkeypatch.setattr(believing, "BELIEVED_S", 30.0)
    authorization = bearer(create_token(app.database, "kim", ["read"]))
    caller = app.tokens.authenticate(authorization)
    asked, ask = [], tokens._ask
    monkeypatch.setattr(tokens, "_ask", lambda *given: asked.append(1) or ask(*given))
    assert [app.tokens.remembered(authorization) for _ in range(3)] == [caller] * 3
    (said,) = app.tokens._believed._said.values()
    said.at -= 16
    assert [app.tokens.remembered(authorization) for _ in range(3)] == [None, caller, caller]
    assert app.tokens.authenticate(authorization) == caller
    assert asked == [1], "whoever was told to ask did"
    assert [app.tokens.remembered(authorization) for _ in range(3)] == [caller] * 3
    (said,) = app.tokens._believed._said.values()
    said.at -= 31
    assert [app.tokens.remembered(authorization) for _ in range(3)] == [None] * 3


def test_sql_is_asked_once_a_second_whatever_the_answer(app, monkeypatch):
    monkeypatch.setattr(believing, "BELIEVED_S", 600.0)
    asked = []
    read = app.database.read
    monkeypatch.setattr(app.database, "read", lambda: asked.append(1) or read())
    token = create_token(app.database, "kim", ["read"])
    for _ in range(5):
        app.tokens.authenticate(bearer(token))
        refused(app, bearer("trd_aaaaaaaa_" + "A" * 43))
    assert len(asked) == 2


def test_the_memory_is_bounded(app):
    app.tokens._believed.most = 10
    for number in range(40):
        refused(app, bearer("trd_aaaaaaaa_" + f"{number:043}"))
        assert len(app.tokens._believed._said) <= 10


def test_threads_agree(app):
    token, found = create_token(app.database, "kim", ["read"]), []
    threads = [threading.Thread(target=lambda: found.append(app.tokens.authenticate(bearer(token)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_listing_shows_no_token(app):
    token = create_token(app.database, "kim", ["read"])
    (row,) = accounts.list_tokens(app.database, "kim")
    assert (row.id, row.scopes) == (token[4:12], {"read"})
    assert token[13:] not in str(row)


@pytest.mark.parametrize("name", ["", "Kim", "1kim", "k" * 32, "kim lee", "kím", "kim\n", "../kim", "kim.lee"])
def test_names_that_are_no_slugs(app, name):
    with pytest.raises(ValueError, match="31 lower-case letters"):
        create_user(app.database, name)


def test_a_name_that_is_taken(app):
    with pytest.raises(ValueError, match="kim"):
        create_user(app.database, "kim")


@pytest.mark.parametrize("scopes", [[], ["root"], ["read", ""]])
def test_scopes_that_there_are_not(app, scopes):
    with pytest.raises(ValueError, match="admin, metrics, predict, read, submit"):
        create_token(app.database, "kim", scopes)


def test_a_user_who_is_not_there(app):
    with pytest.raises(ValueError, match="nobody"):
        create_token(app.database, "nobody", ["read"])
    with pytest.raises(ValueError, match="nobody"):
        accounts.list_tokens(app.database, "nobody")
