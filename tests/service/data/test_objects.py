"""The folder of data sets' files: named by their hash, verified, locked against another process."""

import hashlib
import subprocess
import sys
import threading

import pytest

from service.data.objects import ObjectFolder
from service.errors import DataCorrupt

RAW = b"a,b\n1,2\n"
SHA256 = hashlib.sha256(RAW).hexdigest()


@pytest.fixture
def objects(tmp_path):
    return ObjectFolder(tmp_path / "objects", tmp_path / "tmp")


def put(objects, raw=RAW):
    path = objects.new_tmp(".csv")
    path.write_bytes(raw)
    return objects.put(path)


def test_a_file_moves_in_under_its_hash(objects):
    assert put(objects) == SHA256
    assert list(objects.tmp.iterdir()) == []
    assert objects.path(SHA256) == objects.root / SHA256[:2] / SHA256
    assert objects.path(SHA256).read_bytes() == RAW
    assert put(objects) == SHA256
    objects.verify(SHA256)


def test_only_a_hash_is_a_name(objects):
    for name in ("", "../../etc/passwd", SHA256.upper(), SHA256[:-1], SHA256 + "\n"):
        with pytest.raises(ValueError, match="64 hexadecimal digits"):
            objects.path(name)


@pytest.mark.parametrize(
    "damage", [lambda p: p.write_bytes(RAW[:-1]), lambda p: p.write_bytes(b"A" + RAW[1:]), lambda p: p.unlink()]
)
def test_damage_is_found_even_after_the_file_was_verified(objects, damage):
    put(objects)
    objects.verify(SHA256)
    damage(objects.path(SHA256))
    with pytest.raises(DataCorrupt, match="upload") as caught:
        objects.verify(SHA256)
    assert str(objects.root) not in caught.value.message
    put(objects)
    objects.verify(SHA256)


def test_an_unchanged_file_is_hashed_once(objects, monkeypatch):
    put(objects)
    objects.verify(SHA256)
    monkeypatch.setattr("service.data.objects.hash_file", lambda _: pytest.fail("hashed again"))
    objects.verify(SHA256)


def test_deleting_twice_is_no_error(objects):
    put(objects)
    objects.delete(SHA256)
    objects.delete(SHA256)
    assert not objects.path(SHA256).exists()


def test_the_lock_keeps_other_threads_and_processes_out(objects):
    script = (
        "import sys, fcntl; f = open(sys.argv[1]);\n"
        "try: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB); print('free')\n"
        "except BlockingIOError: print('held')"
    )

    def other_process():
        lock = str(objects.root / ".lock")
        return subprocess.run([sys.executable, "-c", script, lock], capture_output=True, text=True, check=True).stdout

    entered = threading.Event()

    def enter():
        with objects.locked():
            entered.set()

    with objects.locked():
        assert other_process() == "held\n"
        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.1)
    assert entered.wait(10)
    thread.join()
    assert other_process() == "free\n"
