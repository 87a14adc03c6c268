"""Files of data sets in a bucket of a real S3 server, and the copies of two machines."""

import hashlib
import os
import time

import obstore
import pytest
from obstore.store import S3Store

from service.data import remote_objects
from service.data.objects import ObjectFolder
from service.data.opening import open_objects
from service.data.remote_objects import RemoteObjects
from service.errors import DataCorrupt, ObjectsUnavailable
from service.settings import SettingError, Settings
from tests.s3 import BUCKET, OwnS3

RAW = b"a,b\n1,2\n"
SHA256 = hashlib.sha256(RAW).hexdigest()
KEY = f"some/where/{SHA256[:2]}/{SHA256}"
URL = f"s3://{BUCKET}/some/where"


@pytest.fixture(scope="module")
def s3():
    with OwnS3() as server:
        yield server


@pytest.fixture
def machine(s3, tmp_path, monkeypatch):
    """Makes the objects of a machine by its name."""
    for name, value in s3.environ.items():
        monkeypatch.setenv(name, value)

    def make(name, url=URL, cache_bytes=1 << 20):
        return RemoteObjects(url, tmp_path / name / "cache", tmp_path / name / "tmp", cache_bytes)

    yield make
    obstore.delete(store(), KEY)


def store():
    """The bucket as another program sees it."""
    return S3Store(BUCKET, client_options={"allow_http": True})


def put(objects, raw=RAW):
    path = objects.new_tmp(".csv")
    path.write_bytes(raw)
    return objects.put(path)


def copies(objects):
    return sorted(path.name for path in objects.root.glob("??/*"))


def age(objects, sha256, seconds):
    path = objects.path(sha256)
    os.utime(path, ns=(time.time_ns() - int(seconds * 1e9), path.stat().st_mtime_ns))


def test_what_one_machine_puts_another_fetches(machine):
    api, worker = machine("api"), machine("worker")
    assert put(api) == SHA256
    assert bytes(obstore.get(store(), KEY).bytes()) == RAW
    assert copies(worker) == []
    path = worker.fetch(SHA256)
    assert path.read_bytes() == RAW
    assert path.is_relative_to(worker.root)
    assert list(worker.tmp.iterdir()) == []


def test_a_copy_is_fetched_once_and_hashed_once(machine, monkeypatch):
    put(machine("api"))
    worker = machine("worker")
    monkeypatch.setattr("service.data.objects.hash_file", lambda _: pytest.fail("hashed again"))
    worker.fetch(SHA256)
    obstore.delete(store(), KEY)
    assert worker.fetch(SHA256).read_bytes() == RAW


def test_a_large_file_goes_and_comes_in_parts(machine):
    raw = os.urandom(3 * remote_objects.CHUNK_BYTES + 17)
    sha256 = put(machine("api"), raw)
    try:
        assert machine("worker").fetch(sha256).read_bytes() == raw
    finally:
        machine("api").delete(sha256)


@pytest.mark.parametrize("damage", [lambda p: p.write_bytes(RAW[:-1]), lambda p: p.write_bytes(b"A" + RAW[1:])])
def test_a_damaged_copy_is_fetched_anew(machine, damage):
    put(machine("api"))
    worker = machine("worker")
    damage(worker.fetch(SHA256))
    assert worker.fetch(SHA256).read_bytes() == RAW


def test_bytes_of_another_hash_never_become_a_copy(machine):
    obstore.put(store(), KEY, b"a,b\n6,6\n")
    worker = machine("worker")
    with pytest.raises(DataCorrupt, match="do not match"):
        worker.fetch(SHA256)
    assert copies(worker) == []
    assert list(worker.tmp.iterdir()) == []


def test_bytes_that_are_not_there_are_told_as_such(machine):
    with pytest.raises(DataCorrupt, match="cannot be read; upload"):
        machine("worker").fetch(SHA256)


def test_deleting_removes_both_and_twice_is_no_error(machine):
    api = machine("api")
    put(api)
    api.delete(SHA256)
    api.delete(SHA256)
    assert copies(api) == []
    with pytest.raises(FileNotFoundError):
        obstore.head(store(), KEY)


def test_the_copies_used_longest_ago_leave_when_there_are_too_many(machine):
    api = machine("api", cache_bytes=250)
    hashes = [put(api, bytes([number]) * 100) for number in range(2)]
    age(api, hashes[0], 4000)
    age(api, hashes[1], 5000)
    newest = put(api, b"n" * 100)
    assert copies(api) == sorted([hashes[0], newest])
    assert api.fetch(hashes[1]).read_bytes() == bytes([1]) * 100
    assert copies(api) == sorted([hashes[1], newest])
    for sha256 in [*hashes, newest]:
        api.delete(sha256)


def test_what_was_used_just_now_stays_though_there_is_too_much(machine):
    api = machine("api", cache_bytes=10)
    hashes = [put(api, bytes([number]) * 100) for number in range(2)]
    assert copies(api) == sorted(hashes)
    for sha256 in hashes:
        api.delete(sha256)


def test_whoever_has_a_copy_open_keeps_it(machine):
    api = machine("api", cache_bytes=10)
    put(api)
    with api.fetch(SHA256).open("rb") as file:
        age(api, SHA256, 4000)
        other = put(api, b"other")
        assert copies(api) == [other]
        assert file.read() == RAW
    api.delete(other)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(remote_objects, "PATIENCE_S", 0.5)


def test_a_server_that_is_gone_is_told_without_its_address(machine, monkeypatch, impatient):
    api = machine("api")
    for call in (lambda: put(api), lambda: api.fetch(SHA256), lambda: api.delete(SHA256)):
        with monkeypatch.context() as patched:
            patched.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
            with pytest.raises(ObjectsUnavailable, match="can be sent again") as caught:
                call()
        assert "127.0.0.1" not in caught.value.message
        assert caught.value.code == "UNAVAILABLE"
    assert copies(api) == [], "a copy that others cannot see is none"


def test_a_bucket_that_is_not_there_is_no_lost_file(machine, impatient):
    api = machine("api", url="s3://no-such-bucket/x")
    for call in (lambda: put(api), lambda: api.fetch(SHA256)):
        with pytest.raises(ObjectsUnavailable):
            call()


def test_an_administrator_can_try_it(machine, monkeypatch, impatient):
    api = machine("api")
    api.check()
    assert copies(api) == []
    with pytest.raises(ObjectsUnavailable):
        machine("api", url="s3://no-such-bucket").check()


def test_a_key_that_must_not_list_is_found_out(machine, monkeypatch, impatient):
    api = machine("api")

    def forbidden():
        raise ObjectsUnavailable("AccessDenied: s3:ListBucket")

    monkeypatch.setattr(api, "stored", forbidden)
    with pytest.raises(ObjectsUnavailable, match="ListBucket"):
        api.check()


def test_settings_choose_the_kind(tmp_path):
    here = Settings.from_env({"TRAIND_DATA_DIR": str(tmp_path)})
    assert type(open_objects(here)) is ObjectFolder
    there = Settings.from_env({"TRAIND_DATA_DIR": str(tmp_path), "TRAIND_OBJECT_STORE": f"{URL}/"})
    made = open_objects(there)
    assert isinstance(made, RemoteObjects)
    assert made.root == tmp_path / "cache"


@pytest.mark.parametrize("url", ["lab", "s3://", "s3://Lab/x", "s3://lab//x", "s3://key:secret@lab", "https://lab/x"])
def test_addresses_that_are_none_are_refused(url, tmp_path):
    with pytest.raises(SettingError, match="TRAIND_OBJECT_STORE is"):
        Settings.from_env({"TRAIND_DATA_DIR": str(tmp_path), "TRAIND_OBJECT_STORE": url})


def test_what_lies_in_the_bucket_is_told_and_what_is_not_ours_is_not(machine):
    api = machine("api")
    put(api)
    obstore.put(store(), "some/where/notes.txt", b"not ours")
    obstore.put(store(), f"some/where/zz/{SHA256}", RAW)
    try:
        # Of the bucket, whatever copies there are.
        [found] = machine("worker").stored()
        assert (found.sha256, found.size_bytes) == (SHA256, len(RAW))
        assert abs(time.time() - found.modified_at) < 60
        assert machine("worker").look(SHA256) == found
        api.delete(SHA256)
        assert api.look(SHA256) is None
        assert list(api.stored()) == []
    finally:
        obstore.delete(store(), ["some/where/notes.txt", f"some/where/zz/{SHA256}"])


def test_a_bucket_that_cannot_be_listed_is_told(machine, monkeypatch):
    with monkeypatch.context() as changed:
        changed.setattr(remote_objects, "PATIENCE_S", 0.5)
        changed.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        with pytest.raises(ObjectsUnavailable):
            list(machine("api").stored())
