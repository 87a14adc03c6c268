"""Uploads: bound to their creator, moved on by exact offsets, gone after their time."""

from service.store import uploads
from tests.service.store.rows import make_user


def make(database, owner, lifetime_s=3600.0):
    with database.write() as connection:
        return uploads.add(connection, owner_id=owner.id, size_bytes=10, sha256="", lifetime_s=lifetime_s)


def find(database, owner, upload):
    with database.read() as connection:
        return uploads.find(connection, owner.id, upload.id)


def test_an_upload_is_its_creators_alone(database):
    kim, lee = make_user(database, "kim"), make_user(database, "lee")
    made = make(database, kim)
    assert find(database, kim, made) == made
    assert find(database, lee, made) is None
    with database.write() as connection:
        assert not uploads.set_received(connection, lee.id, made.id, 0, 4)
        assert not uploads.delete(connection, lee.id, made.id)
    assert find(database, kim, made).received == 0


def test_the_offset_moves_only_from_where_it_stands(database):
    kim = make_user(database)
    made = make(database, kim)
    with database.write() as connection:
        assert uploads.set_received(connection, kim.id, made.id, 0, 4)
        assert not uploads.set_received(connection, kim.id, made.id, 0, 4)
        assert uploads.set_received(connection, kim.id, made.id, 4, 10)
    assert find(database, kim, made).received == 10


def test_what_has_expired_is_gone_and_listed(database):
    kim = make_user(database)
    old, fresh = make(database, kim, lifetime_s=-1.0), make(database, kim)
    assert find(database, kim, old) is None
    with database.write() as connection:
        assert uploads.expired(connection) == [old.id]
        assert not uploads.set_received(connection, kim.id, old.id, 0, 4)
        assert uploads.delete_expired(connection, old.id)
        assert not uploads.delete_expired(connection, fresh.id)
        assert uploads.expired(connection) == []
    assert find(database, kim, fresh) == fresh


def test_an_upload_is_deleted_once(database):
    kim = make_user(database)
    made = make(database, kim)
    with database.write() as connection:
        assert uploads.delete(connection, kim.id, made.id)
        assert not uploads.delete(connection, kim.id, made.id)
    assert find(database, kim, made) is None
