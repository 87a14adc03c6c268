"""Uploads on both databases: in order, again, resumed after a break, bound to their creator, gone after an hour."""

import os
import threading
import uuid

import pytest
import sqlalchemy

from service import uploads
from service.errors import DiskFull, InvalidField, NotFound, OffsetMismatch, RateLimited, TooLarge
from service.store import uploads as upload_store
from service.store.tables import upload as upload_table
from tests.service.apps import files_in, make_app, make_caller, open_upload
from tests.waiting import wait_until
from traind.v1 import uploads_pb2


@pytest.fixture
def app(database, tmp_path):
    return make_app(database, tmp_path, TRAIND_MAX_UPLOAD_BYTES="1000")


@pytest.fixture
def kim(app):
    return make_caller(app, "kim")


def get(app, caller, name):
    return uploads.get_upload(app, caller, uploads_pb2.GetUploadRequest(name=name))


def content(app, name):
    return (app.settings.tmp_dir / name.replace("uploads/", "upload-")).read_bytes()


def expire(app, name):
    with app.database.write() as connection:
        found = upload_table.c.id == name.removeprefix("uploads/")
        connection.execute(sqlalchemy.update(upload_table).where(found).values(expires_at=1.0))


def test_an_upload_tells_what_is_known_of_it(app, kim):
    sha256 = "ab" * 32
    name = open_upload(app, kim, size_bytes=10, sha256=sha256)
    found = get(app, kim, name)
    assert (found.name, found.size_bytes, found.sha256, found.offset) == (name, 10, sha256, 0)
    assert found.expire_time.seconds - found.create_time.seconds == 3600
    assert get(app, kim, open_upload(app, kim)).size_bytes == 0
    assert uuid.UUID(name.removeprefix("uploads/")).version == 4


def test_chunks_in_order_make_the_file(app, kim):
    name = open_upload(app, kim)
    assert uploads.write_chunk(app, kim, name, 0, b"abc").offset == 3
    assert uploads.write_chunk(app, kim, name, 3, b"").offset == 3
    assert uploads.write_chunk(app, kim, name, 3, b"defg").offset == 7
    assert content(app, name) == b"abcdefg"


def test_what_has_arrived_may_come_again_and_changes_nothing(app, kim):
    name = open_upload(app, kim)
    uploads.write_chunk(app, kim, name, 0, b"abcdef")
    assert uploads.write_chunk(app, kim, name, 0, b"abcdef").offset == 6
    assert uploads.write_chunk(app, kim, name, 2, b"XX").offset == 6
    assert content(app, name) == b"abcdef"
    # It begins before the offset and ends after it: its tail is new.
    assert uploads.write_chunk(app, kim, name, 4, b"??ghi").offset == 9
    assert content(app, name) == b"abcdefghi"


def test_a_gap_is_refused_naming_the_right_offset(app, kim):
    name = open_upload(app, kim)
    uploads.write_chunk(app, kim, name, 0, b"abc")
    with pytest.raises(OffsetMismatch, match="go on at offset 3") as caught:
        uploads.write_chunk(app, kim, name, 4, b"e")
    assert caught.value.metadata == {"offset": "3"}
    assert content(app, name) == b"abc"


def test_more_than_was_announced_or_is_allowed_is_too_large(app, kim):
    with pytest.raises(TooLarge, match="limit is 1,000"):
        open_upload(app, kim, size_bytes=1001)
    announced, free = open_upload(app, kim, size_bytes=5), open_upload(app, kim)
    with pytest.raises(TooLarge, match="limit is 5"):
        uploads.write_chunk(app, kim, announced, 0, b"abcdef")
    assert uploads.write_chunk(app, kim, announced, 0, b"abcde").offset == 5
    uploads.write_chunk(app, kim, free, 0, bytes(999))
    with pytest.raises(TooLarge, match="1,001 bytes; the limit is 1,000"):
        uploads.write_chunk(app, kim, free, 999, b"ab")
    assert uploads.write_chunk(app, kim, free, 999, b"a").offset == 1000
    # All is there already: again is no error.
    assert uploads.write_chunk(app, kim, free, 0, bytes(1000)).offset == 1000


def test_an_upload_goes_on_after_a_break(app, kim, tmp_path):
    """The server dies after the bytes are on the disk and before the row says so; another one goes on."""
    name = open_upload(app, kim, size_bytes=9)
    uploads.write_chunk(app, kim, name, 0, b"abc")
    path = app.settings.tmp_dir / name.replace("uploads/", "upload-")
    with path.open("ab") as file:
        file.write(b"def+torn")
    again = make_app(app.database, tmp_path)
    offset = get(again, kim, name).offset
    assert offset == 3
    assert uploads.write_chunk(again, kim, name, offset, b"defghi").offset == 9
    assert content(again, name)[:9] == b"abcdefghi"


def test_bytes_are_on_the_disk_before_the_row_says_so(app, kim, monkeypatch):
    name = open_upload(app, kim)
    seen = []

    def set_received(connection, owner_id, upload_id, expected, received):
        seen.append((content(app, name), synced[-1]))
        return original(connection, owner_id, upload_id, expected, received)

    original, fsync, synced = upload_store.set_received, os.fsync, [0]
    monkeypatch.setattr(upload_store, "set_received", set_received)
    monkeypatch.setattr(os, "fsync", lambda handle: (fsync(handle), synced.append(os.fstat(handle).st_size)))
    uploads.write_chunk(app, kim, name, 0, b"abc")
    assert seen == [(b"abc", 3)]


def test_anothers_upload_is_as_one_that_does_not_exist(app, kim):
    lee = make_caller(app, "lee")
    name, nowhere = open_upload(app, kim), f"uploads/{uuid.uuid4()}"
    for act in (lambda n: get(app, lee, n), lambda n: uploads.write_chunk(app, lee, n, 0, b"x")):
        messages = []
        for asked in (name, nowhere):
            with pytest.raises(NotFound) as caught:
                act(asked)
            messages.append(caught.value.message.replace(asked, "it"))
        assert messages[0] == messages[1]
    uploads.drop_upload(app, lee, name)
    assert get(app, kim, name).offset == 0
    assert content(app, name) == b""


@pytest.mark.parametrize("name", ["uploads/../../etc/passwd", "uploads/1", "", "datasets/x"])
def test_what_is_no_name_is_refused(app, kim, name):
    with pytest.raises(InvalidField):
        get(app, kim, name)


def test_an_expired_upload_is_gone(app, kim):
    old = open_upload(app, kim)
    uploads.write_chunk(app, kim, old, 0, b"abc")
    expire(app, old)
    with pytest.raises(NotFound):
        get(app, kim, old)
    with pytest.raises(NotFound):
        uploads.write_chunk(app, kim, old, 3, b"d")


def test_dropping_forgets_row_and_bytes(app, kim):
    name = open_upload(app, kim)
    uploads.drop_upload(app, kim, name)
    uploads.drop_upload(app, kim, name)
    assert files_in(app.settings.tmp_dir) == []
    with pytest.raises(NotFound):
        get(app, kim, name)


def test_an_upload_whose_bytes_are_lost_must_begin_again(app, kim):
    name = open_upload(app, kim)
    (app.settings.tmp_dir / name.replace("uploads/", "upload-")).unlink()
    with pytest.raises(NotFound):
        uploads.write_chunk(app, kim, name, 0, b"abc")


def test_a_full_disk_keeps_what_had_arrived(app, kim, monkeypatch):
    name = open_upload(app, kim)
    uploads.write_chunk(app, kim, name, 0, b"abc")

    def no_room(handle, data, offset):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", no_room)
        with pytest.raises(DiskFull):
            uploads.write_chunk(app, kim, name, 3, b"def")
    assert get(app, kim, name).offset == 3
    assert uploads.write_chunk(app, kim, name, 3, b"def").offset == 6
    assert content(app, name) == b"abcdef"


def test_two_writers_take_turns(app, kim):
    """Twenty threads send the same chunks in the same order: nothing is torn, nothing written twice."""
    name = open_upload(app, kim)
    chunks = [bytes([i]) * 20 for i in range(10)]
    failed = []

    def send():
        try:
            for i, chunk in enumerate(chunks):
                uploads.write_chunk(app, kim, name, 20 * i, chunk)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert content(app, name) == b"".join(chunks)
    assert get(app, kim, name).offset == 200


def test_who_waits_too_long_for_an_upload_is_told_to_come_again(app, kim, monkeypatch):
    monkeypatch.setattr(uploads, "WAIT_S", 0.05)
    name = open_upload(app, kim)
    held, done = threading.Event(), threading.Event()

    def hold():
        with uploads.hold_upload(app, kim, name, "name"):
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    wait_until(held.is_set, "it is held")
    with pytest.raises(RateLimited) as caught:
        uploads.write_chunk(app, kim, name, 0, b"abc")
    assert caught.value.retry_after_s == 1
    done.set()
    thread.join()
    assert uploads.write_chunk(app, kim, name, 0, b"abc").offset == 3
